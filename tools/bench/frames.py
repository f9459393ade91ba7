"""What it costs to know who owns the heap: the frame table beside ``gc.mem_alloc()``.

Prints microseconds for each slice (two syncs, less the two calls themselves), on the MicroPython
that the product finds, for more and more live data::

    python tools/bench/frames.py [--heap 1m] [LIVE_KILOBYTES ...]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from guesthouse.board.micropython import find_or_provide

PROGRAM = Path(__file__).with_name("frames_on_board.py")

WORKS = ("nothing new", "one object", "20 objects")
NAMES = ("viper", "plain", "estimate", "gc.mem_alloc")


def main() -> int:
    parser = argparse.ArgumentParser(description="Cost of memory accounting in us for each slice")
    parser.add_argument("live", type=int, nargs="*", default=[10, 100, 500], help="kB of live data")
    parser.add_argument("--heap", default="1m")
    arguments = parser.parse_args()
    micropython = find_or_provide(print)
    print(f"{'live':>8}  {'slice makes':12}" + "".join(f"{name:>14}" for name in NAMES))
    others = {}
    for kilobytes in arguments.live:
        run = subprocess.run(
            [*micropython.argv, "-X", f"heapsize={arguments.heap}", PROGRAM, str(kilobytes)],
            stdout=subprocess.PIPE,
            text=True,
            timeout=120,
        )
        if run.returncode:
            print(run.stdout, file=sys.stderr)
            return 1
        result = json.loads(run.stdout)
        others[kilobytes] = result["others"]
        for index, work in enumerate(WORKS):
            costs = "".join(f"{result['costs'][name][index]:14.2f}" for name in NAMES)
            print(f"{result['live'] // 1024:5} kB  {work:12}{costs}")
    print()
    print("other calls, us" + "".join(f"{kilobytes:>11} kB" for kilobytes in others))
    for name in next(iter(others.values())):
        print(f"{name:15}" + "".join(f"{figures[name]:14.2f}" for figures in others.values()))
    print(f"\nthe table takes {result['ram']} bytes of a heap of {result['heap']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
