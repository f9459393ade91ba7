"""The last resort on a Pico: what nothing stops is reset, told, and kept from starting again.

One board goes through all of it, because emulated code is slow: each step begins where the one
before it ended. Its flash is full to the last block, so that whatever is written down finds its
place beside nothing.
"""

from __future__ import annotations

import binascii
import json
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from guesthouse.board.emulator import FLASH_SIZE
from guesthouse.board.firmware import Firmware
from guesthouse.core import wire
from guesthouse.core.errors import GuesthouseError
from guesthouse.guests.manifest import Manifest
from guesthouse.install.filesystem import flash_image
from guesthouse.install.package import BoardFile
from guesthouse.link.client import Client
from guesthouse.measure.account import Snapshot, account
from tests.support import guests
from tests.support.emulated import EmulatedPico
from tests.support.flashes import agent_files

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

# It waits for a lock that nobody opens: a call into C in which the processor sleeps.
BLOCKS = """\
import _thread, asyncio
async def main():
    await asyncio.sleep_ms(800)
    lock = _thread.allocate_lock()
    lock.acquire()
    lock.acquire()
"""

# A call into C that never comes back, and works.
HANGS = """\
async def main():
    all(range(1, 1000000000))
"""

# It never ends to load.
STUBBORN = guests.SPIN + "spin()\n"

GUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "calm": (guests.CALM, {}),
    "holds45": (HOLDS.format(ms=45), {}),
    "blocks": (BLOCKS, {"restart": "always"}),
    "holds400": (HOLDS.format(ms=400), {"autostart": False}),
    "hangs": (HANGS, {"restart": "always", "autostart": False}),
    "stubborn": (STUBBORN, {"load_max_us": 60_000_000, "autostart": False}),
}
RUNS = ("waiting", "ready", "running")


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
            image = flash_image(firmware, [*files, filler], FLASH_SIZE)
            fits = blocks
        except GuesthouseError:
            too_much = blocks
    return image


@pytest.fixture(scope="module")
def board(
    firmware: Firmware, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EmulatedPico]:
    files = [*agent_files(firmware), _journal()]
    for name, (source, settings) in GUESTS.items():
        files += _guest(name, source, **settings)
    flash = tmp_path_factory.mktemp("pico") / "flash.bin"
    flash.write_bytes(_full_flash(firmware, files))
    started = EmulatedPico(flash)
    yield started
    started.close()


def _why(client: Client, name: str) -> tuple[str, str, str]:
    answer = client.command(wire.VERB_WHY, {"g": f"{name}.0"})
    return answer["state"], answer["reason"], str(answer["what"])


def _events(client: Client) -> list[tuple[str, str, str, int]]:
    events = client.command(wire.VERB_JOURNAL, {"from": 0})["events"]
    return [(one["reason"], one["guest"], one["reset"], one["count"]) for one in events]


def _leave(board: EmulatedPico) -> float:
    """Ctrl-C from a terminal; the seconds of the board's until the prompt is there."""
    began = board.seconds
    board.send(b"\x03")
    board.take_until(b">>> ")
    return board.seconds - began


def _dropped(client: Client) -> int:
    return sum(client.model.dropped.values())


def test_a_blocked_call_resets_the_board_and_held_interrupts_do_not(board: EmulatedPico) -> None:
    with board.listen() as client:  # a command would be lost in the reset
        board.until(client, lambda: client.model.unclean_boots == 1)
        assert board.resets == 1
        client.hello()
        client.wait_for_summary()
        assert client.model.reset_cause == "watchdog"
        # Who held the interrupts ended as an overrun, in this boot too.
        board.until(client, lambda: client.instance("holds45").state == "killed")
        assert _why(client, "holds45")[:2] == ("killed", "overrun")
        assert client.instance("calm").state in RUNS
        state, reason, what = _why(client, "blocks")
        assert (state, reason) == ("quarantined", "escalated")
        assert "nothing can interrupt" in what
        # One block is free by now: the journal of the image had one, and the board's needs none.
        assert client.command(wire.VERB_PING, {"flash": True})["flash_free"] <= 4096
        assert _events(client) == [("escalated", "blocks.0", "watchdog", 1)]


def test_what_only_the_boot_needed_does_not_stay_in_the_heap(board: EmulatedPico) -> None:
    """``tools/bench/agent_heap.py`` starts the agent at the prompt; here ``main.py`` has."""
    with board.listen() as client:
        client.hello()
        client.wait_for_summary()
        client.command(wire.VERB_START, {"g": "holds45.0"})
        board.until(client, lambda: client.instance("holds45").state == "killed")
        told = client.command(wire.VERB_INSPECT, {"g": "calm.0"})  # its end has collected
        assert told["agent"] < told["heap"] // 4, told


