"""Unix-port boards on this machine: start, find and stop them (see ``board.processes``)."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from guesthouse.board import micropython as mp
from guesthouse.board import processes, pty
from guesthouse.board.processes import refresh
from guesthouse.board.simstate import FAILED, SimBoard
from guesthouse.board.supervisor import Launch
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

_KIND = "sim"


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
    return _start(
        _folder(name),
        name,
        fresh=fresh,
        foreground=foreground,
        agent_dir=agent_dir,
        heap=heap,
        micropython=micropython,
        progress=progress,
    )


def find(name: str = "sim") -> SimBoard | None:
    """The running board ``name``; look at its ``status``. None when it is not running."""
    return processes.find(_KIND, name)


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
            + processes.tail(board.log),
            f"its log is {board.log}; start it anew with: {command}",
            ExitCode.NO_BOARD,
        )
    return board


def list_boards() -> list[SimBoard]:
    """The boards that run on this machine for this user, by name."""
    return processes.list_boards(_KIND)


def stop(name: str = "sim") -> bool:
    """End the board ``name`` and wait until it is gone; False when it was not running."""
    board = find(name)
    if board is None:
        return False
    processes.end(_folder(name), board)
    return True


def wait(name: str = "sim") -> None:
    """Return when the board ``name`` is no longer running."""
    board = find(name)
    if board is not None:
        processes.wait(board)


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
    with processes.private_folder() as folder:
        board = _start(
            folder,
            name,
            fresh=True,
            foreground=True,
            private=True,
            agent_dir=agent_dir,
            heap=heap,
            micropython=micropython,
            progress=progress,
        )
        try:
            yield board
        finally:
            processes.end(folder, board)


def _start(
    folder: Path,
    name: str,
    *,
    fresh: bool,
    foreground: bool,
    private: bool = False,
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
    launch = Launch(
        name=name,
        argv=[
            *micropython.argv,
            *("-X", f"heapsize={heap}"),
            str(agent),
            *("--root", str(root)),
            *("--name", name),
        ],
        root=str(root),
        log=str(folder / "log"),
        version=micropython.version,
        lifeline=foreground,
        private=private,
    )

    def prepare() -> None:
        if fresh:
            shutil.rmtree(root, ignore_errors=True)
        root.mkdir(exist_ok=True)

    command = f"guesthouse sim --stop {name}"
    return processes.start(folder, launch, prepare, stop_command=command)


def _folder(name: str) -> Path:
    return processes.folder_of(_KIND, name)
