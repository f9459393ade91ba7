"""The last resort on a Pico: what nothing stops is reset, told, and kept from starting again.

One board goes through all of it, because emulated code is slow: each step begins where the one
before it ended. Its flash is full to the last block, so that whatever is written down finds its
place beside nothing.
"""

from __future__ import annotations

import binascii
import json
import platform
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import serial

from guesthouse.board import picosim
from guesthouse.board.firmware import Firmware
from guesthouse.core import wire
from guesthouse.core.errors import GuesthouseError
from guesthouse.core.model import BoardModel
from guesthouse.guests.manifest import Manifest
from guesthouse.install.filesystem import flash_image
from guesthouse.install.package import BoardFile, build_package
from guesthouse.install.target import target_of_family
from guesthouse.link.client import Client
from guesthouse.link.ports import PortSpec
from guesthouse.link.serial import open_serial
from tests.support.pico import run

pytestmark = pytest.mark.skipif(platform.system() != "Linux", reason="these boards need Linux")

PATIENCE_S = 400

CALM = """\
import asyncio
async def main():
    while True:
        await asyncio.sleep_ms(50)
"""

# Interrupts are held for so many ms, as by the erasing of a flash block.
HOLDS = """\
import machine, time
async def main():
    state = machine.disable_irq()
    began = time.ticks_us()
    while time.ticks_diff(time.ticks_us(), began) < {ms} * 1000:
        pass
    machine.enable_irq(state)
    while True:
        pass
"""

# A call into C that never comes back.
HANGS = """\
import asyncio
async def main():
    await asyncio.sleep_ms(800)
    all(range(1, 1000000000))
"""

# It never ends to load, and catches whatever is raised in it.
STUBBORN = """\
def spin():
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass
spin()
"""

GUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "calm": (CALM, {}),
    "holds45": (HOLDS.format(ms=45), {}),
    "holds400": (HOLDS.format(ms=400), {}),
    "hangs": (HANGS, {"restart": "always"}),
    "stubborn": (STUBBORN, {"load_max_us": 60_000_000, "autostart": False}),
}


def _guest(name: str, source: str, **settings: Any) -> list[BoardFile]:
    folder = f"images/{name}-1"
    reference = {"dir": f"{name}-1", "digest": "00" * 32}
    manifest = Manifest(name=name, **{"restart": "never", **settings}).to_json_dict()
    return [
        BoardFile(f"images/{name}.ref", json.dumps(reference).encode()),
        BoardFile(f"{folder}/guest.json", json.dumps(manifest).encode()),
        BoardFile(f"{folder}/main.py", source.encode()),
    ]


def _journal() -> BoardFile:
    """An empty one, as the first boot makes it while there is room."""
    rest = bytes(504)
    return BoardFile("journal/events", struct.pack("<4sI", b"GHJ1", binascii.crc32(rest)) + rest)


def _full_flash(firmware: Firmware, files: list[BoardFile]) -> bytes:
    """A flash in which not one more block is free."""
    fits, too_much, image = 0, 352, b""
    while too_much - fits > 1:
        blocks = (fits + too_much) // 2
        filler = BoardFile("filler", bytes(blocks * 4080))
        try:
            image = flash_image(firmware, [*files, filler], picosim.FLASH_SIZE)
            fits = blocks
        except GuesthouseError:
            too_much = blocks
    return image


@pytest.fixture(scope="module")
def board(firmware: Firmware) -> Iterator[picosim.SimBoard]:
    target = target_of_family(firmware.family)
    assert target is not None
    files = [*build_package(target).everything(), _journal()]
    for name, (source, settings) in GUESTS.items():
        files += _guest(name, source, **settings)
    with picosim.private_board(firmware=firmware, flash=_full_flash(firmware, files)) as started:
        yield started


def _listener(board: picosim.SimBoard) -> Client:
    return Client(open_serial(PortSpec(board.path, board.path, patience=20)))


def _client(board: picosim.SimBoard) -> Client:
    client = _listener(board)
    client.wait_for_agent(PATIENCE_S)
    client.hello()
    return client


