"""Unix-port boards on this machine: start, find and stop them.

A board is a process that stays (see ``board.supervisor``) and a folder with its state and its
file system. Commands use it as they use a board on a cable: by its serial port.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from guesthouse.board import micropython as mp
from guesthouse.board import pty
from guesthouse.board.simstate import (
    FAILED,
    SimBoard,
    process_identity,
    read_state,
    state_home,
)
from guesthouse.board.supervisor import SUPERVISOR_SAYS, Launch
from guesthouse.core import assets
from guesthouse.core.errors import ExitCode, GuesthouseError

__all__ = [
    "SimBoard",
    "find",
    "list_boards",
    "private_board",
    "refresh",
    "require",
    "start",
    "stop",
    "wait",
]

DEFAULT_HEAP = "4m"  # a slice of a fast machine makes 0.7 MB of garbage; docs/decisions says more

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 5.0
_LOG_MAX = 1 << 20  # bytes; a longer one is set aside at the next start
_LOG_TAIL_LINES = 12

# Supervisors that end with this process, by folder: the pipe to their stdin is their lifeline.
_ours: dict[Path, subprocess.Popen[bytes]] = {}


def start(
    name: str = "sim",
    *,
    fresh: bool = False,
    foreground: bool = False,
    agent_dir: Path | None = None,
    heap: str = DEFAULT_HEAP,
    micropython: mp.MicroPython | None = None,
    progress: mp.Progress | None = None,
) -> SimBoard:
    """Start the board ``name``; it stays when this process ends, except with ``foreground``.

    ``fresh`` deletes its file system first. ``heap`` is MicroPython's (``"1m"``). Raises
    GuesthouseError when it runs already (BUSY) or cannot start, then with the last lines of its
    log. A board that had failed is started anew.
    """
    pty.require_supported()
    folder = _folder(name)
    return _start(folder, name, fresh, foreground, False, agent_dir, heap, micropython, progress)


def find(name: str = "sim") -> SimBoard | None:
    """The running board ``name``; look at its ``status``. None when it is not running."""
    return read_state(_folder(name)) if _supported() else None


def require(name: str = "sim") -> SimBoard:
    """The board ``name`` if it can be used; GuesthouseError that says what to do if not."""
    board = find(name)
    command = "guesthouse sim" if name == "sim" else f"guesthouse sim {name}"
    if board is None:
        raise GuesthouseError(
            f"the board {name} is not running", f"start it with: {command}", ExitCode.NO_BOARD
        )
    if board.status == FAILED:
        raise GuesthouseError(
            f"the board {name} has failed: MicroPython ended too often ({board.last_end})\n"
            + _tail(board.log),
            f"its log is {board.log}; start it anew with: {command}",
            ExitCode.NO_BOARD,
        )
    return board


def refresh(board: SimBoard) -> SimBoard | None:
    """The same board as it is now, a private one too; None when it is no longer running."""
    return read_state(board.root.parent)


def list_boards() -> list[SimBoard]:
    """The boards that run on this machine for this user, by name."""
    home = state_home()
    if not _supported() or not home.is_dir():
        return []
    boards = (read_state(folder) for folder in sorted(home.iterdir()) if folder.is_dir())
    return [board for board in boards if board is not None]


def stop(name: str = "sim") -> bool:
    """End the board ``name`` and wait until it is gone; False when it was not running."""
    board = find(name)
    if board is None:
        return False
    _end(_folder(name), board)
    return True


def wait(name: str = "sim") -> None:
    """Return when the board ``name`` is no longer running."""
    board = find(name)
    if board is not None:
        with _process(board) as process:
            if process is not None:
                select.select([process], [], [])


@contextlib.contextmanager
def private_board(
    name: str = "private",
    *,
    agent_dir: Path | None = None,
    heap: str = DEFAULT_HEAP,
    micropython: mp.MicroPython | None = None,
    progress: mp.Progress | None = None,
) -> Iterator[SimBoard]:
    """A blank board of one's own that ends with the block, or with this process if it is killed."""
    pty.require_supported()
    folder = Path(tempfile.mkdtemp(prefix="guesthouse-"))
    try:
        board = _start(folder, name, True, True, True, agent_dir, heap, micropython, progress)
        try:
            yield board
        finally:
            _end(folder, board)
    finally:
        _reap(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _start(
    folder: Path,
    name: str,
    fresh: bool,
    foreground: bool,
    private: bool,
    agent_dir: Path | None,
    heap: str,
    micropython: mp.MicroPython | None,
    progress: mp.Progress | None,
) -> SimBoard:
    micropython = micropython or mp.find_or_provide(progress)
    agent = (agent_dir or assets.agent_dir()).resolve() / "main.py"
    if not agent.is_file():
        raise GuesthouseError(f"there is no agent in {agent.parent}", "it must hold main.py")
    root = folder / "root"
    log = folder / "log"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = _lock(folder, name)
        try:
            if fresh:
                shutil.rmtree(root, ignore_errors=True)
            root.mkdir(exist_ok=True)
            if log.is_file() and log.stat().st_size > _LOG_MAX:
                log.replace(folder / "log.1")
            Launch(
                name=name,
                argv=[
                    *micropython.argv,
                    *("-X", f"heapsize={heap}"),
                    str(agent),
                    *("--root", str(root)),
                    *("--name", name),
                ],
                root=str(root),
                log=str(log),
                version=micropython.version,
                lifeline=foreground,
                private=private,
            ).save(folder)
            logged = log.stat().st_size if log.is_file() else 0
            answer = _spawn(folder, log, lock, foreground)
        finally:
            os.close(lock)  # the supervisor has its own, and the lock with it
    except OSError as error:
        raise GuesthouseError(
            f"the board {name} cannot be started in {folder}: {error.strerror or error}",
            "set XDG_STATE_HOME to a folder that you may write and that has room",
        ) from error
    board = read_state(folder)
    if "error" in answer or board is None:
        reason = answer.get("error", "its supervisor ended")
        raise GuesthouseError(
            f"the board {name} did not start: {reason}\n{_tail(log, logged)}".rstrip(),
            answer.get("hint", "" if private else f"its log is {log}"),
        )
    return board


def _spawn(folder: Path, log: Path, lock: int, foreground: bool) -> dict[str, str]:
    """Start the supervisor and wait for what it says of the first start of MicroPython."""
    ready, ready_end = os.pipe()
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, ready)
        output = stack.enter_context(log.open("ab"))
        try:
            supervisor = subprocess.Popen(
                # -P: the folder we are in must not shadow the standard library.
                [
                    *(sys.executable, "-P", "-m", "guesthouse.board.supervisor"),
                    *(str(folder), str(ready_end), str(lock)),
                ],
                stdin=subprocess.PIPE if foreground else subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=folder,
                pass_fds=(ready_end, lock),
                start_new_session=True,  # a Ctrl-C at the terminal is not for the board
            )
        finally:
            os.close(ready_end)
        if foreground:
            _ours[folder] = supervisor
        else:
            supervisor.wait()  # it has forked: the board is no child of ours
        readable, _, _ = select.select([ready], [], [], _START_TIMEOUT_S)
        said = os.read(ready, 65536) if readable else b'{"error": "its supervisor does not answer"}'
    answer = dict(json.loads(said)) if said else {"error": "its supervisor ended at once"}
    if "error" in answer:
        _reap(folder)
    return answer


