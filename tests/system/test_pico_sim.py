"""The emulated Pico: what its users rely on, with real firmware, mpremote and pyserial.

Emulated code is some thirty times slower than a Pico, so what is run there is short, and most
tests share one board.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import serial

from guesthouse.board import picosim, uf2
from guesthouse.board.firmware import Firmware, Progress, read_firmware
from guesthouse.cli import connect
from guesthouse.cli.main import main
from guesthouse.core.errors import ExitCode, GuesthouseError
from guesthouse.link import ports
from tests.support.pico import PATIENCE_S, repl, run, run_and_lose

pytestmark = pytest.mark.skipif(platform.system() != "Linux", reason="these boards need Linux")

MPREMOTE = Path(sys.executable).with_name("mpremote")
SCRATCH0 = 0x4005800C  # of the watchdog
CONTROL = 0x40058000
TRIGGER = 1 << 31


@pytest.fixture
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A board pico-sim of this test only, and none left behind."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield tmp_path / "state"
    picosim.stop()


@pytest.fixture(scope="module")
def board(firmware: Firmware) -> Iterator[picosim.SimBoard]:
    """One board for the tests that leave it running; its files are whatever they left."""
    with picosim.private_board(firmware=firmware) as started:
        yield started


def mpremote(board: picosim.SimBoard, *words: str) -> str:
    done = subprocess.run(
        [str(MPREMOTE), "connect", board.path, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def running(pid: int) -> list[int]:
    """The process and its children."""
    found = [pid]
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            text = stat.read_text()
            if int(text[text.rindex(")") + 2 :].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


def gone(pid: int) -> bool:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return text[text.rindex(")") + 2] == "Z"


def test_it_boots_the_firmware_to_its_repl(firmware: Firmware, board: picosim.SimBoard) -> None:
    assert board.status == "running"
    assert board.version == firmware.version
    said = run(board.path, "import sys; print(sys.platform, sys.version, sys.implementation[2])")
    assert said.startswith("rp2 ")
    assert f"MicroPython v{firmware.version}" in said
    assert said.endswith(firmware.machine)


def test_what_was_said_at_boot_waits_for_whoever_opens_the_port(firmware: Firmware) -> None:
    with (
        picosim.private_board(firmware=firmware) as fresh,
        serial.Serial(fresh.path, timeout=PATIENCE_S, exclusive=True) as port,
    ):
        said = port.read_until(b">>> ")
        assert b"MicroPython v" in said
        assert said.endswith(b">>> ")
        port.write(b"6*7\r")
        assert port.read_until(b">>> ") == b"6*7\r\n42\r\n>>> "


def test_every_byte_value_survives_both_ways(board: picosim.SimBoard) -> None:
    with repl(board.path) as transport:
        sent = bytes(value for value in range(256) if value != 3)  # 3 stops the program
        transport.exec_raw_no_follow(
            "import sys, micropython\n"
            f"data = sys.stdin.buffer.read({len(sent)})\n"
            "sys.stdout.buffer.write(b'!' + data + bytes(range(4)) + bytes(range(5, 256)))\n"
        )
        time.sleep(0.5)  # the program must be reading: its input is not queued before
        transport.serial.write(sent)
        expected = b"!" + sent + bytes(value for value in range(256) if value != 4)
        said = b""
        end = time.monotonic() + PATIENCE_S
        while len(said) < len(expected):
            assert time.monotonic() < end, said
            said += transport.serial.read(transport.serial.in_waiting or 1)
        assert said[: len(expected)] == expected


def test_mpremote_copies_files_and_runs_statements(board: picosim.SimBoard, tmp_path: Path) -> None:
    here, back = tmp_path / "here.txt", tmp_path / "back.txt"
    here.write_text("kept as it is\n" * 40)
    mpremote(board, "fs", "cp", str(here), ":there.txt")
    mpremote(board, "fs", "cp", ":there.txt", str(back))
    assert back.read_bytes() == here.read_bytes()
    assert mpremote(board, "exec", "print(6 * 7)") == "42\n"
    assert mpremote(board, "resume", "exec", "x = 1").strip() == ""


def test_a_reset_starts_the_firmware_again_and_keeps_the_port(board: picosim.SimBoard) -> None:
    run(board.path, "lost = 1")
    assert run(board.path, "print('lost' in globals())") == "True"
    mpremote(board, "reset")
    assert run(board.path, "print('lost' in globals())") == "False"
    now = picosim.refresh(board)
    assert now is not None
    assert (now.path, now.restarts) == (board.path, 0)


@pytest.mark.parametrize(
    ("word", "statement"),
    [
        (0x2B110007, f"machine.mem32[{CONTROL}] = {TRIGGER}"),
        (0x2B110008, "machine.WDT(timeout=100)\nwhile True: pass"),
    ],
    ids=["told", "starved"],
)
def test_a_watchdog_reset_keeps_scratch_registers_and_says_so(
    board: picosim.SimBoard, word: int, statement: str
) -> None:
    run_and_lose(board.path, f"import machine\nmachine.mem32[{SCRATCH0}] = {word}\n{statement}")
    look = f"import machine; print(machine.reset_cause(), machine.mem32[{SCRATCH0}])"
    assert run(board.path, look) == f"3 {word}"
    # The watchdog itself does not go on after the reset that it made.
    assert run(board.path, "import time; time.sleep_ms(300); print('here')") == "here"


def test_emulated_time_follows_the_clock_on_the_wall_while_the_board_sleeps(
    board: picosim.SimBoard,
) -> None:
    sleep = (
        "import time\nt = time.ticks_us()\ntime.sleep_ms(1000)\n"
        "print(time.ticks_diff(time.ticks_us(), t))"
    )
    began = time.monotonic()
    emulated_us = int(run(board.path, sleep))
    wall_s = time.monotonic() - began
    assert 990_000 < emulated_us < 1_100_000  # what time.sleep_ms promises, and what it does
    assert wall_s > 0.9  # it did not run ahead


def test_an_idle_port_takes_nothing_of_the_boards_time(board: picosim.SimBoard) -> None:
    """The same work in the same number of emulated microseconds, host there or not.

    An endpoint that answers at once, as the emulator has it, makes it three times as long.
    """
    work = (
        "import time\n"
        "def spin(n):\n for i in range(n): pass\n"
        "t = time.ticks_us()\nspin(2000)\nprint(time.ticks_diff(time.ticks_us(), t))"
    )
    took = sorted(int(run(board.path, work)) for _ in range(3))
    # 2000 rounds of two bytecodes are 8 to 9 ms at 125 MHz.
    assert 4000 < took[0] <= took[-1] < 16000
    assert took[-1] - took[0] < took[0] / 4


def test_dma_reaches_the_bus(board: picosim.SimBoard) -> None:
    source = (
        "import rp2\n"
        "source, target = bytearray(range(64)), bytearray(64)\n"
        "dma = rp2.DMA()\n"
        "for size in range(3):\n"
        "    begin, n = 16 * size, 16 >> size\n"
        "    dma.config(read=memoryview(source)[begin:], write=memoryview(target)[begin:], count=n,"
        " ctrl=dma.pack_ctrl(size=size), trigger=True)\n"
        "    while dma.active():\n"
        "        pass\n"
        "print(target[:48] == source[:48], target[48:] == bytes(16))"
    )
    assert run(board.path, source) == "True True"


def test_flash_takes_the_time_that_flash_takes(board: picosim.SimBoard) -> None:
    erase = (
        "import rp2, time\n"
        "flash = rp2.Flash()\n"
        "last = flash.ioctl(4, 0) - 1\n"
        "t = time.ticks_us()\nflash.ioctl(6, last)\nprint(time.ticks_diff(time.ticks_us(), t))"
    )
    assert 20_000 < int(run(board.path, erase)) < 400_000


def test_a_host_that_does_not_read_stops_no_board(board: picosim.SimBoard) -> None:
    with repl(board.path) as transport:
        transport.exec_raw_no_follow(
            "import sys, time\n"
            "written = stalls = 0\n"
            "while stalls < 3 and written < 500000:\n"
            " t = time.ticks_ms()\n"
            " written += sys.stdout.buffer.write(b'x' * 250)\n"
            " stalls += time.ticks_diff(time.ticks_ms(), t) > 300\n"
            "f = open('stalls', 'w')\nf.write(str(stalls))\nf.close()\n"
        )
        # The firmware gives up half a second after the line is full, and goes on.
        time.sleep(6)
    look = "import os; print('stalls' in os.listdir() and open('stalls').read())"
    until(lambda: run(board.path, look) == "3")


def test_flash_survives_a_stop_and_a_killed_emulator(firmware: Firmware, state_home: Path) -> None:
    board = picosim.start(firmware=firmware)
    run(board.path, "f = open('kept', 'w'); f.write('one'); f.close()")
    assert picosim.stop()
    board = picosim.start(firmware=firmware)
    assert run(board.path, "print(open('kept').read())") == "one"
    run(board.path, "f = open('kept', 'w'); f.write('two'); f.close()")
    emulator = next(pid for pid in running(board.pid) if pid != board.pid)
    os.kill(emulator, signal.SIGKILL)
    until(lambda: (now := picosim.find()) and now.restarts == 1 and now.status == "running")
    assert run(board.path, "print(open('kept').read())") == "two"
    # and another board starts blank
    picosim.stop()
    board = picosim.start(firmware=firmware, fresh=True)
    assert run(board.path, "import os; print(os.listdir())") == "[]"


def another(firmware: Firmware, folder: Path) -> Firmware:
    """The same firmware as another version, as long: what differs is seen in sys.version."""
    (segment, *_) = firmware.image().segments
    data = segment.data.replace(b"MicroPython v", b"MicroPython v7", 1)
    other = folder / "other.uf2"
    other.write_bytes(
        uf2.pack([uf2.Segment(segment.address, data[: len(segment.data)])], uf2.RP2040)
    )
    named = read_firmware(other, "named")
    assert named.version.startswith("7")
    return named


def test_other_firmware_is_written_over_the_old_one_and_files_stay(
    firmware: Firmware, state_home: Path, tmp_path: Path
) -> None:
    board = picosim.start(firmware=firmware)
    run(board.path, "f = open('kept', 'w'); f.write('one'); f.close()")
    picosim.stop()
    named = another(firmware, tmp_path)
    segment = firmware.image().segments[0]
    flash = board.root / picosim.FLASH_FILE
    before = flash.read_bytes()
    picosim._write_firmware(flash.parent.parent, named.image(), False)
    after = flash.read_bytes()
    assert after[: len(segment.data)] == named.image().segments[0].data
    assert after[len(segment.data) :] == before[len(segment.data) :]


def test_there_is_one_board_and_stop_ends_all_of_its_processes(
    firmware: Firmware, state_home: Path
) -> None:
    assert picosim.find() is None
    with pytest.raises(GuesthouseError, match="not running") as missing:
        picosim.require()
    assert missing.value.code == ExitCode.NO_BOARD
    board = picosim.start(firmware=firmware)
    assert board.port == "pico-sim"
    assert picosim.require() == board
    with pytest.raises(GuesthouseError, match="running already") as caught:
        picosim.start(firmware=firmware, fresh=True)
    assert caught.value.code == ExitCode.BUSY
    processes = running(board.pid)
    assert len(processes) == 2
    assert picosim.stop()
    assert all(gone(pid) for pid in processes)
    assert picosim.find() is None
    assert not picosim.stop()


def test_a_private_board_ends_when_its_process_is_killed(firmware: Firmware) -> None:
    script = (
        "import sys; from pathlib import Path; from guesthouse.board import picosim, firmware\n"
        "image = firmware.read_firmware(Path(sys.argv[1]), 'named')\n"
        "with picosim.private_board(firmware=image) as board:\n"
        "    print(board.pid, board.root, flush=True)\n"
        "    sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(firmware.path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        pid, root = process.stdout.readline().split()
        processes = running(int(pid))
        assert len(processes) == 2
        process.kill()
    until(lambda: all(gone(each) for each in processes))
    until(lambda: not Path(root).parent.exists())


@pytest.mark.parametrize("cut_at", [2, 5])
def test_power_that_is_cut_in_a_write_leaves_a_board_that_boots(
    firmware: Firmware, board: picosim.SimBoard, cut_at: int
) -> None:
    flash = (board.root / picosim.FLASH_FILE).read_bytes()
    with picosim.private_board(firmware=firmware, flash=flash, cut_at=cut_at) as victim:
        run_and_lose(victim.path, "f = open('cut', 'w')\nf.write('x' * 3000)\nf.close()\n")
        until(lambda: (now := picosim.refresh(victim)) and now.restarts == 1)
        until(lambda: (now := picosim.refresh(victim)) and now.status == "running")
        now = picosim.refresh(victim)
        assert now is not None
        assert now.last_end == "exit status 75"
        assert f"the power was cut at write {cut_at}" in victim.log.read_text()
        # The old state of the file system or the new one, whole.
        assert run(victim.path, "import os; print('there.txt' in os.listdir())") == "True"


def test_firmware_for_another_chip_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "pico2.uf2"
    content = b"MicroPython v1.28.0 on 2026-04-06\0; Raspberry Pi Pico2 with RP2350\0"
    file.write_bytes(uf2.pack([uf2.Segment(uf2.FLASH_BASE, content)], uf2.RP2350_ARM_S))
    with (
        pytest.raises(GuesthouseError, match="is for the RP2350, and the emulator is an RP2040"),
        picosim.private_board(firmware=read_firmware(file, "named")),
    ):
        pass


class Cli:
    """Runs command lines in this process, and keeps what they said on stderr."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.err = ""

    def __call__(self, *words: str, code: int = 0) -> str:
        self._capsys.readouterr()
        ended = main(words)
        out, self.err = self._capsys.readouterr()
        assert ended == code, self.err
        return out

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self(*words, "--json", code=code))


