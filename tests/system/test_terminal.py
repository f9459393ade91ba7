"""What needs a terminal, in a terminal: top and the monitor on a real board."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from guesthouse.board.sim import private_board
from guesthouse.core.errors import ExitCode
from guesthouse.core.recording import read_recording

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="Unix-port boards need Linux"
)


@pytest.fixture(scope="module")
def port() -> Iterator[str]:
    with private_board() as board:
        yield board.path


class Terminal:
    """A command in a terminal of 100 by 30; ``text`` is everything it wrote."""

    def __init__(self, *words: str) -> None:
        self.text = ""
        self._master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "guesthouse.cli.main", *words],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={
                **os.environ,
                "TERM": "xterm-256color",
                "PYTHONPATH": os.pathsep.join(sys.path),
                "PYTHONIOENCODING": "utf-8",
            },
        )
        os.close(slave)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)

    def until(self, *words: str) -> None:
        """Wait until all of these stand somewhere in what it wrote."""
        deadline = time.monotonic() + 60
        while not all(word in self.text for word in words):
            assert time.monotonic() < deadline, self.text[-3000:]
            if not self._read():
                raise AssertionError(self.text[-3000:])

    def press(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def end(self) -> int:
        """Its exit code, when it has written its last."""
        deadline = time.monotonic() + 60
        while self._read():
            assert time.monotonic() < deadline, self.text[-3000:]
        return self.process.wait()

    def _read(self) -> bool:
        """False once the command has gone."""
        if select.select([self._master], [], [], 0.5)[0]:
            with contextlib.suppress(OSError):
                data = os.read(self._master, 65536)
                self.text += data.decode("utf-8", "replace")
                return bool(data)
            return False
        return True


def test_top_refreshes_and_gives_the_screen_back(port: str) -> None:
    with Terminal("-p", port, "top") as terminal:
        terminal.until("\x1b[?1049h", "MicroPython")
        terminal.text = ""
        terminal.until("MicroPython")  # the next picture
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.end() == ExitCode.INTERRUPTED
        assert terminal.text.endswith("\x1b[?25h\x1b[?1049l")


def test_the_monitor_shows_records_and_gives_the_port_back(port: str, tmp_path: Path) -> None:
    file = tmp_path / "shown.ghr"
    for _ in range(2):
        with Terminal("-p", port, "monitor", "--record", str(file)) as terminal:
            terminal.until("\x1b[?1049h", "private", "recording to shown.ghr")
            terminal.press(b"q")
            assert terminal.end() == 0
            assert f"in {file}" in terminal.text
        assert read_recording(file)[1]
        file.unlink()


def test_a_recording_plays_in_the_terminal(port: str, tmp_path: Path) -> None:
    file = tmp_path / "shown.ghr"
    with Terminal("-p", port, "record", str(file), "--seconds", "2") as terminal:
        assert terminal.end() == 0
        assert re.search(r"records in [2-9]\.\d s", terminal.text), terminal.text
    with Terminal("replay", str(file), "--speed", "0") as terminal:
        terminal.until("MicroPython", "shown.ghr")
        terminal.press(b"q")
        assert terminal.end() == 0