def _lock(folder: Path, name: str) -> int:
    """A descriptor with the board's lock; GuesthouseError when its supervisor has it."""
    import fcntl  # not on Windows, where there are no such boards

    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for _ in range(2):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            board = read_state(folder)
            if board is not None and board.status == FAILED:
                _end(folder, board)
                continue
            break
        return lock
    os.close(lock)
    port = "sim" if name == "sim" else f"sim:{name}"
    raise GuesthouseError(
        f"the board {name} is running already",
        f"use it with -p {port}, or end it with: guesthouse sim --stop {name}",
        ExitCode.BUSY,
    )


def _end(folder: Path, board: SimBoard) -> None:
    """End a board's supervisor, which ends MicroPython; by force if it does not listen."""
    with _process(board) as process:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if process is None:
                break
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(process, number)
            if select.select([process], [], [], _STOP_TIMEOUT_S)[0]:
                break
    _reap(folder)


def _reap(folder: Path) -> None:
    supervisor = _ours.pop(folder, None)
    if supervisor is not None:
        with contextlib.suppress(OSError):
            assert supervisor.stdin is not None
            supervisor.stdin.close()
        supervisor.wait()


@contextlib.contextmanager
def _process(board: SimBoard) -> Iterator[int | None]:
    """A descriptor of the board's supervisor, None when it is gone.

    A descriptor keeps naming the same process; its number might be given to another one.
    """
    try:
        process = os.pidfd_open(board.pid)
    except OSError:
        yield None
        return
    try:
        yield process if process_identity(board.pid) == board.identity else None
    finally:
        os.close(process)


def _folder(name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise GuesthouseError(
            f"{name!r} cannot be the name of a board",
            "use up to 32 small letters, digits, - and _, beginning with a letter or digit",
            ExitCode.USAGE,
        )
    return state_home() / name


def _supported() -> bool:
    return sys.platform.startswith("linux")


def _tail(log: Path, begin: int = 0) -> str:
    """MicroPython's last lines in the log from byte ``begin`` on, to be shown below a message."""
    try:
        lines = log.read_bytes()[begin:].decode(errors="replace").splitlines()
    except OSError:
        return ""
    said = [f"  {line}" for line in lines if SUPERVISOR_SAYS not in line]
    return "\n".join(said[-_LOG_TAIL_LINES:])
