"""A typed stub of what guests import from the house, made from the agent's own source.

So an editor knows ``from house import guest`` as the board has it, and no copy has to be kept.
"""

from __future__ import annotations

import ast
import textwrap

from guesthouse.core.assets import agent_dir

_SPECIAL = ("__init__", "__aiter__", "__anext__")


def guest_stub() -> str:
    """The text of ``house/guest.pyi``."""
    return make_stub((agent_dir() / "house" / "guest.py").read_text(encoding="utf-8"))


def make_stub(source: str) -> str:
    """A stub of a module: public functions and classes, comments above them as docstrings.

    A function that a public name is bound to (``publish = nowhere``) goes by that name alone:
    the board binds it to another one.
    """
    tree = ast.parse(source)
    lines = source.splitlines()
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    aliases: dict[str, ast.Assign] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name):
            target = node.targets[0]
            if node.value.id in functions and isinstance(target, ast.Name):
                aliases[target.id] = node
    aliased = {node.value.id for node in aliases.values() if isinstance(node.value, ast.Name)}
    parts = [_docstring(_comment(lines, 0), "")]
    for name, node in aliases.items():
        assert isinstance(node.value, ast.Name)
        parts.append(_function(functions[node.value.id], name, _above(lines, node.lineno), ""))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name not in aliased and _public(node.name):
            parts.append(_function(node, node.name, _above(lines, node.lineno), ""))
        elif isinstance(node, ast.ClassDef) and _public(node.name):
            parts.append(_class(node, lines))
    return "\n".join(parts)


def _public(name: str) -> bool:
    return not name.startswith("_") or name in _SPECIAL


def _class(node: ast.ClassDef, lines: list[str]) -> str:
    indent = "    "
    text = f"class {node.name}:\n"
    if comment := _above(lines, node.lineno):
        text += _docstring(comment, indent) + "\n"
    for method in node.body:
        if not isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if method.name == "__init__":
            text += "".join(f"{indent}{name}: int\n" for name in _counters(method))
        if _public(method.name):
            text += _function(method, method.name, _above(lines, method.lineno), indent)
    return text


def _counters(init: ast.AST) -> list[str]:
    """The attributes that begin as a whole number."""
    return [
        node.targets[0].attr
        for node in ast.walk(init)
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Attribute)
        and isinstance(node.value, ast.Constant)
        and type(node.value.value) is int
        and _public(node.targets[0].attr)
    ]


def _function(
    node: ast.FunctionDef | ast.AsyncFunctionDef, name: str, comment: str, indent: str
) -> str:
    # A string as an annotation is for interpreters that evaluate it; a stub never runs.
    returns = node.returns
    told = ""
    if isinstance(returns, ast.Constant):
        told = str(returns.value)
    elif returns is not None:
        told = ast.unparse(returns)
    word = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    head = f"{indent}{word} {name}({ast.unparse(node.args)})"
    head += f" -> {told}:" if returns is not None else ":"
    if not comment:
        return f"{head} ...\n"
    return f"{head}\n{_docstring(comment, indent + '    ')}"


def _above(lines: list[str], lineno: int) -> str:
    """The comment that ends on the line before."""
    first = lineno - 1
    while first > 0 and lines[first - 1].lstrip().startswith("#"):
        first -= 1
    return _comment(lines, first)


def _comment(lines: list[str], first: int) -> str:
    """The comment that begins with the line."""
    last = first
    while last < len(lines) and lines[last].lstrip().startswith("#"):
        last += 1
    texts = (line.lstrip().removeprefix("#").removeprefix(" ") for line in lines[first:last])
    return "\n".join(texts).strip()


def _docstring(text: str, indent: str) -> str:
    if not text:
        return ""
    quoted = text.replace("\\", "\\\\").replace('"""', r"\"\"\"")
    if quoted.endswith('"'):
        quoted += " "
    end = "" if "\n" not in text else "\n"
    return textwrap.indent(f'"""{quoted}{end}"""', indent) + "\n"
