"""Which modules of the agent are given names after they were imported: their tables stay in RAM."""

from __future__ import annotations

import ast
from pathlib import Path

from guesthouse.core.assets import agent_dir

HOUSE = agent_dir() / "house"
ELSEWHERE = ("unix", "frames_plain", "rp2_xip")  # are not on a Pico, or not while the agent runs


def name_of(path: Path) -> str:
    parts = path.relative_to(HOUSE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def modules_in(tree: ast.Module, inside: str) -> dict[str, str]:
    """The modules of the agent that a file imports, by the names that it has for them."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.level or node.module == "house"):
            package = inside.rsplit(".", node.level)[0] if node.level else "house"
            if node.module is None or not node.level:
                for alias in node.names:
                    found[alias.asname or alias.name] = f"{package}.{alias.name}"
    return found


def written() -> set[str]:
    """By a ``global`` statement, by ``module.name = value``, or by the import of what is inside."""
    found = set()
    for path in sorted(HOUSE.rglob("*.py")):
        if path.stem.startswith(ELSEWHERE):
            continue
        own = name_of(path)
        if path.stem == "__init__" and own != "house":
            found.add(own)
        tree = ast.parse(path.read_text("utf-8"))
        modules = modules_in(tree, own)
        for node in ast.walk(tree):
            if isinstance(node, ast.Global):
                found.add(own)
            if (
                isinstance(node, ast.Attribute)
                and not isinstance(node.ctx, ast.Load)
                and isinstance(node.value, ast.Name)
                and node.value.id in modules
            ):
                found.add(modules[node.value.id])
    return found


def fixed_out() -> set[str]:
    tree = ast.parse((HOUSE / "ports" / "rp2_xip.py").read_text("utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_WRITTEN":
            return set(ast.literal_eval(node.value))
    raise AssertionError("_WRITTEN is not there")


def test_modules_that_are_written_are_known_to_the_move() -> None:
    assert written() == fixed_out()