@pytest.mark.soak
@pytest.mark.parametrize("open_port", [True, False], ids=["does not read", "has gone"])
def test_slices_go_on_while_the_host(board: EmulatedPico, open_port: bool) -> None:
    resets = board.resets
    with board.listen() as client:
        client.hello()
        client.set_trace(True)  # of each slice a record: more than the rings hold
        client.wait_for_summary()
        elapsed, slices = client.model.elapsed_us, client.instance("calm").slices
        dropped = _dropped(client)
        if open_port:
            board.read(False)
            board.run_for(1.5)
            board.read(True)
    if not open_port:
        board.run_for(1.5)
    with board.listen() as client:
        client.set_trace(False)
        client.hello()
        client.wait_for_summary()
        seconds = (client.model.elapsed_us - elapsed) / 1e6
        assert seconds > 1.5
        # Up to fifty slices a second: the guest was never held up.
        assert client.instance("calm").slices - slices > 25 * seconds
        assert _dropped(client) > dropped
        assert board.resets == resets


def test_the_accounts_add_up_to_the_time_that_passed(board: EmulatedPico) -> None:
    with board.listen() as client:
        client.hello()
        client.wait_for_summary(count=2)  # the first stands behind all that a greeting asks for
        before, began = Snapshot.of(client.model, 0), board.seconds
        client.wait_for_summary(count=2)
        passed = account(client.model, before, 0, {})
        # a summary is some ms on its way
        assert abs(passed.elapsed_us / 1e6 - (board.seconds - began)) < 0.2
        assert abs(passed.unaccounted_us) < passed.elapsed_us // 1_000, passed
        assert min(passed.agent_us, passed.guests_us, passed.idle_us) > 0


def test_ctrl_c_ends_the_agent_even_while_a_guest_loads_and_catches_everything(
    board: EmulatedPico,
) -> None:
    with board.listen() as client:
        client.command(wire.VERB_START, {"g": "stubborn.0"})  # after its answer nothing is heard
    with board.port():
        board.run_for(0.1)
        assert _leave(board) < 1  # of the minute that it has
        look = (
            "import asyncio, gc, machine\n"
            "async def main():\n await asyncio.sleep_ms(1)\n return 'runs'\n"
            "print(asyncio.run(main()), gc.isenabled(), len(open('/main.py').read()) > 9,"
            " machine.mem32[0x40058000] >> 30 & 1)"
        )
        assert board.run(look) == "runs True True 0"


@pytest.mark.soak
def test_a_soft_reset_starts_the_agent_anew_and_counts_as_clean(board: EmulatedPico) -> None:
    with board.port():
        board.send(b"\x04")
        board.take_until(wire.MAGIC)
    with board.listen() as client:
        client.hello()
        client.wait_for_summary()
        assert (client.model.reset_cause, client.model.unclean_boots) == ("soft", 0)
        # Nobody has started it since: it is still set aside.
        assert _why(client, "blocks")[:2] == ("quarantined", "escalated")


@pytest.mark.soak
def test_a_hang_of_the_agent_itself_is_ended_by_the_watchdog(board: EmulatedPico) -> None:
    resets = board.resets
    with board.port():
        _leave(board)
        board.start(
            "from house import boot\n"
            "from house.ports import rp2, rp2_heap\n"
            "watch = rp2.watch\n"
            "rp2.watch = lambda ms: watch(300)\n"
            "def serial_read(buf):\n while True: pass\n"
            "rp2.serial_read = serial_read\n"
            "boot.run(rp2, rp2_heap, rp2.ROOT, rp2.NAME)\n"
        )
        board.take_until(wire.MAGIC)  # the agent is back
    assert board.resets == resets + 1
    with board.listen() as client:
        client.hello()
        client.wait_for_summary()
        assert (client.model.reset_cause, client.model.unclean_boots) == ("watchdog", 1)
        assert _events(client)[-1] == ("agent-fault", "", "watchdog", 1)


@pytest.mark.soak
def test_a_call_that_works_for_ever_is_no_better_than_one_that_waits(board: EmulatedPico) -> None:
    resets = board.resets
    with board.listen() as client:
        client.hello()
        client.command(wire.VERB_START, {"g": "holds400.0"})
        board.until(client, lambda: client.instance("holds400").state == "killed")
        assert _why(client, "holds400")[:2] == ("killed", "overrun")
        assert board.resets == resets
        client.command(wire.VERB_START, {"g": "hangs.0"})
        # Not by the boot's id: two emulated boots that go alike draw the same one.
        board.until(client, lambda: board.resets == resets + 1)
        client.hello()
        client.wait_for_summary()
        # Both are set aside: else two of them would start each other for ever.
        for name in ("hangs", "blocks"):
            assert _why(client, name)[:2] == ("quarantined", "escalated")
        assert client.instance("calm").state in RUNS
        assert _events(client)[-1] == ("escalated", "hangs.0", "watchdog", 1)
