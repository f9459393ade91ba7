"""The Unix-port board: what its users rely on, with a real MicroPython and a real pseudo-terminal.

The agents here are stand-ins of a few lines, because these promises are the board's, not the
agent's: the line, the process that stays, and what happens when MicroPython ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import serial

from guesthouse.board import pty, sim
from guesthouse.board.micropython import MicroPython, find_or_provide
from guesthouse.core import wire
from guesthouse.core.errors import ExitCode, GuesthouseError

pytestmark = pytest.mark.skipif(platform.system() != "Linux", reason="these boards need Linux")

SUPPORT = Path(__file__).parent.parent / "support"
ECHO = SUPPORT / "echo_agent"
DEAD = SUPPORT / "dead_agent"
SHORT = SUPPORT / "short_agent"
PATIENCE_S = 30  # for things that happen, however slow the machine is


@pytest.fixture(scope="module")
def mp() -> MicroPython:
    return find_or_provide()


@pytest.fixture(autouse=True)
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Boards of this test only, and none of them left behind."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield tmp_path / "state" / "guesthouse" / "sim"
    for board in sim.list_boards():
        sim.stop(board.name)


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


@contextlib.contextmanager
def opened(board: sim.SimBoard) -> Iterator[serial.Serial]:
    """The port as every command opens it."""
    with serial.Serial(board.path, timeout=PATIENCE_S, exclusive=True) as port:
        yield port


def children(pid: int) -> list[int]:
    found = []
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


def test_every_byte_value_survives_both_ways(mp: MicroPython) -> None:
    board = sim.start(agent_dir=ECHO, micropython=mp)
    with opened(board) as port:
        sent = bytes(value for value in range(256) if value != 3) + b"\n"  # 3 stops the agent
        port.write(sent)
        assert port.read(len(sent)) == sent
        port.write(b"!all\n")
        assert port.read(5) == b"!all\n"
        assert port.read(256) == bytes(range(256))


def test_the_line_is_raw_before_anybody_opens_it(mp: MicroPython) -> None:
    # pyserial would set raw mode itself, so this opens the port without it.
    board = sim.start(agent_dir=ECHO, micropython=mp)
    port = os.open(board.path, os.O_RDWR | os.O_NOCTTY)
    try:
        iflag, oflag, _, lflag = termios.tcgetattr(port)[:4]
        assert not oflag & termios.OPOST
        assert not iflag & (termios.ICRNL | termios.INLCR | termios.IXON | termios.ISTRIP)
        assert not lflag & (termios.ECHO | termios.ICANON | termios.ISIG | termios.IEXTEN)
        assert os.read(port, 100) == b"ready power-on\n"  # not \r\n, and nothing was lost
    finally:
        os.close(port)


def test_a_board_stays_when_the_command_that_started_it_ends(mp: MicroPython) -> None:
    script = (
        "import sys; from pathlib import Path; from guesthouse.board import sim, micropython as m\n"
        "mp = m.probe(tuple(sys.argv[2:]), 'named')\n"
        "print(sim.start(agent_dir=Path(sys.argv[1]), micropython=mp).pid)"
    )
    command = [sys.executable, "-c", script, str(ECHO), *mp.argv]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    board = sim.require()
    assert board.pid == int(done.stdout)
    assert board.status == "running"
    assert sim.list_boards() == [board]
    with opened(board) as port:
        port.write(b"here?\n")
        assert port.readline() == b"here?\n"
    # A Ctrl-C or a hang-up of the terminal goes to the group or the session of the command.
    assert os.getsid(board.pid) != os.getsid(0)
    assert os.getpgid(board.pid) != os.getpgid(0)


def test_closing_and_opening_the_port_resets_nothing(mp: MicroPython) -> None:
    board = sim.start(agent_dir=ECHO, micropython=mp)
    for _ in range(3):
        with opened(board) as port:
            port.write(b"again\n")
            assert port.readline() == b"again\n"
    assert sim.require().restarts == 0


@pytest.mark.parametrize(
    ("word", "cause", "end"),
    [
        (b"!exit 0\n", b"soft", "exit status 0"),
        (b"!exit 7\n", b"fault", "exit status 7"),
        (b"!kill\n", b"watchdog", "signal SIGKILL"),
    ],
)
def test_micropython_that_ends_is_started_again_and_told_why(
    mp: MicroPython, word: bytes, cause: bytes, end: str
) -> None:
    board = sim.start(agent_dir=ECHO, micropython=mp)
    with opened(board) as port:
        port.write(word)
        assert port.readline() == word
        # The host's port stays open across the reset, as with a board on a cable.
        assert port.readline() == b"ready " + cause + b"\n"
        port.write(b"here?\n")
        assert port.readline() == b"here?\n"
    # The state is written a moment after MicroPython has been started.
    until(lambda: sim.require().status == "running")
    now = sim.require()
    assert (now.restarts, now.last_end, now.path) == (1, end, board.path)


def test_what_was_sent_before_a_reset_does_not_reach_the_next_run(mp: MicroPython) -> None:
    board = sim.start(agent_dir=ECHO, micropython=mp)
    with opened(board) as port:
        port.write(b"!exit 0\nfor the run before\n")
        assert port.readline() == b"!exit 0\n"
        assert port.readline() == b"ready soft\n"
        port.write(b"for this run\n")
        assert port.readline() == b"for this run\n"


def test_a_board_that_ends_too_often_is_given_up_and_says_so(mp: MicroPython) -> None:
    sim.start(agent_dir=SHORT, micropython=mp)
    until(lambda: (board := sim.find()) and board.status == "failed")
    board = sim.find()
    assert board is not None
    assert board.last_end == "exit status 1"
    assert not children(board.pid)
    with pytest.raises(GuesthouseError, match="this agent fails after its first words") as caught:
        sim.require()
    assert "guesthouse sim" in caught.value.hint
    assert "given up" in board.log.read_text()
    assert board.restarts >= 3  # it was given a chance
    time.sleep(0.5)
    assert sim.find() == board  # and it stays to be looked at
    # It is started anew without being stopped first.
    again = sim.start(agent_dir=ECHO, micropython=mp)
    assert again.status == "running"
    assert gone(board.pid)


def test_an_agent_that_ends_at_once_is_an_error_with_its_last_words(
    mp: MicroPython, state_home: Path
) -> None:
    with pytest.raises(GuesthouseError, match="this agent is broken") as caught:
        sim.start(agent_dir=DEAD, micropython=mp)
    assert str(state_home / "sim" / "log") in caught.value.hint
    assert sim.find() is None
    assert not (state_home / "sim" / "state.json").exists()


def test_a_board_is_started_once(mp: MicroPython) -> None:
    board = sim.start(agent_dir=ECHO, micropython=mp)
    with pytest.raises(GuesthouseError, match="running already") as caught:
        sim.start(agent_dir=ECHO, micropython=mp, fresh=True)
    assert caught.value.code == ExitCode.BUSY
    assert sim.require() == board
    other = sim.start("other", agent_dir=ECHO, micropython=mp)
    assert (board.port, other.port) == ("sim", "sim:other")
    assert [found.name for found in sim.list_boards()] == ["other", "sim"]


def test_of_two_starts_at_once_one_wins(mp: MicroPython) -> None:
    script = (
        "import sys; from pathlib import Path; from guesthouse.board import sim, micropython as m\n"
        "from guesthouse.core.errors import GuesthouseError\n"
        "mp = m.probe(tuple(sys.argv[2:]), 'named')\n"
        "try: print(sim.start(agent_dir=Path(sys.argv[1]), micropython=mp).pid)\n"
        "except GuesthouseError as error: print(error)"
    )
    command = [sys.executable, "-c", script, str(ECHO), *mp.argv]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = sorted(process.communicate()[0].strip() for process in both)
    assert said == [str(sim.require().pid), "the board sim is running already"]


def test_stop_ends_supervisor_and_micropython(mp: MicroPython) -> None:
    board = sim.start(agent_dir=ECHO, micropython=mp)
    running = children(board.pid)
    assert len(running) == 1
    assert sim.stop()
    assert gone(board.pid)
    assert all(gone(pid) for pid in running)
    assert sim.find() is None
    assert not (board.root.parent / "state.json").exists()
    assert not sim.stop()


def test_a_killed_supervisor_leaves_nothing_behind(mp: MicroPython) -> None:
    board = sim.start(agent_dir=ECHO, micropython=mp)
    running = children(board.pid)
    with opened(board) as port:
        port.write(b"!spin\n")  # it does not even notice that its line is gone
        assert port.readline() == b"!spin\n"
    os.kill(board.pid, signal.SIGKILL)
    until(lambda: all(gone(pid) for pid in running))
    assert sim.find() is None
    assert sim.start(agent_dir=ECHO, micropython=mp).pid != board.pid


def test_a_number_that_another_process_has_now_is_not_the_board(
    mp: MicroPython, state_home: Path
) -> None:
    board = sim.start(agent_dir=ECHO, micropython=mp)
    state = state_home / "sim" / "state.json"
    fields = json.loads(state.read_text())
    sim.stop()
    with subprocess.Popen(["sleep", "60"]) as stranger:
        try:
            state.write_text(json.dumps(fields | {"pid": stranger.pid}))
            assert sim.find() is None
            assert sim.list_boards() == []
            assert not sim.stop()
            assert stranger.poll() is None
        finally:
            stranger.kill()
    assert not board.alive


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 1}', '{"format": 99}', "\x00"])
def test_a_damaged_state_file_is_no_board(state_home: Path, text: str) -> None:
    (state_home / "sim").mkdir(parents=True)
    (state_home / "sim" / "state.json").write_text(text)
    assert sim.find() is None


def test_files_stay_between_starts_unless_a_blank_board_is_asked_for(mp: MicroPython) -> None:
    board = sim.start(agent_dir=ECHO, micropython=mp)
    (board.root / "kept").write_text("x")
    sim.stop()
    assert (sim.start(agent_dir=ECHO, micropython=mp).root / "kept").exists()
    sim.stop()
    assert not any(sim.start(agent_dir=ECHO, micropython=mp, fresh=True).root.iterdir())


def test_a_private_board_ends_with_its_block(mp: MicroPython) -> None:
    with sim.private_board(agent_dir=ECHO, micropython=mp) as board:
        assert sim.list_boards() == []
        assert sim.refresh(board) == board
        with opened(board) as port:
            port.write(b"here?\n")
            assert port.readline() == b"here?\n"
        running = [board.pid, *children(board.pid)]
    assert all(gone(pid) for pid in running)
    assert not board.root.parent.exists()


def test_a_private_board_ends_when_its_process_is_killed(mp: MicroPython) -> None:
    script = (
        "import sys; from pathlib import Path; from guesthouse.board import sim, micropython as m\n"
        "mp = m.probe(tuple(sys.argv[2:]), 'named')\n"
        "with sim.private_board(agent_dir=Path(sys.argv[1]), micropython=mp) as board:\n"
        "    print(board.pid, board.root, flush=True)\n"
        "    sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(ECHO), *mp.argv]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        pid, root = process.stdout.readline().split()
        running = [int(pid), *children(int(pid))]
        assert len(running) == 2
        process.kill()
    until(lambda: all(gone(each) for each in running))
    until(lambda: not Path(root).parent.exists())


def test_a_private_board_that_cannot_start_leaves_no_folder(
    mp: MicroPython, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with (
        pytest.raises(GuesthouseError, match="this agent is broken"),
        sim.private_board(agent_dir=DEAD, micropython=mp),
    ):
        pass
    assert list(tmp_path.glob("guesthouse-*")) == []


def test_a_board_in_the_foreground_can_be_waited_for(mp: MicroPython) -> None:
    board = sim.start(agent_dir=ECHO, micropython=mp, foreground=True)
    os.kill(board.pid, signal.SIGTERM)
    sim.wait()
    until(lambda: sim.find() is None)
    assert not sim.stop()


@pytest.mark.parametrize("name", ["", "A", "../x", "a b", "a/b", ".", "-x", "x" * 33])
def test_names_that_are_no_names_are_refused(name: str) -> None:
    for use in (sim.find, sim.stop, sim.require):
        with pytest.raises(GuesthouseError, match="cannot be the name") as caught:
            use(name)
        assert caught.value.code == ExitCode.USAGE


def test_a_folder_that_cannot_be_made_is_an_error_that_says_what_to_do(
    mp: MicroPython, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with pytest.raises(GuesthouseError, match="cannot be started") as caught:
        sim.start(agent_dir=ECHO, micropython=mp)
    assert "XDG_STATE_HOME" in caught.value.hint


def test_a_board_that_is_not_running_says_how_to_start_it() -> None:
    with pytest.raises(GuesthouseError, match="not running") as caught:
        sim.require("lab")
    assert caught.value.hint == "start it with: guesthouse sim lab"
    assert caught.value.code == ExitCode.NO_BOARD


@pytest.mark.parametrize(("system", "remedy"), [("Windows", "WSL"), ("Darwin", "Linux virtual")])
def test_other_systems_are_told_what_to_do_instead(
    monkeypatch: pytest.MonkeyPatch, system: str, remedy: str
) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    for use in (pty.open_raw, sim.start):
        with pytest.raises(GuesthouseError, match="needs Linux") as caught:
            use()
        assert remedy in caught.value.hint


def read_until(port: serial.Serial, wanted: bytes) -> bytes:
    received = b""
    end = time.monotonic() + PATIENCE_S
    while wanted not in received:
        assert time.monotonic() < end, f"{wanted!r} did not come: {received[-200:]!r}"
        received += port.read(port.in_waiting or 1)
    return received


def test_the_agent_sends_frames_and_leaves_at_ctrl_c(mp: MicroPython) -> None:
    board = sim.start(micropython=mp)  # the real agent
    with opened(board) as port:
        read_until(port, wire.MAGIC)
        port.write(b"\x03")
        until(lambda: sim.require().restarts == 1)
        read_until(port, wire.MAGIC)
    assert sim.require().last_end == "exit status 0"


def test_the_agents_files_are_below_the_boards_root(mp: MicroPython) -> None:
    board = sim.start(micropython=mp)
    running = children(board.pid)
    assert [Path(f"/proc/{pid}/cwd").resolve() for pid in running] == [board.root]
    command = Path(f"/proc/{running[0]}/cmdline").read_bytes().decode().split("\0")
    assert command[command.index("--root") + 1] == str(board.root)
    assert command[command.index("--name") + 1] == "sim"
