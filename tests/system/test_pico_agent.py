"""The agent on an emulated Pico, met as its users meet it: by the command's verbs, on one boot.

The tests follow each other on one board, whose guests sleep most of the time: emulated code that
is busy takes some twenty-five times as long as on a Pico.
"""

from __future__ import annotations

import json
import os
import platform
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from guesthouse.board import picosim, processes
from guesthouse.board.firmware import Firmware
from guesthouse.cli.connect import sim_candidates
from guesthouse.cli.main import main
from guesthouse.core.errors import ExitCode
from guesthouse.demo.folders import NAMES
from guesthouse.guests.image import load_image
from guesthouse.install.filesystem import flash_image
from guesthouse.install.guests import files_of
from guesthouse.install.package import build_package
from guesthouse.install.target import target_of_family
from guesthouse.link import ports
from guesthouse.link.client import Client
from guesthouse.link.serial import open_serial
from tests.support.agent_pico import region_of

pytestmark = pytest.mark.skipif(platform.system() != "Linux", reason="these boards need Linux")

PATIENCE_S = 300

WORKER = """\
import asyncio
from house import guest
async def main():
    print("at work")
    for count in range(1000000):
        guest.publish("count", count)
        await asyncio.sleep_ms(50)
"""

HANGS = """\
import asyncio
def wait():
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass
async def main():
    await asyncio.sleep_ms(200)
    print("it hangs")
    wait()
"""

