"""The agent on an emulated Pico, met as its users meet it: by the command's verbs, on one boot.

The tests follow each other on one board, whose guests sleep most of the time: emulated code that
is busy takes some twenty-five times as long as on a Pico.
"""

from __future__ import annotations

import contextlib
import io
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from guesthouse.board import picosim, processes
from guesthouse.board.firmware import Firmware, read_firmware
from guesthouse.cli.connect import sim_candidates
from guesthouse.cli.main import main
from guesthouse.core.errors import ExitCode
from guesthouse.demo.folders import NAMES
from guesthouse.install.filesystem import find_place
from guesthouse.link import ports
from guesthouse.link.client import Client
from guesthouse.link.serial import open_serial
from tests.support.agent_pico import region_of
from tests.support.flashes import agent_files
from tests.support.guests import SPIN, WORK, worked
from tests.support.pico import run

pytestmark = pytest.mark.skipif(platform.system() != "Linux", reason="these boards need Linux")

PATIENCE_S = 300

KERNEL = "lib/house/kernel.mpy"

WORKER = """\
import asyncio
from house import guest
async def main():
    print("at work")
    for count in range(1000000):
        guest.publish("count", count)
        await asyncio.sleep_ms(50)
"""

HANGS = SPIN + """\
import asyncio
async def main():
    await asyncio.sleep_ms(200)
    print("it hangs")
    spin()
"""

LONG = WORK + """\
import asyncio
async def main():
    await asyncio.sleep_ms(200)
    print(work(10000))
"""

# Lines 6 and 7 allocate, all in one slice.
TAKES = """\
import asyncio
async def main():
    await asyncio.sleep_ms(200)
    kept = []
    while True:
        kept.append(
            bytearray(500))
"""

WASTES = """\
import asyncio
async def main():
    await asyncio.sleep_ms(200)
    for i in range(600):
        bytearray(200)
    print("it is through")
"""

Ask = Callable[..., Any]


def spoken(*words: str) -> Any:
    """What a verb prints as JSON."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main([*words, "--json"]) == ExitCode.OK
    return json.loads(out.getvalue())


@pytest.fixture(scope="module")
def one_image(firmware: Firmware, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image for drag and drop, with the agent and the guest worker."""
    folder = tmp_path_factory.mktemp("pico")
    (folder / "worker").mkdir()
    (folder / "worker" / "main.py").write_text(WORKER)
    out = folder / "all.uf2"
    words = ["--uf2", str(out), "--guest", str(folder / "worker")]
    assert spoken("flash", *words, "--firmware", str(firmware.path))["guests"] == ["worker"]
    return out


@pytest.fixture(scope="module")
def damaged(firmware: Firmware, one_image: Path) -> Iterator[Path]:
    """The board pico-sim, of this module only, with that image; a bit of it is wrong."""
    folder = one_image.parent
    flash = read_firmware(one_image, "named").image().flash(picosim.FLASH_SIZE)
    (kernel,) = (file.data for file in agent_files(firmware) if file.path == KERNEL)
    assert flash.count(kernel[-250:-150]) == 1
    flash[flash.index(kernel[-250:-150])] ^= 0x10
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        patch.setenv("GUESTHOUSE_PORT", "pico-sim")
        file = processes.folder_of("pico-sim", picosim.NAME) / "root" / picosim.FLASH_FILE
        file.parent.mkdir(parents=True)
        file.write_bytes(flash)
        picosim.start(firmware=firmware)
        try:
            yield folder
        finally:
            picosim.stop()


@dataclass(frozen=True)
class State:
    """A folder, and what ``flash`` said that has mended the board."""

    folder: Path
    mended: dict[str, Any]


@pytest.fixture(scope="module")
def state(damaged: Path) -> State:
    """The same board with its agent whole, which runs."""
    (damaged / "hangs.py").write_text(HANGS)
    (damaged / "long.py").write_text(LONG)
    mended = spoken("flash")
    # To boot may take a minute, and that is not what is asked here.
    spec = ports.resolve("pico-sim", sims=sim_candidates())
    with Client(open_serial(spec)) as client:
        client.wait_for_agent(PATIENCE_S / client.patience)
    return State(damaged, mended)


@pytest.fixture
def ask(state: State, capsys: pytest.CaptureFixture[str]) -> Ask:
    """A verb, and the JSON that it prints."""

    def run(*words: str) -> Any:
        code = main([*words, "--json"])
        said = capsys.readouterr()
        assert code == ExitCode.OK, said.err
        return json.loads(said.out)

    return run