@pytest.fixture
def cli(
    state_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Cli:
    monkeypatch.delenv("GUESTHOUSE_PORT", raising=False)
    return Cli(capsys)


def test_commands_start_find_and_stop_the_board_by_its_port_name(
    firmware: Firmware, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uf2_file = str(firmware.path)
    # Stock firmware is at its prompt, which doctor says: started, heard, understood.
    seen = cli.json("-p", "pico-sim", "doctor", "--firmware", uf2_file, code=ExitCode.NO_BOARD)
    assert (seen["port"], seen["found"]) == ("pico-sim", "repl")
    assert f"pico-sim runs MicroPython {firmware.version}" in cli.err
    board = picosim.require()

    (listed,) = [one for one in cli.json("devs") if one["kind"] == "pico-sim"]
    assert (listed["port"], listed["path"]) == ("pico-sim", board.path)
    assert [one["pid"] for one in cli.json("sim", "--list")] == [board.pid]

    # It runs already: found, not started. It has said its banner, so its USB ids have to tell.
    monkeypatch.setitem(ports._PATIENCE, ports.PICO_SIM, 0.1)
    cli("-p", "pico-sim", "ps", "--firmware", uf2_file, code=ExitCode.NO_BOARD)
    assert "no agent answers on pico-sim; by its USB ids it runs MicroPython" in cli.err
    assert picosim.require() == board
    cli("-p", "pico-sim:fresh", "ps", code=ExitCode.BUSY)
    assert "guesthouse sim --stop pico-sim" in cli.err
    other = str(another(firmware, tmp_path).path)
    cli("-p", "pico-sim", "ps", "--firmware", other, code=ExitCode.BUSY)
    assert "runs already, with other firmware" in cli.err

    run(board.path, "f = open('kept', 'w'); f.close()")
    cli("sim", "--stop", "pico-sim")
    assert cli.json("sim", "--list") == []
    cli("sim", "--stop", "pico-sim", code=ExitCode.NO_BOARD)
    # A command that asks for its port twice, as record does, starts it once.
    monkeypatch.setenv("GUESTHOUSE_FIRMWARE", uf2_file)
    monkeypatch.chdir(tmp_path)
    cli("-p", "pico-sim:fresh", "record", code=ExitCode.NO_BOARD)
    assert "no agent answers on pico-sim" in cli.err
    assert run(picosim.require().path, "import os; print(os.listdir())") == "[]"


def test_a_board_that_was_stopped_is_not_started_by_who_watched_it(state_home: Path) -> None:
    with pytest.raises(GuesthouseError, match="not running") as caught:
        connect._open_again(ports.PortSpec("/dev/pts/7", "pico-sim", "pico-sim"))
    assert caught.value.code == ExitCode.NO_BOARD
    assert picosim.find() is None


def test_what_keeps_the_board_from_starting_is_told(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(progress: Progress | None) -> Firmware:
        assert progress is not None
        progress("building the firmware")
        raise GuesthouseError("no room")

    monkeypatch.setattr(picosim, "find_or_build_firmware", build)
    cli("-p", "pico-sim", "ps", code=ExitCode.FAILURE)
    assert cli.err == "building the firmware\nguesthouse: no room\n"
    monkeypatch.setitem(sys.modules, "rp2040py", None)
    cli("-p", "pico-sim", "ps", code=ExitCode.FAILURE)
    assert "pip install 'guesthouse[pico]'" in cli.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sim", "lab", "--firmware", "x.uf2"], "lab is another board"),
        (["demo", "--firmware", "x.uf2"], "name it with -p pico-sim"),
        (["-p", "/dev/null", "ps", "--firmware", "x.uf2"], "/dev/null is another board"),
        (["sim", "pico-sim", "--heap", "1m"], "cannot be chosen"),
        (["-p", "pico-sim:lab", "ps"], "there is one emulated Pico"),
    ],
)
def test_options_of_another_board_are_refused(cli: Cli, words: list[str], said: str) -> None:
    cli(*words, code=ExitCode.USAGE)
    assert said in cli.err