LONG = """\
import asyncio
def work(n):
    x = 1
    for i in range(n):
        x = (x * 31 + i) % 30011
    return x
async def main():
    await asyncio.sleep_ms(200)
    print(work(10000))
"""

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def state(firmware: Firmware, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The board pico-sim, of this module only, with the agent and the guest worker."""
    folder = tmp_path_factory.mktemp("pico")
    (folder / "worker").mkdir()
    (folder / "worker" / "main.py").write_text(WORKER)
    (folder / "hangs.py").write_text(HANGS)
    (folder / "long.py").write_text(LONG)
    target = target_of_family(firmware.family)
    assert target is not None
    files = [*build_package(target).everything(), *files_of([load_image(folder / "worker")])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        patch.setenv("GUESTHOUSE_PORT", "pico-sim")
        flash = processes.folder_of("pico-sim", picosim.NAME) / "root" / picosim.FLASH_FILE
        flash.parent.mkdir(parents=True)
        flash.write_bytes(flash_image(firmware, files, picosim.FLASH_SIZE))
        picosim.start(firmware=firmware)
        try:
            # To boot may take a minute, and that is not what is asked here.
            spec = ports.resolve("pico-sim", sims=sim_candidates())
            with Client(open_serial(spec)) as client:
                client.wait_for_agent(PATIENCE_S / client.patience)
            yield folder
        finally:
            picosim.stop()


@pytest.fixture
def ask(state: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    """A verb, and the JSON that it prints."""

    def run(*words: str) -> Any:
        code = main([*words, "--json"])
        said = capsys.readouterr()
        assert code == ExitCode.OK, said.err
        return json.loads(said.out)

    return run


def by_name(guests: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {guest["name"]: guest for guest in guests}


@pytest.mark.soak
def test_the_board_says_what_it_is_and_which_mechanisms_work(ask: Ask) -> None:
    seen = ask("doctor")
    assert seen["mechanisms"]
    assert all(one["ok"] for one in seen["mechanisms"].values()), seen["mechanisms"]
    assert seen["agent"]


def test_what_main_py_starts_is_executed_in_place(state: Path) -> None:
    """Started from ``main.py`` the agent has less room to move than from the REPL."""
    flash = picosim.require().root / picosim.FLASH_FILE
    assert region_of(flash.read_bytes()).strip(b"\xff")


def test_a_guest_that_hangs_is_named_with_its_line_and_the_others_go_on(
    ask: Ask, state: Path
) -> None:
    before = by_name(ask("top")["guests"])["worker.0"]
    assert ask("run", "--detach", str(state / "hangs.py"))
    end = time.monotonic() + PATIENCE_S
    while (guests := by_name(ask("ps")))["hangs.0"]["state"] != "killed":
        assert time.monotonic() < end, guests
    told = ask("why", "hangs")
    assert told["reason"] == "overrun"
    assert re.match(r"hangs/main.py:[3-8] in wait < hangs/main.py:12 in main$", told["where"])
    assert ask("logs", "hangs")["lines"] == ["it hangs"]
    after = by_name(ask("top")["guests"])["worker.0"]
    assert after["state"] in ("waiting", "ready", "running")
    assert after["slices"] > before["slices"] + 4
    assert after["restarts"] == before["restarts"] == 0


def test_a_long_computation_is_suspended_and_the_others_go_on(ask: Ask, state: Path) -> None:
    """A tenth of a second in one go, twenty of its slices."""
    assert ask("run", "--detach", str(state / "long.py"), "--on-overrun", "suspend")
    end = time.monotonic() + PATIENCE_S
    while (guests := by_name(ask("ps")))["long.0"]["state"] != "exited":
        assert time.monotonic() < end, guests
    x = 1
    for i in range(10_000):
        x = (x * 31 + i) % 30011
    assert ask("logs", "long")["lines"] == [str(x)]
    long = by_name(ask("ps"))["long.0"]
    assert (long["kills"], long["overruns"]) == (0, 1)
    assert long["slices"] > 10
    # each part was ended by its own deadline, of 5 ms
    assert long["longest_slice_us"] < 60_000
    assert by_name(ask("ps"))["worker.0"]["kills"] == 0
    assert ask("rm", "long") == [{"image": "long"}]


def test_quotas_and_states_change_as_they_are_told_to(ask: Ask) -> None:
    assert ask("set", "worker", "--cpu", "30%")["cpu_max"] == 0.3
    for verb, state in (("stop", "stopped"), ("start", ""), ("kill", "killed"), ("restart", "")):
        (done,) = ask(verb, "worker")
        assert done["state"] == state or (not state and done["state"] not in ("stopped", "killed"))
    assert ask("rm", "hangs") == [{"image": "hangs"}]


def test_a_recording_tells_the_boards_own_seconds(ask: Ask, state: Path) -> None:
    file = state / "pico.ghr"
    done = ask("record", str(file), "--seconds", "2")
    assert done["missed"] == 0
    assert done["seconds"] >= 2
    told = ask("analyze", str(file))
    assert "worker.0" in json.dumps(told)


def test_the_monitor_shows_it_until_q(state: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "guesthouse.cli.main", "monitor"],
        env={**os.environ, "TERM": "xterm-256color"},
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    os.close(theirs)
    shown, asked = b"", False
    end = time.monotonic() + PATIENCE_S
    try:
        while time.monotonic() < end:
            if select.select([ours], [], [], 0.1)[0]:
                try:
                    shown += os.read(ours, 65536)
                except OSError:
                    break  # it has closed the terminal
            if not asked and b"worker" in shown:
                asked = True
                os.write(ours, b"q")
        assert process.wait(PATIENCE_S) == 0, shown[-2000:]
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert asked


@pytest.mark.soak
def test_the_demo_runs_for_its_seconds_and_takes_its_guests_away(ask: Ask) -> None:
    assert ask("rm", "worker")
    told = ask("demo", "--headless", "--seconds", "3")
    assert told["elapsed_us"] >= 3_000_000
    assert told["host_elapsed_us"] > told["elapsed_us"]
    guests = by_name(told["guests"])
    assert set(guests) == {f"{name}.0" for name in NAMES}
    assert guests["spin_hog.0"]["kills"] >= 1
    assert "spin_hog/main.py" in guests["spin_hog.0"]["last_where"]
    assert guests["control.0"]["releases"] > 100
    assert guests["logger.0"]["overruns"] == 0
    assert ask("ps") == []
