"""A guest that nothing interrupts costs its board a reset: what is left, told by real parts."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from guesthouse.board import sim
from guesthouse.cli.main import main
from guesthouse.core.model import Event
from guesthouse.core.recording import read_recording
from guesthouse.core.sentences import sentence
from guesthouse.core.tracker import Tracker
from tests.support import guests

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="Unix-port boards need Linux"
)

PATIENCE_S = 60

# Works most of the time, and gives the processor back well within its slice.
BUSY = """
import asyncio
async def main():
    while True:
        for _ in range(2000):
            pass
        await asyncio.sleep(0)
"""
# Each waits a moment, so that the reply to its deployment is not lost in the reset.
WAIT = """
import asyncio
async def main():
    await asyncio.sleep_ms(300)
"""
SUM = WAIT + "    sum(range(10**10))\n"
LOCK = (
    "import _thread\n"
    + WAIT
    + "    lock = _thread.allocate_lock()\n    lock.acquire()\n    lock.acquire()\n"
)
VIPER = (
    "import micropython\n@micropython.viper\ndef spin():\n    i = 1\n    while i:\n        i = 1\n"
    + WAIT
    + "    spin()\n"
)
BACKTRACK = "import re\n" + WAIT + '    re.match("a?" * 26 + "a" * 26 + "b", "a" * 26)\n'
# No signal reaches it any more, neither the one that raises nor anything it could be told with.
DEAF = (
    "import ffi\n"
    + WAIT
    + "    libc = ffi.open(None)\n"
    + '    libc.func("i", "sigprocmask", "ipp")(0, bytes([255]) * 128, None)\n'
    + "    while True:\n        pass\n"
)
# Within its rights for ten seconds of CPU time.
LONG = """
import asyncio, ffi
async def main():
    await asyncio.sleep(0)
clock = ffi.open(None).func("l", "clock", "")
end = clock() + 10000000
while clock() < end:
    pass
"""


class Board:
    """A board of the test's own, driven through the command line."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._folder = folder
        self._capsys = capsys

    def __call__(self, *words: str | Path) -> str:
        self._capsys.readouterr()
        code = main([str(word) for word in words])
        captured = self._capsys.readouterr()
        assert code == 0, captured.err
        return captured.out

    def deploy(self, name: str, source: str, manifest: str = "") -> None:
        folder = self._folder / name
        folder.mkdir()
        (folder / "main.py").write_text(source)
        (folder / "guest.toml").write_text(f'name = "{name}"\n{manifest}')
        self("deploy", folder)

    def states(self) -> dict[str, str]:
        guests = json.loads(self("ps", "--json"))
        return {guest["name"].removesuffix(".0"): guest["state"] for guest in guests}

    def why(self, name: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self("why", name, "--json"))
        return answer

    def await_reset(self, count: int) -> sim.SimBoard:
        """The board once it runs again after so many resets."""
        deadline = time.monotonic() + PATIENCE_S
        while (board := sim.require()).restarts < count or board.status != "running":
            assert time.monotonic() < deadline, board
            time.sleep(0.05)
        assert board.restarts == count, board.log.read_text()
        return board

    def pid(self) -> int:
        """MicroPython's process."""
        supervisor = sim.require().pid
        children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text()
        return int(children.split()[0])


@pytest.fixture
def board(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Board]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("GUESTHOUSE_PORT", raising=False)
    assert main(["sim"]) == 0
    yield Board(tmp_path, capsys)
    sim.stop("sim")


def test_calls_that_nothing_interrupts_are_ended_and_their_guests_set_aside(board: Board) -> None:
    """Three in a row, so that the board comes up without guests in the end."""
    board.deploy("calm", guests.CALM)
    board.deploy("sum", SUM)
    assert board.await_reset(1).last_end == "signal SIGKILL"
    assert "started again once, last after signal SIGKILL" in board("sim", "--list")
    assert board.states() == {"calm": "waiting", "sum": "quarantined"}
    why = board.why("sum")
    assert (why["reason"], why["state"]) == ("escalated", "quarantined")
    assert "nothing can interrupt" in why["what"]

    board.deploy("lock", LOCK)  # it sleeps: it uses no CPU time at all
    board.await_reset(2)
    assert board.states() == {"calm": "waiting", "sum": "quarantined", "lock": "quarantined"}

    board.deploy("viper", VIPER)
    board.await_reset(3)
    states = board.states()
    assert states["viper"] == "quarantined"
    assert not {"waiting", "ready", "running", "loading"} & set(states.values())
    board("start", "calm")
    assert board.states()["calm"] != "stopped"
    time.sleep(1)
    board.await_reset(3)  # it stays


