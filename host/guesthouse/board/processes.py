"""Boards that are processes on this machine: what starting and stopping them has in common.

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
from collections.abc import Callable, Iterator
from pathlib import Path

from guesthouse.board.simstate import (
    FAILED,
    SimBoard,
    port_name,
    process_identity,
    read_state,
    state_home,
)
from guesthouse.board.supervisor import SUPERVISOR_SAYS, Launch
from guesthouse.core.errors import ExitCode, GuesthouseError

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_ANSWER_S = 25.0  # beyond the time that a board may take until it counts as started
_STOP_TIMEOUT_S = 5.0
_LOG_MAX = 1 << 20  # bytes; a longer one is set aside at the next start
_LOG_TAIL_LINES = 12

# Supervisors that end with this process, by folder: the pipe to their stdin is their lifeline.
_ours: dict[Path, subprocess.Popen[bytes]] = {}


def start(
    folder: Path, launch: Launch, prepare: Callable[[], None], *, stop_command: str
) -> SimBoard:
    """Start a board in ``folder`` and wait until it has started.

    ``prepare`` readies its files; the board does not run then, and nobody else starts it.
    GuesthouseError when it runs already (BUSY, naming ``stop_command``) or cannot start, then
    with the last lines of its log. A board that had failed is started anew.
    """
    name, log = launch.name, Path(launch.log)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = _lock(folder, launch, stop_command)
        try:
            prepare()
            if log.is_file() and log.stat().st_size > _LOG_MAX:
                log.replace(log.with_name(f"{log.name}.1"))
            launch.save(folder)
            logged = log.stat().st_size if log.is_file() else 0
            answer = _spawn(folder, launch, lock)
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
            f"the board {name} did not start: {reason}\n{tail(log, logged)}".rstrip(),
            answer.get("hint", "" if launch.private else f"its log is {log}"),
        )
    return board


def find(kind: str, name: str) -> SimBoard | None:
    """The running board of that name; look at its ``status``. None when it is not running."""
    return read_state(folder_of(kind, name)) if _supported() else None


def list_boards(kind: str) -> list[SimBoard]:
    """The boards of that kind that run on this machine for this user, by name."""
    home = state_home(kind)
    if not _supported() or not home.is_dir():
        return []
    boards = (read_state(folder) for folder in sorted(home.iterdir()) if folder.is_dir())
    return [board for board in boards if board is not None]


def refresh(board: SimBoard) -> SimBoard | None:
    """The same board as it is now, a private one too; None when it is no longer running."""
    return read_state(board.root.parent)


def wait(board: SimBoard) -> None:
    """Return when the board is no longer running."""
    with _process(board) as process:
        if process is not None:
            select.select([process], [], [])


def end(folder: Path, board: SimBoard) -> None:
    """End a board's supervisor, which ends what it runs; by force if it does not listen."""
    with _process(board) as process:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if process is None:
                break
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(process, number)
            if select.select([process], [], [], _STOP_TIMEOUT_S)[0]:
                break
    _reap(folder)


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """A folder for a board of one's own, deleted with the block; the board must be ended before."""
    folder = Path(tempfile.mkdtemp(prefix="guesthouse-"))
    try:
        yield folder
    finally:
        _reap(folder)
        shutil.rmtree(folder, ignore_errors=True)


def folder_of(kind: str, name: str) -> Path:
    """The folder of a named board; GuesthouseError (USAGE) when that is no name."""
    if not _NAME.fullmatch(name):
        raise GuesthouseError(
            f"{name!r} cannot be the name of a board",
            "use up to 32 small letters, digits, - and _, beginning with a letter or digit",
            ExitCode.USAGE,
        )
    return state_home(kind) / name


def tail(log: Path, begin: int = 0) -> str:
    """The program's last lines in the log from byte ``begin`` on, to be shown below a message."""
    try:
        lines = log.read_bytes()[begin:].decode(errors="replace").splitlines()
    except OSError:
        return ""
    said = [f"  {line}" for line in lines if SUPERVISOR_SAYS not in line]
    return "\n".join(said[-_LOG_TAIL_LINES:])


def _spawn(folder: Path, launch: Launch, lock: int) -> dict[str, str]:
    """Start the supervisor and wait for what it says of the program's first start."""
    ready, ready_end = os.pipe()
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, ready)
        output = stack.enter_context(Path(launch.log).open("ab"))
        try:
            supervisor = subprocess.Popen(
                # -P: the folder we are in must not shadow the standard library.
                [
                    *(sys.executable, "-P", "-m", "guesthouse.board.supervisor"),
                    *(str(folder), str(ready_end), str(lock)),
                ],
                stdin=subprocess.PIPE if launch.lifeline else subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=folder,
                pass_fds=(ready_end, lock),
                start_new_session=True,  # a Ctrl-C at the terminal is not for the board
            )
        finally:
            os.close(ready_end)
        if launch.lifeline:
            _ours[folder] = supervisor
        else:
            supervisor.wait()  # it has forked: the board is no child of ours
        readable, _, _ = select.select([ready], [], [], launch.ready_s + _ANSWER_S)
        said = os.read(ready, 65536) if readable else b'{"error": "its supervisor does not answer"}'
    answer = dict(json.loads(said)) if said else {"error": "its supervisor ended at once"}
    if "error" in answer:
        _reap(folder)
    return answer


def _lock(folder: Path, launch: Launch, stop_command: str) -> int:
    """A descriptor with the board's lock; GuesthouseError when its supervisor has it."""
    import fcntl  # not on Windows, where there are no such boards

    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for _ in range(2):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            board = read_state(folder)
            if board is not None and board.status == FAILED:
                end(folder, board)
                continue
            break
        return lock
    os.close(lock)
    raise GuesthouseError(
        f"the board {launch.name} is running already",
        f"use it with -p {port_name(launch.kind, launch.name)}, or end it with: {stop_command}",
        ExitCode.BUSY,
    )


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


def _supported() -> bool:
    return sys.platform.startswith("linux")
