"""The command line on a real agent in a real MicroPython behind a real pseudo-terminal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from guesthouse.board import sim
from guesthouse.cli.main import main
from guesthouse.core.errors import ExitCode
from guesthouse.core.recording import read_recording
from guesthouse.core.tracker import Tracker
from guesthouse.link.holder import find_holder
from tests.support import guests

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="Unix-port boards need Linux"
)

TICKER = """
import asyncio
async def main():
    count = 0
    while True:
        print("tick", count)
        count += 1
        await asyncio.sleep_ms(50)
"""
BUSY = """
import asyncio
async def main():
    while True:
        for _ in range(200):
            pass
        await asyncio.sleep(0)
"""
HOG = guests.SPIN + """\
async def main():
    spin()
"""
LONG = guests.WORK + """\
async def main():
    print(work(8000000))
"""
SPIN = """
async def main():
    while True:
        pass
"""
CONTROL = """
from house import guest
async def main():
    async for _ in guest.every(50):
        pass
"""


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a board that runs, in a state folder of its own; ended when we are done."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.delenv("GUESTHOUSE_PORT", raising=False)
        assert main(["sim"]) == 0
        yield "sim"
        sim.stop("sim")


class Cli:
    """Runs command lines on the board and keeps what they said."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.code = 0
        self.out = self.err = ""

    def __call__(self, *words: str | Path, code: int | None = 0) -> str:
        """Standard output; the exit code must be ``code`` unless that is None."""
        self.code = main([str(word) for word in words])
        captured = self._capsys.readouterr()
        self.out, self.err = captured.out, captured.err
        assert code is None or self.code == code, self.err
        return self.out

    def data(self, *words: str | Path) -> Any:
        """What --json printed."""
        return json.loads(self(*words, "--json"))

    def guest(self, name: str) -> dict[str, Any]:
        """What ps tells of one guest."""
        guests: list[dict[str, Any]] = self.data("ps")
        return next(guest for guest in guests if guest["name"] == f"{name}.0")

    def until(self, name: str, met: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The guest once ``met`` holds for it; a minute is far more than any of it takes."""
        deadline = time.monotonic() + 60
        while not met(guest := self.guest(name)):
            assert time.monotonic() < deadline, guest
        return guest


@pytest.fixture
def cli(board: str, capsys: pytest.CaptureFixture[str]) -> Iterator[Cli]:
    """A command line, on a board without guests."""
    one = Cli(capsys)
    yield one
    for guest in one.data("ps"):
        one("rm", guest["image"], code=None)


def program(folder: Path, name: str, source: str) -> Path:
    path = folder / f"{name}.py"
    path.write_text(source)
    return path


def start(*words: str | Path) -> subprocess.Popen[str]:
    """A command in a process of its own; XDG_STATE_HOME goes with the environment."""
    return subprocess.Popen(
        [sys.executable, "-m", "guesthouse.cli.main", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": "1"},
    )


def test_the_only_simulated_board_needs_no_port(cli: Cli) -> None:
    devices = cli.data("devs")
    assert "sim" in [device["port"] for device in devices]
    assert cli.data("ps") == []
    assert cli.data("top")["board"] == "sim"
    cli("sim", code=ExitCode.BUSY)
    assert "running already" in cli.err


@pytest.mark.parametrize(
    "source",
    [
        "async def main():\n    print('hello')\n    print('bye')\n",
        "def main():\n    print('hello')\n    yield\n    print('bye')\n",
        "import asyncio\nasync def app():\n    print('hello')\n    await asyncio.sleep_ms(20)\n"
        "    print('bye')\nasyncio.run(app())\n",
        "import asyncio\nasync def main():\n    print('hello')\n    await asyncio.sleep_ms(20)\n"
        "    print('bye')\nif __name__ == '__main__':\n    asyncio.run(main())\n",
        "import asyncio\nasync def app():\n    print('hello')\n    await asyncio.sleep_ms(20)\n"
        "    print('bye')\nif __name__ == '__main__':\n    asyncio.run(app())\n",
    ],
    ids=["async", "generator", "runs itself", "guarded", "guarded app"],
)
def test_run_needs_no_manifest_and_follows_to_the_end(
    cli: Cli, tmp_path: Path, source: str
) -> None:
    cli("run", program(tmp_path, "hello", source), "--cpu", "20%", "--mem", "32k")
    assert cli.out == "hello\nbye\n"
    guest = cli.guest("hello")
    assert (guest["state"], guest["cpu_max"], guest["mem_max"]) == ("exited", 0.2, 32768)
    assert guest["autostart"] is False


def test_a_hung_guest_is_stopped_and_why_names_its_line(cli: Cli, tmp_path: Path) -> None:
    cli("run", program(tmp_path, "hog", HOG), code=ExitCode.FAILURE)
    assert "hog.0 killed: overran its 5 ms slice" in cli.err
    reply = cli.data("why", "hog")
    assert reply["reason"] == "overrun"
    frames = reply["where"].split(" < ")
    assert "spin" in frames[0] and "main.py:" in frames[0]
    assert "main.py:9 in main" in frames[1]
    assert "spin" in cli("why", "hog")
    assert cli.guest("hog")["overruns"] == 1


def test_a_long_computation_is_suspended_while_a_reserved_loop_goes_on(
    cli: Cli, tmp_path: Path
) -> None:
    """Some seconds of it in one go."""
    cli("run", program(tmp_path, "control", CONTROL), "--cpu-min", "2ms/50ms", "--detach")
    cli("run", program(tmp_path, "long", LONG), "--on-overrun", "suspend", "--detach")
    before = cli.until("long", lambda guest: guest["overruns"] == 1)
    began = cli.guest("control")["slices"]
    after = cli.until("long", lambda guest: guest["state"] == "exited")
    assert (after["kills"], after["overruns"]) == (0, 1)
    assert str(guests.worked(8_000_000)) in cli("logs", "long")
    # a slice each 50 ms; half of that is room for a busy machine
    ms = (after["cpu_us"] - before["cpu_us"]) // 1000
    assert cli.guest("control")["slices"] - began > ms // 100


def test_of_two_that_compute_for_long_one_is_suspended_and_the_other_told_why(
    cli: Cli, tmp_path: Path
) -> None:
    cli("run", program(tmp_path, "first", SPIN), "--on-overrun", "suspend", "--detach")
    cli.until("first", lambda guest: guest["overruns"] == 1)
    second = program(tmp_path, "second", LONG)
    cli("run", second, "--on-overrun", "suspend", code=ExitCode.FAILURE)
    assert "overran its 5 ms slice" in cli.err
    assert "not suspended: another guest is suspended" in cli.err
    assert cli.data("why", "second")["what"] == "not suspended: another guest is suspended"
    # a board whose guest never gives way is a board like any other
    cli("run", program(tmp_path, "hello", "async def main():\n    print('hello')\n"))
    assert cli.out == "hello\n"
    cli("set", "first", "--cpu", "10%")
    cli("rm", "second")
    cli("restart", "first")
    assert cli.until("first", lambda guest: guest["restarts"] == 1)["kills"] == 0
    cli.until("first", lambda guest: guest["state"] in ("suspended", "throttled"))
    cli("kill", "first")
    assert cli.guest("first")["state"] == "killed"


def test_a_crash_names_its_line_and_the_exception(cli: Cli, tmp_path: Path) -> None:
    source = "def divide(x):\n    return 1 // x\nasync def main():\n    divide(0)\n"
    cli("run", program(tmp_path, "crash", source), code=ExitCode.FAILURE)
    reply = cli.data("why", "crash")
    assert "main.py:2 in divide" in reply["where"].split(" < ")[0]
    assert "main.py:4 in main" in reply["where"].split(" < ")[1]
    assert "ZeroDivisionError" in reply["what"]


@pytest.mark.parametrize(
    ("name", "source", "reason"),
    [
        ("syntax", "async def main():\n    x = = 1\n", "syntax"),
        ("nomain", "x = 1\n", "no-main"),
        ("raises", "raise RuntimeError('at import')\n", "exception"),
        ("hangs", "while True: pass\n", "load-overrun"),
    ],
)
def test_a_program_that_cannot_start_says_why_and_the_board_lives(
    cli: Cli, tmp_path: Path, name: str, source: str, reason: str
) -> None:
    path = program(tmp_path, name, source)
    if name == "syntax":
        cli("run", path, code=ExitCode.USAGE)
        assert "syntax.py:2: invalid syntax" in cli.err
    cli("run", path, "--force", code=ExitCode.FAILURE)
    reply = cli.data("why", name)
    assert reply["reason"] == reason
    if reason in ("exception", "load-overrun"):
        assert "main.py:1" in reply["where"]
    ticker = program(tmp_path, "ticker", TICKER)
    cli("run", "--detach", ticker)
    cli.until("ticker", lambda guest: guest["slices"] > 3)


def test_a_guest_that_exits_at_once_has_exited(cli: Cli, tmp_path: Path) -> None:
    source = "import sys\nasync def main():\n    sys.exit()\n"
    cli("run", program(tmp_path, "quits", source))
    assert cli.guest("quits")["state"] == "exited"
    assert cli.data("why", "quits")["reason"] == "exit"


def test_a_guest_that_prints_ten_megabytes_loses_lines_and_disturbs_nobody(
    cli: Cli, tmp_path: Path
) -> None:
    source = (
        "import asyncio\nasync def main():\n    line = 'x' * 1000\n"
        "    for n in range(10 * 1024):\n        print(line)\n"
        "        if n % 16 == 0:\n            await asyncio.sleep(0)\n"
        "    await asyncio.sleep(2)\n    print('done')\n"
    )
    cli("run", "--detach", program(tmp_path, "ticker", TICKER))
    cli("run", "--detach", program(tmp_path, "printer", source))
    guest = cli.until("printer", lambda guest: guest["state"] == "exited")
    assert guest["log_dropped"] > 0
    assert cli("logs", "printer").endswith("done\n")
    ticker = cli.guest("ticker")
    assert (ticker["state"] in ("waiting", "ready", "running"), ticker["failures"]) == (True, 0)


def test_a_folder_is_deployed_replaced_and_removed(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    (folder / "lib").mkdir(parents=True)
    (folder / "main.py").write_text("import words\nasync def main():\n    print(words.WORD)\n")
    (folder / "words.py").write_text("WORD = 'first'\n")
    (folder / "lib" / "table.bin").write_bytes(bytes(range(256)) * 40)
    (folder / "guest.toml").write_text(
        'name = "lab"\nversion = "1"\n[cpu]\nmax = "25%"\nslice_max = "8ms"\nweight = 300\n'
        '[memory]\nmax = "40k"\n[restart]\npolicy = "never"\n'
    )
    (deployed,) = cli.data("deploy", folder)
    guest = cli.until("lab", lambda guest: guest["state"] == "exited")
    assert (guest["cpu_max"], guest["slice_max_us"], guest["weight"], guest["mem_max"]) == (
        0.25, 8_000, 300, 40960,
    )  # fmt: skip
    assert deployed["digest"].startswith(guest["digest"][:8])
    assert cli("logs", "lab") == "first\n"
    (folder / "words.py").write_text("WORD = 'second'\n")
    (again,) = cli.data("deploy", folder)
    assert again["digest"] != deployed["digest"]
    cli.until("lab", lambda guest: guest["state"] == "exited")
    assert cli("logs", "lab") == "second\n"
    cli("rm", "lab")
    assert cli.data("ps") == []
    cli("why", "lab", code=ExitCode.USAGE)


@pytest.mark.parametrize("profile", ["unix", "rpi_pico"])
def test_a_new_guest_runs_as_it_was_written(cli: Cli, tmp_path: Path, profile: str) -> None:
    folder = tmp_path / "fresh"
    cli("new", folder, "--board", profile)
    cli("deploy", folder)
    guest = cli.until("fresh", lambda guest: guest["slices"] >= 3)
    assert (guest["cpu_max"], guest["mem_max"]) == (0.2, 32 * 1024)
    assert (guest["overruns"], guest["kills"], guest["failures"]) == (0, 0, 0)
    assert cli("logs", "fresh").splitlines()[0] == "up for 0 s"


def test_the_same_version_deployed_twice_still_runs(cli: Cli, tmp_path: Path) -> None:
    path = program(tmp_path, "hello", "async def main():\n    print('hello')\n")
    for _ in range(3):
        cli("run", path)
        assert cli.out == "hello\n"


def test_guests_are_stopped_started_killed_and_restarted(cli: Cli, tmp_path: Path) -> None:
    cli("run", "--detach", program(tmp_path, "ticker", TICKER))
    alive = ("waiting", "ready", "running")
    cli.until("ticker", lambda guest: guest["state"] in alive and guest["slices"] > 1)
    cli("stop", "ticker")
    slices = cli.until("ticker", lambda guest: guest["state"] == "stopped")["slices"]
    assert cli.guest("ticker")["slices"] == slices
    cli("start", "ticker.0")
    cli.until("ticker", lambda guest: guest["state"] in alive and guest["slices"] > slices)
    cli("kill", "ticker")
    cli.until("ticker", lambda guest: guest["state"] == "killed")
    assert cli.data("why", "ticker")["reason"] == "kill"
    cli("restart", "ticker")
    cli.until("ticker", lambda guest: guest["state"] in alive)


def test_a_live_guests_quotas_are_changed_and_hold(cli: Cli, tmp_path: Path) -> None:
    cli("run", "--detach", program(tmp_path, "busy", BUSY), "--cpu", "10%")
    cli.until("busy", lambda guest: guest["throttled_us"] > 0 and guest["cpu_share"] > 0.05)
    assert cli.guest("busy")["cpu_share"] < 0.2
    changed = cli.data("set", "busy", "--cpu", "40%", "--mem", "48k", "--slice", "3ms")
    assert (changed["cpu_max"], changed["mem_max"], changed["slice_max_us"]) == (0.4, 49152, 3000)
    cli.until("busy", lambda guest: 0.2 < guest["cpu_share"] < 0.5)
    cli("set", "busy", "--cpu", "130%", code=ExitCode.USAGE)
    cli("set", "busy", "--mem", "64M", code=ExitCode.USAGE)
    assert cli.guest("busy")["cpu_max"] == 0.4


def test_a_quota_beyond_the_board_is_refused_before_anything_is_sent(
    cli: Cli, tmp_path: Path
) -> None:
    path = program(tmp_path, "greedy", TICKER)
    cli("run", path, "--mem", "512M", code=ExitCode.USAGE)
    assert "above this board's heap" in cli.err
    assert cli.data("ps") == []


def test_logs_follow_a_guest_line_by_line(cli: Cli, tmp_path: Path) -> None:
    cli("run", "--detach", program(tmp_path, "ticker", TICKER))
    with start("logs", "-f", "ticker") as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(30)]
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    first = int(lines[0].split()[1])
    assert lines == [f"tick {number}\n" for number in range(first, first + 30)]


def test_a_recording_holds_every_slice_and_goes_on_after_the_board_was_gone(
    cli: Cli, tmp_path: Path
) -> None:
    cli("deploy", _ticker_folder(tmp_path))
    file = tmp_path / "long.ghr"
    with start("record", "--trace", "-o", file) as process:
        assert process.stderr is not None
        assert "recording sim" in process.stderr.readline()
        deadline = time.monotonic() + 60
        while file.stat().st_size < 20_000:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert sim.stop("sim")
        assert main(["sim"]) == 0
        size = file.stat().st_size
        while file.stat().st_size < size + 20_000:  # also the new boot's slices
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "records in" in err
    meta, chunks = read_recording(file)
    assert meta["port"] == "sim"
    tracker, boots, traced = Tracker(), set(), set()
    for chunk in chunks:
        tracker.feed_bytes(chunk.data, chunk.monotonic_ns)
        if tracker.model.boot_id is not None:
            boots.add(tracker.model.boot_id)
            if tracker.model.trace:  # the end of the recording may already be without
                traced.add(tracker.model.boot_id)
    assert len(boots) == 2
    assert traced == boots
    report = cli.data("analyze", file)
    for boot in report["boots"]:
        (guest,) = boot["guests"]
        assert (guest["name"], guest["slices"]["source"]) == ("ticker.0", "trace")
        assert 0 < guest["slices"]["p50_us"] <= guest["slices"]["max_us"]
    cli.until("ticker", lambda guest: guest["slices"] > 3)  # it is there after the new start


def test_a_second_command_names_the_first(cli: Cli) -> None:
    with start("logs", "-f") as process:
        board = sim.require("sim")
        deadline = time.monotonic() + 30
        while (holder := find_holder(board.path)) is None or holder.pid != process.pid:
            assert time.monotonic() < deadline
        cli("ps", code=ExitCode.BUSY)
        assert f"(process {process.pid})" in cli.err
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == ExitCode.INTERRUPTED


def _ticker_folder(folder: Path) -> Path:
    guest = folder / "ticker"
    guest.mkdir()
    (guest / "main.py").write_text(TICKER.replace("sleep_ms(50)", "sleep_ms(1)"))
    (guest / "guest.toml").write_text('name = "ticker"\n')
    return guest
