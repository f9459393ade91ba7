"""doctor on a real agent, and on a real MicroPython that has none."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from guesthouse.board import sim
from guesthouse.cli.main import main
from guesthouse.core.errors import ExitCode
from guesthouse.link.holder import find_holder

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="Unix-port boards need Linux"
)

CRASH = "async def main():\n    1 // 0\n"


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sim.SimBoard]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("GUESTHOUSE_PORT", raising=False)
    started = sim.start()
    yield started
    sim.stop()


def test_a_real_board_is_told_whole_and_its_crashed_guest_with_the_line(
    board: sim.SimBoard, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "crash.py").write_text(CRASH)
    assert main(["run", "-d", str(tmp_path / "crash.py")]) == 0
    capsys.readouterr()
    assert main(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["board"] == "sim"
    assert "MicroPython" in told["firmware"]
    assert told["agent"]
    assert told["mechanisms"] == {
        "preemption": {"ok": True, "reason": ""},
        "file-calls": {"ok": True, "reason": ""},
        "frame-table": {"ok": True, "reason": ""},
    }
    assert 0 < told["ram_free"] < told["ram_total"] <= 4 << 20
    disk = os.statvfs(board.root)
    assert 0 < told["flash_free"] <= disk.f_frsize * disk.f_blocks
    assert 0 < told["link_bps"] <= told["link"]["to_board_bps"]
    assert told["link_bps"] <= told["link"]["from_board_bps"]
    assert told["missed"] == 0
    assert [guest["state"] for guest in told["guests"]] == ["failed"]
    problems = [one["what"] for one in told["findings"] if one["level"] == "problem"]
    assert problems == ["crash.0 is failed: exception at crash/main.py:2 in main"]
    assert main(["doctor"]) == 0
    words = capsys.readouterr().out
    assert problems[0] in words
    assert "guesthouse why crash" in words


def test_a_real_repl_is_recognised_and_not_one_byte_is_sent_to_it(micropython: list[str]) -> None:
    """The REPL starts once doctor has the port: what was printed before is not there to be read."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    path = os.ttyname(slave)
    doctor = subprocess.Popen(
        [sys.executable, "-m", "guesthouse.cli.main", "-p", path, "doctor"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        deadline = time.monotonic() + 60
        while (holder := find_holder(path)) is None or not holder.locked:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        repl = subprocess.Popen(
            [*micropython, "-i"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        sent = b""
        with repl:
            assert repl.stdout is not None
            while doctor.poll() is None:
                ready, _, _ = select.select([repl.stdout.fileno(), master], [], [], 0.1)
                if repl.stdout.fileno() in ready:
                    os.write(master, os.read(repl.stdout.fileno(), 4096))
                if master in ready:
                    sent += os.read(master, 4096)
            repl.kill()
        _, said = doctor.communicate()
    finally:
        doctor.kill()
        doctor.wait()
        os.close(master)
        os.close(slave)
    assert doctor.returncode == ExitCode.NO_BOARD
    assert "at its REPL" in said
    assert sent == b""