def test_a_recording_goes_on_over_the_reset_and_tells_who_it_was(
    board: Board, tmp_path: Path
) -> None:
    board.deploy("calm", guests.CALM)
    file = tmp_path / "reset.ghr"
    board.deploy("re", BACKTRACK.replace("sleep_ms(300)", "sleep_ms(4000)"))
    with _recording(file):
        board.await_reset(1)
        _until_told(file, "re.0", "escalated")
    events = _events(file)
    boots = [event for event in events if event.name == "board" and event.reason == "boot"]
    assert len(boots) == 1
    told = next(event for event in events if event.reason == "escalated")
    assert (told.name, told.new) == ("re.0", "quarantined")
    assert sentence(told) == "re.0 quarantined by the last resort: no raise could stop it"
    after = events[events.index(boots[0]) :]
    assert any(event.name == "calm.0" and event.reason == "loaded" for event in after)
    report = json.loads(board("analyze", file, "--json"))
    assert len(report["boots"]) == 2


def test_nobody_is_blamed_for_a_kill_from_outside(board: Board) -> None:
    board.deploy("busy", BUSY)
    os.kill(board.pid(), signal.SIGKILL)
    board.await_reset(1)
    deadline = time.monotonic() + PATIENCE_S
    while board.states() != {"busy": "ready"}:
        assert time.monotonic() < deadline, board.states()
    assert board.why("busy")["reason"] != "escalated"


def test_a_process_that_is_stopped_and_goes_on_is_not_reset(board: Board) -> None:
    board.deploy("busy", BUSY)
    pid, moments = board.pid(), random.Random(5)
    for _ in range(60):
        os.kill(pid, signal.SIGSTOP)
        time.sleep(moments.random() * 0.05)
        os.kill(pid, signal.SIGCONT)
        time.sleep(moments.random() * 0.02)
    assert set(board.states()) == {"busy"}
    board.await_reset(0)


@pytest.mark.soak
def test_a_stop_longer_than_the_watchdog_waits_is_no_hang(board: Board) -> None:
    board.deploy("busy", BUSY)
    os.kill(board.pid(), signal.SIGSTOP)
    time.sleep(12)
    os.kill(board.pid(), signal.SIGCONT)
    assert board.states() == {"busy": "ready"}
    board.await_reset(0)


@pytest.mark.soak
def test_a_guest_that_blocks_the_signal_is_ended_by_the_watchdog(board: Board) -> None:
    board.deploy("calm", guests.CALM)
    board.deploy("deaf", DEAF)
    board.await_reset(1)
    assert board.states() == {"calm": "waiting", "deaf": "quarantined"}


@pytest.mark.soak
def test_a_load_may_last_longer_than_the_watchdog_waits(board: Board) -> None:
    board.deploy("long", LONG, '[cpu]\nload_max = "60s"\n')
    deadline = time.monotonic() + 3 * PATIENCE_S
    states: dict[str, str] = {}
    while states != {"long": "exited"}:
        assert time.monotonic() < deadline, states
        with contextlib.suppress(AssertionError):  # the agent does not answer while it loads
            states = board.states()
    (guest,) = json.loads(board("ps", "--json"))
    assert guest["cpu_us"] > 9_000_000
    board.await_reset(0)


@contextlib.contextmanager
def _recording(file: Path) -> Iterator[None]:
    """A recorder in a process of its own, from its first words to the end of the block."""
    with subprocess.Popen(
        [sys.executable, "-m", "guesthouse.cli.main", "record", "-o", str(file)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": "1"},
    ) as process:
        try:
            assert process.stderr is not None
            assert "recording sim" in process.stderr.readline()
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE_S)


def _events(file: Path) -> list[Event]:
    tracker = Tracker()
    for chunk in read_recording(file)[1]:
        tracker.feed_bytes(chunk.data, chunk.monotonic_ns)
    return list(tracker.model.events)


def _until_told(file: Path, name: str, reason: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not any((event.name, event.reason) == (name, reason) for event in _events(file)):
        assert time.monotonic() < deadline, _events(file)
        time.sleep(0.2)
