"""The other side of a bench: a program on the same MicroPython, in a process of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import TypeVar

from guesthouse.board.micropython import MicroPython
from guesthouse.core.errors import GuesthouseError

_T = TypeVar("_T")

_MARGIN_S = 60.0  # for a process to start and end, however busy the machine is
_SAID_LAST = 400  # characters of what it complained about


def run_other_side(
    micropython: MicroPython,
    arguments: list[str],
    read: Callable[[str], _T],
    *,
    heap: str = "1m",
    seconds: float = 0.0,
) -> _T:
    """What ``read`` makes of the output of ``micropython arguments``, a run of some ``seconds``.

    Raises GuesthouseError where it fails, takes too long, or ``read`` finds nothing (KeyError,
    ValueError).
    """
    try:
        done = subprocess.run(
            [*micropython.argv, "-X", f"heapsize={heap}", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=20 * seconds + _MARGIN_S,
            check=True,
        )
        return read(done.stdout)
    except (subprocess.SubprocessError, KeyError, ValueError) as error:
        said = getattr(error, "stderr", None) or ""
        raise GuesthouseError(
            f"{micropython.argv[0]} did not run the other side: {error}",
            said.strip()[-_SAID_LAST:],
        ) from error
