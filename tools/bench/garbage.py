"""How much garbage a guest may make in one slice and go on.

On the MicroPython that the product finds, a guest with a limit of 32 kB holds nothing and makes
buffers, faster and faster. Prints what it made in a ms, and how many of the runs it came through::

    python tools/bench/garbage.py
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from guesthouse.board.micropython import find_or_provide

PROGRAM = Path(__file__).with_name("garbage_on_board.py")


def main() -> int:
    micropython = find_or_provide(print)
    run = subprocess.run([*micropython.argv, "-X", "heapsize=4m", PROGRAM], timeout=300)
    return run.returncode


if __name__ == "__main__":
    sys.exit(main())
