"""The protocol's numbers, written into the agent's source in the place of their names.

``wire.py`` names them for readers and for the host. On a board every name costs memory for as
long as the agent runs, and looking it up costs time. What is compiled for a board is therefore
this: the same lines, with ``wire.STATE_READY`` as ``2``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

Constant = int | str | bytes

_MODULE = "wire"


@dataclass(frozen=True, slots=True)
class _Edit:
    """``text`` for what stands between two places: lines from 1, columns in bytes from 0."""

    begin: tuple[int, int]
    end: tuple[int, int]
    text: str


def constants_of(source: str) -> dict[str, Constant]:
    """What the names of ``wire.py`` stand for, by name."""
    names: dict[str, object] = {}
    exec(compile(source, "wire.py", "exec"), names)  # noqa: S102 - our own file
    return {
        name: value
        for name, value in names.items()
        if name.isupper() and isinstance(value, Constant)
    }


def fold(source: str, constants: Mapping[str, Constant]) -> str:
    """A module of the agent with literals for the constants that it imports from ``wire``.

    Every line keeps its number. An import of which nothing is left is gone; one inside of a
    function stays, with what uses it. Raises ValueError where a name has a second meaning.
    """
    tree = ast.parse(source)
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    by_name = {
        alias.asname or alias.name: alias.name
        for node in imports
        if node.module == _MODULE and node.level == 1
        for alias in node.names
    }
    as_module = any(
        alias.name == _MODULE and node.module is None and node.level == 1
        for node in imports
        for alias in node.names
    )
    if not by_name and not as_module:
        return source
    edits: list[_Edit] = []
    left = set()  # names whose import has to stay
    inner: set[int] = set()
    for node in _uses(tree):
        if isinstance(node, ast.Attribute):
            owner = node.value
            if (
                as_module
                and isinstance(owner, ast.Name)
                and owner.id == _MODULE
                and node.attr in constants
            ):
                inner.add(id(owner))
                edits.append(_edit(node, repr(constants[node.attr])))
        elif isinstance(node, ast.Name) and id(node) not in inner:
            if node.id in by_name:
                if not isinstance(node.ctx, ast.Load):
                    raise ValueError(f"line {node.lineno}: {node.id} is a name of {_MODULE}")
                if by_name[node.id] in constants:
                    edits.append(_edit(node, repr(constants[by_name[node.id]])))
                else:
                    left.add(node.id)
            elif node.id == _MODULE:
                left.add(_MODULE)
    for node in imports:
        from_wire = node.module == _MODULE and node.level == 1
        if not from_wire and not (node.module is None and node.level == 1):
            continue
        kept = [
            alias
            for alias in node.names
            if (alias.asname or alias.name) in left or not (from_wire or alias.name == _MODULE)
        ]
        if len(kept) < len(node.names):
            text = ""
            if kept:
                text = ast.unparse(ast.ImportFrom(module=node.module, names=kept, level=1))
            assert node.end_lineno is not None
            edits.append(_edit(node, text + "\n" * (node.end_lineno - node.lineno)))
    return _apply(source, edits)


def _uses(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes, outer ones first, but for functions that import the module for themselves."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and any(
            isinstance(inner, ast.ImportFrom)
            and any(alias.name == _MODULE for alias in inner.names)
            for inner in child.body
        ):
            continue
        yield child
        yield from _uses(child)


def _edit(node: ast.stmt | ast.expr, text: str) -> _Edit:
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    return _Edit(
        (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset), text
    )


def _apply(source: str, edits: list[_Edit]) -> str:
    data = source.encode()
    begins = [0]
    for line in data.splitlines(keepends=True):
        begins.append(begins[-1] + len(line))
    for edit in sorted(edits, key=lambda one: one.begin, reverse=True):
        begin = begins[edit.begin[0] - 1] + edit.begin[1]
        end = begins[edit.end[0] - 1] + edit.end[1]
        data = data[:begin] + edit.text.encode() + data[end:]
    return data.decode()
