"""How long a guest that will not go stays on the CPU past its slice limit: 5 ms, kind by kind.

    python tools/bench/kill_latency.py [--kills 200] [KIND ...]

Both sides in one run: the agent as it is, and the same agent without the pursuit, where only the
timer raises it, every 50 us. A kind is a guest of ``tests/agent/on_board/test_kernel.py``
that hangs, and swallows the exception where it can. Times are what the guest was billed beyond its
limit, so what the machine gave to other programs does not count. Kills below the number asked for
ended in another way: a guest that makes garbage may run out of heap within one slice.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from guesthouse.board.micropython import find_or_provide

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(__file__).with_name("kill_latency_on_board.py")
PURSUED = "_PURSUE_AFTER = const(2)"
NEVER = "_PURSUE_AFTER = const(0x3FFFFFFF)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("kinds", metavar="KIND", nargs="*", help="all of them")
    parser.add_argument("--kills", type=int, default=200)
    options = parser.parse_args()
    micropython = find_or_provide(lambda words: print(words, file=sys.stderr))

    def ask(agent: Path, *words: str) -> Any:
        command = [*micropython.argv, "-X", "heapsize=4m", str(PROGRAM), str(agent), *words]
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        return json.loads(run.stdout) if run.returncode == 0 else None

    with tempfile.TemporaryDirectory() as folder:
        agent, without = ROOT / "agent", Path(folder) / "agent"
        shutil.copytree(agent, without)
        port = without / "house" / "ports" / "unix_timer.py"
        source = port.read_text(encoding="utf-8")
        if PURSUED not in source:
            raise SystemExit(f"the port no longer says {PURSUED!r}: adapt this program")
        port.write_text(source.replace(PURSUED, NEVER), encoding="utf-8")
        print(f"{'':12}{'with pursuit':^39}{'timer alone':^39}".rstrip())
        head = f"{'kills':>6}{'p50 us':>8}{'p99 us':>8}{'max us':>8}{'raises':>7}  "
        print(f"{'kind':12}{head}{head}".rstrip())
        for kind in options.kinds or ask(agent, "kinds"):
            print(f"{kind:12}", end="", flush=True)
            for side in (agent, without):
                print(figures(ask(side, kind, str(options.kills))), end="", flush=True)
            print()


def figures(found: Any) -> str:
    """Kills that came from the limit, us past it, and the most raises that one of them took."""
    if found is None:
        return f"{'MicroPython ended with an error':>37}  "
    past = sorted(found["past_us"])
    if not past:
        return f"{'none ended at its limit':>37}  "
    p99 = past[min(len(past) - 1, len(past) * 99 // 100)]
    median, most = past[len(past) // 2], max(found["raises"])
    return f"{len(past):6}{median:8}{p99:8}{past[-1]:8}{most:7}  "


if __name__ == "__main__":
    main()
