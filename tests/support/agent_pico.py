"""The agent on an emulated Pico without its line: put together and stepped from the REPL."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from guesthouse.board.emulator import FLASH_SIZE
from guesthouse.board.firmware import Firmware
from guesthouse.core.errors import GuesthouseError
from guesthouse.guests.image import load_image
from guesthouse.install.filesystem import BLOCK, find_place, flash_image
from guesthouse.install.package import BoardFile
from tests.support.emulated import EmulatedPico
from tests.support.flashes import agent_files

_GUEST = """\
import asyncio


async def main():
    n = 0
    while True:
        await asyncio.sleep_ms(50)
        n += 1
"""

_PROGRAM = """\
import gc, io, json, os, sys, time
gc.collect()
free, before = gc.mem_free(), gc.mem_alloc()
from house import boot
from house.ports import rp2, rp2_heap
rp2.serial_write = lambda data, n: n
start = time.ticks_ms()
kernel, commands = boot.assemble(rp2, rp2_heap, "", "pico")
took = time.ticks_diff(time.ticks_ms(), start)
from house import recovery
recovery.begin(kernel, commands, recovery.Past(rp2))
boot.modules.drop(recovery)
del recovery
end = time.ticks_add(time.ticks_ms(), 1000)
while time.ticks_diff(end, time.ticks_ms()) > 0:
    kernel.step()
kernel.table.collect()
agent = kernel.table.counts[1] * kernel.table.block - before
exact = kernel.table.check()
guests = {i.name: i.slices for i in kernel.instances}
mechanisms = [text for kind, text in kernel.summary.identity if ": " in text]
from machine import mem32
functions = (boot.Kernel.dispatch, boot.Kernel.step, boot.Telemetry.say, boot.loop.new_task)
code = [mem32[id(function) + 12] for function in functions]
trace = io.StringIO()
try:
    kernel.telemetry.put(None, 0, 0, "")
except Exception as error:
    sys.print_exception(error, trace)
def inner(n):
    return 1 // n
def outer():
    inner(0)
from house import where
try:
    outer()
except ZeroDivisionError as error:
    told = kernel.ask(kernel.instances[0], where.describe, (error, "/lib/house", False))
refused = 0
for thing in (boot, boot.Kernel):
    try:
        thing.VERSION = "another"
    except (AttributeError, TypeError):
        refused += 1
boot.leave(kernel)
print(json.dumps({
    "free": free, "agent": agent, "exact": exact, "ms": took, "guests": guests,
    "mechanisms": mechanisms, "code": code, "refused": refused,
    "trace": trace.getvalue(), "told": told,
}))
"""


@dataclass(frozen=True, slots=True)
class AgentHeap:
    """What the agent said of itself, in bytes; the slices of its guests.

    ``code`` are the addresses of some functions' code, ``refused`` is how many of a module and a
    class could not be written, ``trace`` is the traceback of an error that its ``Telemetry.put``
    raised, and ``told`` is what a guest's failure would say: where and what.
    """

    free: int
    agent: int
    exact: bool
    assembled_ms: int
    guests: dict[str, int]
    mechanisms: list[str]
    code: list[int]
    refused: int
    trace: str
    told: list[str]

    @property
    def in_place(self) -> str:
        """What the agent says of execution in place: "ok", or why not."""
        return next(text[10:] for text in self.mechanisms if text.startswith("in-place: "))


_MOVE = """\
from house import boot, frames
from house.ports import rp2, rp2_heap
table = frames.open_table(rp2_heap)
reason = boot._move_to_flash(rp2, table)
from machine import mem32
again = rp2.move_to_flash(table)
print(reason, again, mem32[id(boot.Kernel.step) + 12] >> 28 == 1, boot.Kernel.__name__)
"""

# What the agent's heap is read with, and nothing else of it: a tenth.
_MOVE_PART = """\
from house import frames
from house.ports import rp2, rp2_heap
table = frames.open_table(rp2_heap)
reason = rp2.move_to_flash(table)
from machine import mem32
again = rp2.move_to_flash(table)
print(reason, again, mem32[id(type(table).sync) + 12] >> 28 == 1, type(table).__name__)
"""

def region_of(flash: bytes) -> bytes:
    """What lies between firmware and file system in the flash of a Pico."""
    return flash[FILE_SYSTEM - REGION : FILE_SYSTEM]


def with_region(flash: bytes, region: bytes) -> bytes:
    """The same flash with ``region`` there."""
    return flash[: FILE_SYSTEM - REGION] + region + flash[FILE_SYSTEM:]


FILE_SYSTEM = 0xA0000  # where it begins in the flash
SECTOR = 4096
REGION = 24 * SECTOR  # bytes below it; of rp2_xip.py
WRITES = 17  # to the flash, for a sector: it is erased, and has 16 pages


def flash_with_agent(
    firmware: Firmware,
    folder: Path,
    *,
    guests: int = 0,
    full: bool = False,
    source: Path | None = None,
) -> bytes:
    """A Pico's flash: firmware, agent and guests; no ``main.py``.

    ``full``: the file system has no room for anything else. ``source``: of another agent.
    """
    files = agent_files(firmware, starts=False, source=source)
    for number in range(guests):
        program = folder / f"guest{number}.py"
        program.write_text(_GUEST, "utf-8")
        image = load_image(program)
        place = f"{image.name}-{image.digest[:8]}"
        files += [BoardFile(f"images/{place}/{file.path}", file.data) for file in image.files]
        reference = json.dumps({"dir": place, "digest": image.digest})
        files.append(BoardFile(f"images/{image.name}.ref", reference.encode()))
    for size in range(find_place(firmware).size, 0, -BLOCK) if full else ():
        with contextlib.suppress(GuesthouseError):
            filler = BoardFile("filler", bytes(size))
            return flash_image(firmware, [*files, filler], FLASH_SIZE)
    return flash_image(firmware, files, FLASH_SIZE)


@contextlib.contextmanager
def at_prompt(file: Path, flash: bytes | None = None, cut_at: int = 0) -> Iterator[EmulatedPico]:
    """A board at MicroPython's prompt, whose flash is that ``file``, with ``flash`` in it first."""
    if flash is not None:
        file.write_bytes(flash)
    board = EmulatedPico(file, cut_at=cut_at)
    try:
        board.attach(True)
        board.take_until(b">>> ")
        yield board
    finally:
        board.close()


def move_agent(board: EmulatedPico, *, whole: bool = False) -> str:
    """Move the agent, or a part of it, twice.

    Why it was not moved, or None, for each; whether code is in flash; the name of a class.
    """
    return board.run(_MOVE if whole else _MOVE_PART)


def run_agent(board: EmulatedPico) -> AgentHeap:
    """Let the agent run its guests for a second, and ask it."""
    answer = json.loads(board.run(_PROGRAM))
    return AgentHeap(
        answer["free"],
        answer["agent"],
        answer["exact"],
        answer["ms"],
        answer["guests"],
        answer["mechanisms"],
        answer["code"],
        answer["refused"],
        answer["trace"],
        answer["told"],
    )
