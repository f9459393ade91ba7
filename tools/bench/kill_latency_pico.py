"""How long a guest that will not go stays on an emulated Pico's CPU past its slice limit, by kind.

    python tools/bench/kill_latency_pico.py [--kills 40] [KIND ...]

The whole agent on real firmware, all kinds as guests beside each other, each started anew a second
after its end. A kind is a guest of ``tests/agent/on_board/test_kernel.py`` that hangs, and swallows
the exception where it can; its slice_max is 5 ms. Times are the board's, in us past that limit, and
raises how often the exception was delivered. ``others`` ended in another way than at their limit.
"""

from __future__ import annotations

import argparse
import ast
import sys
import time
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "host")]

from guesthouse.board import picosim  # noqa: E402
from guesthouse.board.firmware import find_or_build_firmware  # noqa: E402
from guesthouse.cli.flashing import FIRST_START_S  # noqa: E402
from guesthouse.core.model import Event  # noqa: E402
from guesthouse.guests.image import Image, build_image  # noqa: E402
from guesthouse.guests.manifest import normalize  # noqa: E402
from guesthouse.install.filesystem import flash_image  # noqa: E402
from guesthouse.install.guests import files_of  # noqa: E402
from guesthouse.install.package import build_package  # noqa: E402
from guesthouse.install.target import target_of_family  # noqa: E402
from guesthouse.link.client import Client  # noqa: E402
from guesthouse.link.ports import PICO_SIM, PortSpec  # noqa: E402
from guesthouse.link.serial import open_serial  # noqa: E402

KERNEL_TESTS = ROOT / "tests" / "agent" / "on_board" / "test_kernel.py"
RECURSION = """
    while True:
        try:
            hostile()
        except RuntimeError:
            pass
"""
KINDS = ("loop", "except", "finally", "nested", "exit", "alloc", "recursion")
PATIENCE = 10.0


def sources() -> dict[str, str]:
    """The guests' programs by kind: the tests' own, which run on MicroPython only."""
    found = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(KERNEL_TESTS.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id in ("_HOSTILE", "_HOSTILE_MAIN")
    }
    kinds = {**found["_HOSTILE"], "recursion": RECURSION}
    return {kind: found["_HOSTILE_MAIN"] % body for kind, body in kinds.items()}


def image(kind: str, source: str) -> Image:
    manifest = normalize(
        {
            "name": kind,
            "cpu": {"slice_max": "5ms"},
            "memory": {"max": "24k"},
            "restart": {"policy": "always", "backoff": "1s..1s"},
        },
        "bench",
    )
    return build_image(manifest, {"main.py": source.encode()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("kinds", metavar="KIND", nargs="*", default=KINDS)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--longest", metavar="S", type=float, default=1800, help="then it ends")
    options = parser.parse_args()
    firmware = find_or_build_firmware(print)
    target = target_of_family(firmware.family)
    assert target is not None
    programs = sources()
    guests = [image(kind, programs[kind]) for kind in options.kinds]
    files = [*build_package(target).everything(), *files_of(guests)]
    flash = flash_image(firmware, files, picosim.FLASH_SIZE)
    past: dict[str, list[int]] = defaultdict(list)
    raises: dict[str, int] = defaultdict(int)
    others: dict[str, int] = defaultdict(int)
    with (
        picosim.private_board(firmware=firmware, flash=flash) as board,
        Client(open_serial(PortSpec(board.path, PICO_SIM, PICO_SIM, PATIENCE))) as client,
    ):
        client.wait_for_agent(FIRST_START_S)
        client.hello()
        end = time.monotonic() + options.longest
        while any(len(past[one]) < options.kills for one in options.kinds):
            if time.monotonic() > end:
                break
            for update in client.poll(0.1):
                if not isinstance(update, Event) or update.new not in ("killed", "failed"):
                    continue
                kind = update.name.partition(".")[0]
                if update.reason == "overrun":
                    past[kind].append(update.numbers[0] - update.numbers[1])
                    raises[kind] = max(raises[kind], update.numbers[2])
                else:
                    others[kind] += 1
                done = min(len(past[one]) for one in options.kinds)
                if sys.stderr.isatty():
                    print(f"\r{done} of {options.kills} of each", end="", file=sys.stderr)
    print(f"\nMicroPython {firmware.version}")
    heads = f"{'p50 us':>8}{'p99 us':>8}{'max us':>8}{'raises':>7}{'others':>7}"
    print(f"{'kind':12}{'kills':>6}{heads}")
    for kind in options.kinds:
        times = sorted(past[kind])
        if times:
            p99 = times[min(len(times) - 1, len(times) * 99 // 100)]
            figures = f"{times[len(times) // 2]:8}{p99:8}{times[-1]:8}"
            print(f"{kind:12}{len(times):6}{figures}{raises[kind]:7}{others[kind]:7}")
        else:
            print(f"{kind:12}{'none ended at its limit':>29}{others[kind]:14}")


if __name__ == "__main__":
    main()
