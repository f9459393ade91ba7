"""The agent on an emulated Pico without its line: put together and stepped from the REPL."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path

from mpremote.transport_serial import SerialTransport

from guesthouse.board.firmware import Firmware
from guesthouse.board.picosim import FLASH_SIZE
from guesthouse.core.errors import GuesthouseError
from guesthouse.guests.image import load_image
from guesthouse.install.filesystem import BLOCK, find_place, flash_image
from guesthouse.install.package import BOOT, BoardFile, build_package
from guesthouse.install.target import target_of_family

_PATIENCE_S = 400  # the emulator on a busy machine

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
boot.leave(kernel)
print(json.dumps({
    "free": free, "agent": agent, "exact": exact, "ms": took, "guests": guests,
    "mechanisms": mechanisms, "code": code,
    "trace": trace.getvalue(), "told": told,
}))
"""


@dataclass(frozen=True, slots=True)
class AgentHeap:
    """What the agent said of itself, in bytes; the slices of its guests.

    ``code`` are the addresses of some functions' code, ``trace`` is the traceback of an error that
    its ``Telemetry.put`` raised, and ``told`` is what a guest's failure would say: where and what.
    """

    free: int
    agent: int
    exact: bool
    assembled_ms: int
    guests: dict[str, int]
    mechanisms: list[str]
    code: list[int]
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
print(reason, again, mem32[id(boot.Kernel.step) + 12] >> 28 == 1, boot.Kernel)
"""

# The firmware's driver, led to below the file system as rp2_xip.py does it.
_DAMAGE = """\
from machine import mem32
from rp2 import Flash
flash = Flash(start=0, len=4096)
mem32[id(flash) + 4] -= 24 * 4096
flash.writeblocks({sector}, bytes(16), {offset})
"""


def region_of(flash: bytes) -> bytes:
    """What lies between firmware and file system in the flash of a Pico."""
    return flash[FILE_SYSTEM - REGION : FILE_SYSTEM]


FILE_SYSTEM = 0xA0000  # where it begins in the flash
REGION = 24 * 4096  # bytes below it; of rp2_xip.py


def flash_with_agent(
    firmware: Firmware, folder: Path, *, guests: int, full: bool = False
) -> bytes:
    """A Pico's flash: firmware, agent and guests; no ``main.py``.

    ``full``: the file system has no room for anything else.
    """
    target = target_of_family(firmware.family)
    assert target is not None
    files = [file for file in build_package(target).files if file.path != BOOT]
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
            return flash_image(firmware, [*files, BoardFile("filler", bytes(size))], FLASH_SIZE)
    return flash_image(firmware, files, FLASH_SIZE)


def move_agent(path: str) -> str:
    """Reset the interpreter and move the agent, twice.

    Why it was not moved, or None, for each; whether code is in flash; a class of the agent's.
    """
    return _ask(path, _MOVE)


def begin_to_move(path: str) -> None:
    """The same, without waiting for what comes of it."""
    transport = SerialTransport(path, exclusive=True)
    transport.enter_raw_repl(soft_reset=True)
    transport.exec_raw_no_follow(_MOVE)
    transport.close()


def damage(path: str, sector: int, offset: int) -> None:
    """Write zeros over what is executed in place."""
    _ask(path, _DAMAGE.format(sector=sector, offset=offset))


def _ask(path: str, program: str) -> str:
    transport = SerialTransport(path, exclusive=True)
    try:
        transport.enter_raw_repl(soft_reset=True)
        said, error = transport.exec_raw(program, timeout=_PATIENCE_S)
        transport.exit_raw_repl()
    finally:
        transport.close()
    assert not error, error.decode(errors="replace")
    return bytes(said).decode().strip()


def run_agent(path: str) -> AgentHeap:
    """Reset the interpreter, let the agent run its guests for a second, and ask it."""
    answer = json.loads(_ask(path, _PROGRAM))
    return AgentHeap(
        answer["free"],
        answer["agent"],
        answer["exact"],
        answer["ms"],
        answer["guests"],
        answer["mechanisms"],
        answer["code"],
        answer["trace"],
        answer["told"],
    )