def by_name(guests: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {guest["name"]: guest for guest in guests}


def test_one_image_for_drag_and_drop_is_firmware_and_file_system(
    firmware: Firmware, one_image: Path
) -> None:
    made = read_firmware(one_image, "named")
    assert made.version == firmware.version
    assert find_place(made) == find_place(firmware)


def test_a_damaged_agent_leaves_the_repl_and_says_so(
    damaged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--json"]) == ExitCode.NO_BOARD
    seen = json.loads(capsys.readouterr().out)
    assert seen["found"] == "damaged-agent"
    assert "kernel.mpy is damaged" in seen["findings"][0]["what"]
    assert run(picosim.require().path, "print(6 * 7)") == "42"


def test_it_is_mended_by_one_file(firmware: Firmware, state: State) -> None:
    assert state.mended["sent"] == [KERNEL]
    assert state.mended["unchanged"] == len(agent_files(firmware)) - 2  # and the manifest


@pytest.mark.soak
def test_the_board_says_what_it_is_and_which_mechanisms_work(ask: Ask) -> None:
    seen = ask("doctor")
    assert {"preemption", "file-calls", "frame-table", "in-place"} <= set(seen["mechanisms"])
    assert all(one["ok"] for one in seen["mechanisms"].values()), seen["mechanisms"]
    assert seen["agent"]


def test_what_main_py_starts_is_executed_in_place(state: State) -> None:
    """Started from ``main.py`` the agent has less room to move than from the REPL."""
    flash = picosim.require().root / picosim.FLASH_FILE
    assert region_of(flash.read_bytes()).strip(b"\xff")


def test_a_guest_that_hangs_is_named_with_its_line_and_the_others_go_on(
    ask: Ask, state: State
) -> None:
    before = by_name(ask("top")["guests"])["worker.0"]
    assert ask("run", "--detach", str(state.folder / "hangs.py"))
    end = time.monotonic() + PATIENCE_S
    while (guests := by_name(ask("ps")))["hangs.0"]["state"] != "killed":
        assert time.monotonic() < end, guests
    told = ask("why", "hangs")
    assert told["reason"] == "overrun"
    assert re.match(r"hangs/main.py:[1-7] in spin < hangs/main.py:12 in main$", told["where"])
    assert ask("logs", "hangs")["lines"] == ["it hangs"]
    after = by_name(ask("top")["guests"])["worker.0"]
    assert after["state"] in ("waiting", "ready", "running")
    assert after["slices"] > before["slices"] + 4
    assert after["restarts"] == before["restarts"] == 0


def test_a_long_computation_is_suspended_and_the_others_go_on(ask: Ask, state: State) -> None:
    """A tenth of a second in one go, twenty of its slices."""
    assert ask("run", "--detach", str(state.folder / "long.py"), "--on-overrun", "suspend")
    end = time.monotonic() + PATIENCE_S
    while (guests := by_name(ask("ps")))["long.0"]["state"] != "exited":
        assert time.monotonic() < end, guests
    assert ask("logs", "long")["lines"] == [str(worked(10_000))]
    long = by_name(ask("ps"))["long.0"]
    assert (long["kills"], long["overruns"]) == (0, 1)
    assert long["slices"] > 10
    # each part was ended by its own deadline, of 5 ms
    assert long["longest_slice_us"] < 60_000
    assert by_name(ask("ps"))["worker.0"]["kills"] == 0
    assert ask("rm", "long") == [{"image": "long"}]


def test_memory_is_held_inside_a_slice(ask: Ask, state: State) -> None:
    """One slice takes all that it can get; another makes fifteen times its limit of garbage."""
    (state.folder / "takes.py").write_text(TAKES)
    (state.folder / "wastes.py").write_text(WASTES)
    for name, end_of in (("takes", "killed"), ("wastes", "exited")):
        quotas = ("--mem", "8k", "--period", "1s", "--slice", "500ms")
        assert ask("run", "--detach", str(state.folder / f"{name}.py"), *quotas)
        end = time.monotonic() + PATIENCE_S
        found: dict[str, Any] = {}
        while found.get("state") not in ("killed", "exited"):
            assert time.monotonic() < end, found
            found = by_name(ask("ps")).get(f"{name}.0", {})  # its name may be on its way
        assert found["state"] == end_of, ask("why", name)
    told = ask("why", "takes")
    assert told["reason"] == "oom"
    assert re.match(r"takes/main.py:[5-7] in main$", told["where"]), told
    assert ask("inspect", "takes")["peak"] < (8 + 24 + 2) * 1024
    wasted = ask("inspect", "wastes")
    assert wasted["collections"] > 3
    assert ask("rm", "takes") == [{"image": "takes"}]
    assert ask("rm", "wastes") == [{"image": "wastes"}]


def test_quotas_and_states_change_as_they_are_told_to(ask: Ask) -> None:
    assert ask("set", "worker", "--cpu", "30%")["cpu_max"] == 0.3
    for verb, state in (("stop", "stopped"), ("start", ""), ("kill", "killed"), ("restart", "")):
        (done,) = ask(verb, "worker")
        assert done["state"] == state or (not state and done["state"] not in ("stopped", "killed"))
    assert ask("rm", "hangs") == [{"image": "hangs"}]


def test_a_recording_tells_the_boards_own_seconds(ask: Ask, state: State) -> None:
    file = state.folder / "pico.ghr"
    done = ask("record", str(file), "--seconds", "2")
    assert done["missed"] == 0
    assert done["seconds"] >= 2
    told = ask("analyze", str(file))
    assert "worker.0" in json.dumps(told)


def test_the_monitor_shows_it_until_q(state: State) -> None:
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
