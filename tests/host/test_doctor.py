"""doctor against a board's side of the wire with every ailment, and strangers by what they say."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from zlib import crc32

import pytest

from guesthouse.board.micropython import MINIMUM
from guesthouse.cli.main import main
from guesthouse.core import wire
from guesthouse.core.errors import ExitCode
from guesthouse.link import examine
from guesthouse.link.ports import Candidate
from guesthouse.link.strangers import identify
from tests.host.fake_agent import FakeAgent

KEYS = {"board", "firmware", "agent", "mechanisms", "ram_free", "flash_free", "link_bps"}


@pytest.fixture
def agent() -> Iterator[FakeAgent]:
    with FakeAgent() as fake:
        yield fake


@pytest.fixture
def doctor(
    agent: FakeAgent, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[], dict[str, Any]]:
    """Runs ``doctor --json`` on the fake board, and once more for its words, under "words"."""

    monkeypatch.setattr(examine, "SPAN_S", 0.05)

    def call() -> dict[str, Any]:
        assert main(["-p", agent.path, "doctor"]) == 0
        words = capsys.readouterr().out
        assert main(["-p", agent.path, "doctor", "--json"]) == 0
        return {**json.loads(capsys.readouterr().out), "words": words}

    return call


Doctor = Callable[[], dict[str, Any]]


@contextmanager
def saying(agent: FakeAgent, data: bytes) -> Iterator[None]:
    """No agent but something that says ``data`` over and over: opening a port drops what was."""
    agent.talking.clear()
    done = threading.Event()

    def say() -> None:
        while not done.wait(0.2):
            agent._send(data)

    thread = threading.Thread(target=say)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_a_healthy_board_is_told_whole_and_nothing_looks_wrong(
    agent: FakeAgent, doctor: Doctor
) -> None:
    agent.add("sampler")
    told = doctor()
    assert told.keys() >= KEYS
    assert (told["board"], told["firmware"]) == ("fake", "fake 1.0")
    assert told["mechanisms"] == {
        "preemption": {"ok": True, "reason": ""},
        "frame-table": {"ok": True, "reason": ""},
    }
    assert (told["ram_free"], told["flash_free"]) == ((1 << 20) - 50_000, 1 << 20)
    speeds = told["link"]["to_board_bps"], told["link"]["from_board_bps"]
    assert told["link_bps"] == min(speeds) > 0
    assert [(guest["name"], guest["state"]) for guest in told["guests"]] == [
        ("sampler.0", "running")
    ]
    assert told["findings"] == []
    for text in ("fake 1.0", "preemption: ok", "1 MiB free", "sampler.0 is running"):
        assert text in told["words"]
    assert "Nothing looks wrong." in told["words"]


def test_both_directions_of_the_line_are_really_used(agent: FakeAgent, doctor: Doctor) -> None:
    doctor()
    pings = [json.loads(body) for verb, _, body in agent.received if verb == wire.VERB_PING]
    assert sum("pad" in body and len(body["pad"]) >= 200 for body in pings) >= 5
    assert sum(body.get("fill", 0) >= 800 for body in pings) >= 5


def test_a_mechanism_that_failed_says_why_and_what_that_means(
    agent: FakeAgent, doctor: Doctor
) -> None:
    agent.mechanisms["frame-table"] = "no heap state found"
    agent.mechanisms["watchdog"] = "no such timer"
    told = doctor()
    assert told["mechanisms"]["frame-table"] == {"ok": False, "reason": "no heap state found"}
    assert told["mechanisms"]["preemption"]["ok"]
    assert [one["level"] for one in told["findings"]] == ["problem", "problem"]
    assert "memory figures are estimates" in told["words"]
    assert "watchdog failed its self-test (no such timer)" in told["words"]


@pytest.mark.parametrize(
    ("state", "reason", "level", "says"),
    [
        (wire.STATE_QUARANTINED, wire.REASON_TOO_MANY_FAILURES, "problem", "start hog gives it"),
        (wire.STATE_QUARANTINED, wire.REASON_STRAYS, "problem", "reset the board; guesthouse insp"),
        (wire.STATE_FAILED, wire.REASON_EXCEPTION, "problem", "hog.0 is failed: exception"),
        (wire.STATE_BACKOFF, wire.REASON_BACKOFF, "note", "hog.0 is in backoff"),
        (wire.STATE_KILLED, wire.REASON_KILL, "note", "killed by a command"),
    ],
)
def test_a_guest_that_is_down_is_named_with_what_to_do(
    agent: FakeAgent, doctor: Doctor, state: int, reason: int, level: str, says: str
) -> None:
    agent.add("good")
    guest = agent.add("hog")
    guest.state, guest.reason = state, reason
    told = doctor()
    assert [one["level"] for one in told["findings"]] == [level]
    assert says in told["words"]
    assert "good" not in json.dumps(told["findings"])


@pytest.mark.parametrize(
    ("boots", "level", "says"),
    [
        (1, "note", "went down before this start (watchdog)"),
        (3, "problem", "went down 3 times in a row: it has started no guest"),
    ],
)
def test_a_board_that_was_reset_says_so(
    agent: FakeAgent, doctor: Doctor, boots: int, level: str, says: str
) -> None:
    agent.unclean_boots = boots
    told = doctor()
    assert [one["level"] for one in told["findings"]] == [level]
    assert says in told["words"]


def test_a_full_board_says_so(agent: FakeAgent, doctor: Doctor) -> None:
    agent.flash_free = 5000
    for number in range(16):
        agent.add(f"g{number}")
    assert [one["do"] for one in doctor()["findings"]] == [
        "guesthouse rm GUEST makes room",
        "guesthouse rm GUEST makes room for another",
    ]


def test_records_dropped_before_are_a_note_and_dropped_now_a_problem(
    agent: FakeAgent, doctor: Doctor
) -> None:
    agent.dropped[wire.CLASS_TEXT] = 70
    told = doctor()
    assert [one["level"] for one in told["findings"]] == ["note"]
    assert "70 records were dropped on the board before we listened" in told["words"]
    original = agent._send_summary

    def drop() -> None:
        agent.dropped[wire.CLASS_TRACE] += 5
        original()

    agent._send_summary = drop  # type: ignore[method-assign]
    assert [one["level"] for one in doctor()["findings"]] == ["problem", "note"]


def test_a_line_that_damages_frames_is_found(agent: FakeAgent, doctor: Doctor) -> None:
    agent.damage_reply = lambda n: n % 40 == 3
    assert "the line loses data" in doctor()["words"]


def test_an_agent_that_leaves_out_what_is_asked_is_an_older_one(
    agent: FakeAgent, doctor: Doctor
) -> None:
    agent.flash_free = None
    told = doctor()
    assert told["flash_free"] is None
    assert told["link"]["from_board_bps"] is None
    assert told["link_bps"] == told["link"]["to_board_bps"] > 0
    assert "older than this guesthouse" in told["words"]


@pytest.mark.parametrize(
    ("version", "kind", "says"),
    [(0, "old-agent", "is older than this guesthouse"), (9, "new-agent", "is newer than")],
)
def test_another_version_of_the_protocol_is_named_and_not_written_to(
    agent: FakeAgent, capsys: pytest.CaptureFixture[str], version: int, kind: str, says: str
) -> None:
    frame = struct.pack(wire.FRAME_HEADER, wire.MAGIC, wire.FRAME_REPLY, version, 6, 6 ^ 0xFFFF)
    frame += bytes(6)
    frame += struct.pack("<I", crc32(frame[len(wire.MAGIC) :]))
    with saying(agent, frame):
        assert main(["-p", agent.path, "doctor"]) == ExitCode.NO_BOARD
        captured = capsys.readouterr()
        assert captured.out == ""
        assert says in captured.err
        assert main(["-p", agent.path, "doctor", "--json"]) == ExitCode.NO_BOARD
    told = json.loads(capsys.readouterr().out)
    assert told.keys() >= KEYS
    assert (told["found"], told["board"]) == (kind, None)
    assert says in told["findings"][0]["what"]
    assert agent.raw == b""


def test_circuitpython_is_named_and_not_written_to(
    agent: FakeAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    with saying(agent, b"\r\nAdafruit CircuitPython 9.2.1 on 2024-11-20; Pico with rp2040\r\n>>> "):
        assert main(["-p", agent.path, "doctor", "--json"]) == ExitCode.NO_BOARD
    told = json.loads(capsys.readouterr().out)
    assert told["found"] == "circuitpython"
    assert "CircuitPython 9.2.1" in told["findings"][0]["what"]
    assert "install MicroPython" in told["findings"][0]["do"]
    assert agent.raw == b""


PICO = 'Raspberry Pi Pico with RP2040\r\nType "help()" for more information.\r\n>>> '


@pytest.mark.parametrize(
    ("console", "kind", "says"),
    [
        ("", "silent", "it is silent"),
        (f"MicroPython v1.25.0 on 2025-04-15; {PICO}", "repl", "at its REPL"),
        (f"MicroPython v1.22.2 on 2024-02-22; {PICO}", "old-micropython", "1.22, which is too old"),
        (f"MicroPython v{MINIMUM[0]}.{MINIMUM[1]}.0 on 2024; {PICO}", "repl", "at its REPL"),
        # The newest banner counts: the firmware was replaced while we listened.
        (f"MicroPython v1.19 on 2022; x\r\nMicroPython v1.28.0 on 2026; {PICO}", "repl", "REPL"),
        ("MPY: soft reboot\r\nhello\r\n", "micropython", "no agent in it"),
        ("raw REPL; CTRL-B to exit\r\n>", "repl", "raw REPL"),
        ("this firmware cannot stop a guest: a loop was not stopped\r\nMicroPython v1.25.0 on 1;"
         "\r\n>>> ", "unfit-firmware", "a loop was not stopped"),
        ('Traceback (most recent call last):\r\n  File "house/kernel.py", line 3, in run\r\n'
         "MemoryError: ", "crashed-agent", "MemoryError"),
        ("temperature 21.5\r\n", "program", "it printed: 'temperature 21.5'"),
    ],
)  # fmt: skip
def test_what_is_printed_tells_who_is_there(console: str, kind: str, says: str) -> None:
    there = identify(console.encode())
    assert there.kind == kind
    assert says in there.what
    assert there.do


def test_bytes_that_are_no_text_are_a_bad_line_and_so_are_broken_frames() -> None:
    assert identify(bytes(range(128, 256))).kind == "noise"
    assert identify(b"ok", damaged=3).kind == "noise"
    assert identify("zwölf Grad\r\n".encode()).kind == "program"


@pytest.mark.parametrize(
    ("vid", "pid", "description", "kind"),
    [
        (0x2E8A, 0x0005, "Board in FS mode", "micropython"),
        (0x2E8A, 0x000C, "Debug Probe (CMSIS-DAP)", "debug-probe"),
        (0x2E8A, 0x000A, "Pico", "program"),
        (0x239A, 0x80F4, "Pico", "circuitpython"),
        (0x1D50, 0x6160, "CircuitPython CDC control", "circuitpython"),
        (0x1A86, 0x7523, "USB Serial", "silent"),
        (None, None, "", "silent"),
    ],
)
def test_a_silent_port_is_told_by_its_usb_ids(
    vid: int | None, pid: int | None, description: str, kind: str
) -> None:
    port = Candidate("a0", "/dev/ttyACM0", "serial", description, vid, pid)
    assert identify(b"", port).kind == kind
    # What it says itself counts for more.
    assert identify(b">>> ", port).kind == "repl"