def _until(client: Client, condition: Callable[[BoardModel], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition(client.model):
        assert time.monotonic() < end, client.model
        client.poll(0.1)


def _states(client: Client) -> dict[str, tuple[str, str]]:
    return {
        name: (why["state"], why["reason"])
        for name in GUESTS
        for why in [client.command(wire.VERB_WHY, {"g": f"{name}.0"})]
    }


def _leave(board: picosim.SimBoard) -> None:
    """Ctrl-C from a terminal, until the prompt is there."""
    with serial.Serial(board.path, timeout=PATIENCE_S, exclusive=True) as port:
        port.write(b"\x03")
        assert port.read_until(b">>> ").endswith(b">>> ")


def test_a_hang_in_c_resets_the_board_and_held_interrupts_do_not(board: picosim.SimBoard) -> None:
    with _listener(board) as client:  # a command would be lost in the reset
        _until(client, lambda model: model.unclean_boots == 1)
        client.hello()
        client.wait_for_summary()
        assert client.model.reset_cause == "watchdog"
        states = _states(client)
        assert states["hangs"] == ("quarantined", "escalated")
        assert states["calm"][0] in ("waiting", "ready", "running")
        # Those who held the interrupts ended as overruns, in this boot too.
        _until(client, lambda _: _states(client)["holds400"][0] == "killed")
        assert _states(client)["holds45"] == _states(client)["holds400"] == ("killed", "overrun")
        why = client.command(wire.VERB_WHY, {"g": "hangs.0"})
        assert "nothing can interrupt" in str(why["what"])
        # One block is free by now: the journal of the image had one, and the board's needs none.
        assert client.command(wire.VERB_PING, {"flash": True})["flash_free"] <= 4096
        events = client.command(wire.VERB_JOURNAL, {"from": 0})["events"]
        assert [(e["reason"], e["guest"], e["count"]) for e in events] == [
            ("escalated", "hangs.0", 1)
        ]


def test_the_agent_runs_on_while_nobody_reads(board: picosim.SimBoard) -> None:
    with _client(board) as client:
        client.wait_for_summary()
        before = client.model
        slices = before.instances[client.instance("calm.0").id].slices
        dropped = sum(before.dropped.values())
        elapsed = before.elapsed_us
    with serial.Serial(board.path, exclusive=True):
        time.sleep(5)  # somebody is there, and does not read
    time.sleep(5)  # nobody is there
    with _client(board) as client:
        client.wait_for_summary()
        after = client.model
        seconds = (after.elapsed_us - elapsed) / 1e6
        assert (after.unclean_boots, after.reset_cause) == (1, "watchdog")
        assert seconds > 5
        # The guest was never held up: twenty slices a second, less what the emulator is late.
        assert client.instance("calm.0").slices - slices > 10 * seconds
        assert sum(after.dropped.values()) > dropped


def test_ctrl_c_ends_the_agent_even_while_a_guest_loads_and_catches_everything(
    board: picosim.SimBoard,
) -> None:
    with _client(board) as client:
        client.command(wire.VERB_START, {"g": "stubborn.0"})
    _leave(board)
    look = (
        "import asyncio, gc, sys, machine\n"
        "async def main():\n await asyncio.sleep_ms(1)\n return 'runs'\n"
        "print(asyncio.run(main()), gc.isenabled(), len(open('/main.py').read()) > 9,"
        " machine.mem32[0x40058000] >> 30 & 1)"
    )
    assert run(board.path, look) == "runs True True 0"


@pytest.mark.soak
def test_a_soft_reset_starts_the_agent_anew_and_counts_as_clean(board: picosim.SimBoard) -> None:
    with serial.Serial(board.path, timeout=PATIENCE_S, exclusive=True) as port:
        port.write(b"\x04")
        port.read_until(wire.MAGIC)
    with _client(board) as client:
        client.wait_for_summary()
        assert (client.model.reset_cause, client.model.unclean_boots) == ("soft", 0)
        # Nobody has started it since: it is still set aside.
        assert _states(client)["hangs"] == ("quarantined", "escalated")


@pytest.mark.soak
def test_a_hang_of_the_agent_itself_is_ended_by_the_watchdog(board: picosim.SimBoard) -> None:
    _leave(board)
    hang = (
        "from house import boot, summary\n"
        "from house.ports import rp2, rp2_heap\n"
        "watch = rp2.watch\n"
        "rp2.watch = lambda ms: watch(300)\n"
        "def tend(self):\n while True: pass\n"
        "summary.Summary.tend = tend\n"
        "boot.run(rp2, rp2_heap, rp2.ROOT, rp2.NAME)\n"
    )
    with serial.Serial(board.path, timeout=PATIENCE_S, exclusive=True) as port:
        port.write(b"\x01")
        port.read_until(b">")
        port.write(hang.encode() + b"\x04")
        port.read_until(wire.MAGIC)  # the agent is back
    with _client(board) as client:
        client.wait_for_summary()
        assert (client.model.reset_cause, client.model.unclean_boots) == ("watchdog", 1)
        events = client.command(wire.VERB_JOURNAL, {"from": 0})["events"]
        assert (events[-1]["reason"], events[-1]["reset"]) == ("agent-fault", "watchdog")
