"""What the agent takes of a Pico's heap while four guests run, on the emulated Pico.

Installs the agent as ``guesthouse flash`` does, starts it twice (the first boot writes
what is executed in place, the second finds it), and once where flash that is somebody
else's keeps it in the heap. Prints bytes after a collection::

    python tools/bench/agent_heap.py
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from guesthouse.board.firmware import find_or_build_firmware
from tests.support.agent_pico import (
    REGION,
    AgentHeap,
    at_prompt,
    flash_with_agent,
    run_agent,
    with_region,
)


def main() -> int:
    firmware = find_or_build_firmware(print)
    with tempfile.TemporaryDirectory() as folder:
        flash = flash_with_agent(firmware, Path(folder), guests=4)
        file = Path(folder, "flash.bin")
        with at_prompt(file, flash) as board:
            first = run_agent(board)
            board.restart()
            second = run_agent(board)
        with at_prompt(file, with_region(flash, bytes(REGION))) as board:
            third = run_agent(board)
    for name, heap in (("first boot", first), ("second boot", second), ("from the heap", third)):
        print(_row(name, heap))
    return 0


def _row(name: str, heap: AgentHeap) -> str:
    return (
        f"{name:13} agent {heap.agent} of {heap.free} bytes, {100 * heap.agent / heap.free:.1f} %; "
        f"assembled in {heap.assembled_ms} ms; in place: {heap.in_place}"
    )


if __name__ == "__main__":
    sys.exit(main())
