"""What the compiler writes in the place of the protocol's names, and that the agent is the same."""

from __future__ import annotations

import ast
import shutil
import subprocess
from pathlib import Path

import pytest

from guesthouse.core.assets import agent_dir
from guesthouse.install.fold import constants_of, fold

ROOT = Path(__file__).parents[2]
CONSTANTS: dict[str, int | str | bytes] = {
    "STATE_READY": 2,
    "AGENT": 1,
    "HEADER": "<BB",
    "MAGIC": b"\xfeG",
}

HOUSE = agent_dir() / "house"


def agent_constants() -> dict[str, int | str | bytes]:
    return constants_of((HOUSE / "wire.py").read_text("utf-8"))


def test_names_become_what_they_stand_for() -> None:
    source = (
        "from . import loop, wire\n"
        "from .wire import (\n"
        "    AGENT,\n"
        ")\n"
        "x = wire.HEADER, wire.MAGIC, [AGENT, 'wire.AGENT']  # wire.AGENT, ä\n"
        "y = 'ä', wire.STATE_READY, loop.STATE_READY\n"
    )
    assert fold(source, CONSTANTS).splitlines() == [
        "from . import loop",
        "",
        "",
        "",
        "x = '<BB', b'\\xfeG', [1, 'wire.AGENT']  # wire.AGENT, ä",
        "y = 'ä', 2, loop.STATE_READY",
    ]


def test_what_uses_the_module_itself_keeps_its_import() -> None:
    source = "from . import wire\nx = wire.AGENT, wire.unknown\n"
    assert fold(source, CONSTANTS) == "from . import wire\nx = 1, wire.unknown\n"
    inside = "def f():\n    from . import wire\n\n    return wire.__dict__\n"
    whole = "from . import wire\n" + inside + "x = wire.AGENT\n"
    assert fold(whole, CONSTANTS) == "\n" + inside + "x = 1\n"


def test_a_name_with_two_meanings_is_refused() -> None:
    with pytest.raises(ValueError, match="line 2: AGENT"):
        fold("from .wire import AGENT\nAGENT = 3\n", CONSTANTS)


def test_nothing_of_the_agent_is_left_with_the_names_all_the_time() -> None:
    constants = agent_constants()
    assert len(constants) > 140
    for path in HOUSE.rglob("*.py"):
        if path.name.startswith("unix"):
            continue  # of the port that runs the sources
        source = path.read_text("utf-8")
        folded = fold(source, constants)
        assert folded.count("\n") == source.count("\n")
        for node in ast.parse(folded).body:
            if isinstance(node, ast.ImportFrom):
                names = [alias.name for alias in node.names]
                assert "wire" not in (node.module, *names), f"{path}: line {node.lineno}"


@pytest.mark.parametrize("module", ["commands", "kernel", "telemetry", "restart"])
def test_the_agent_does_the_same_with_numbers(
    tmp_path: Path, micropython: list[str], module: str
) -> None:
    """Its own tests pass when it is what a board gets."""
    shutil.copytree(agent_dir(), tmp_path / "agent")
    shutil.copytree(ROOT / "tests" / "agent", tmp_path / "tests" / "agent")
    constants = agent_constants()
    for path in (tmp_path / "agent" / "house").rglob("*.py"):
        path.write_text(fold(path.read_text("utf-8"), constants), "utf-8")
    tests = tmp_path / "tests" / "agent"
    program = tests / "on_board" / f"test_{module}.py"
    done = subprocess.run(
        [*micropython, "-X", "heapsize=4m", tests / "runner.py", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
