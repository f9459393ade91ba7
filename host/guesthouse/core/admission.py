"""The agent's admission, loaded unchanged, and what each port brings to it.

``guesthouse plan`` so answers with the very code that the board answers with.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from guesthouse.core.assets import agent_dir
from guesthouse.core.errors import GuesthouseError

if TYPE_CHECKING:
    from house.admission import *
else:
    _source = agent_dir() / "house" / "admission.py"
    # Our own source, not input; an import would leave __pycache__ beside the agent's files.
    exec(compile(_source.read_bytes(), str(_source), "exec"), globals())  # noqa: S102

_FIGURES = ("HEAP_RESERVE", "KILL_US", "SECTION_US", "SECTION_GUEST_US")


def board_figures(port: str, heap: int, agent: int | None = None) -> dict[str, int]:
    """What admission counts with on a board of MicroPython's ``port`` with ``heap`` bytes.

    ``agent`` are those that the agent takes, which are promised to nobody; None where that is not
    known, and then nothing is said of what can be reserved.

    Bytes, us and ppm, by the names of agent/house/admission.py. The port's file runs on that port
    only, so its constants are read out of the source. Raises GuesthouseError where one is missing.
    """
    file = agent_dir() / "house" / "ports" / f"{port}.py"
    found: dict[str, int] = {}
    try:
        tree = ast.parse(file.read_bytes())
    except OSError as error:
        raise GuesthouseError(f"there is no agent for the port {port!r}: {error}") from error
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name in _FIGURES:
                # Our own source as well: a number, or a product of numbers.
                found[name] = eval(compile(ast.Expression(node.value), str(file), "eval"), {})
    if missing := set(_FIGURES) - set(found):
        raise GuesthouseError(f"{file} does not say {', '.join(sorted(missing))}")
    figures = {
        **defaults(),
        "heap": heap - found["HEAP_RESERVE"],
        "kill_us": found["KILL_US"],
        "section_us": found["SECTION_US"],
        "section_guest_us": found["SECTION_GUEST_US"],
    }
    if agent is not None:
        # as much again is kept free for the longest slice
        figures["reservable"] = heap - 2 * found["HEAP_RESERVE"] - agent
    return figures
