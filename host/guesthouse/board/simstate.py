"""What is written down of a board that is a process: where it is kept, who runs it, how it is."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

_FORMAT = 1
_STATE_FILE = "state.json"
_START_TIME_FIELD = 22  # of /proc/PID/stat, counted from 1, see proc(5)

STARTING = "starting"
RUNNING = "running"
RESTARTING = "restarting"
FAILED = "failed"  # it ended too often too quickly and is not started again


@dataclass(frozen=True, slots=True)
class SimBoard:
    """A board that somebody runs as a process: the Unix port (``kind`` "sim") or an emulated Pico.

    ``path`` is the serial port to open, ``root`` the folder with the board's file system (of a
    Pico: with the image of its flash), ``log`` the file with what the process wrote to stderr and
    what the supervisor did. ``pid`` and ``identity`` name
    the supervising process. ``status`` is "running", "restarting" (it ended and is about to be
    started again) or "failed" (it ended too often; ``last_end`` says how). ``restarts`` counts
    since the start of the supervisor. ``version`` is MicroPython's.
    """

    name: str
    path: str
    root: Path
    log: Path
    pid: int
    identity: str
    status: str
    restarts: int
    last_end: str
    version: str
    kind: str = "sim"

    @property
    def port(self) -> str:
        """The name to give to ``-p``."""
        return port_name(self.kind, self.name)

    @property
    def alive(self) -> bool:
        """True while its supervisor runs."""
        return process_identity(self.pid) == self.identity


def port_name(kind: str, name: str) -> str:
    """What a user calls a board: ``sim``, ``sim:lab``, ``pico-sim``."""
    return kind if name == kind else f"{kind}:{name}"


def state_home(kind: str = "sim") -> Path:
    """The folder with one folder per board, after the XDG base directory specification."""
    base = os.environ.get("XDG_STATE_HOME", "")
    home = Path(base) if base and Path(base).is_absolute() else Path.home() / ".local" / "state"
    return home / "guesthouse" / kind


def process_identity(pid: int) -> str:
    """What tells a process from another one that gets its number later; empty if there is none.

    The boot's id and the ticks from boot to the start of the process. A process that has ended
    and was not waited for counts as gone.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return ""
    # The second field is the command in parentheses and may contain blanks and parentheses.
    fields = stat[stat.rindex(")") + 2 :].split()
    if fields[0] in ("Z", "X"):
        return ""
    return f"{boot}:{fields[_START_TIME_FIELD - 3]}"


def write_state(folder: Path, board: SimBoard) -> None:
    """Replace the state file in one step: a reader sees the old one or the new one, whole."""
    fields = asdict(board) | {"format": _FORMAT, "root": str(board.root), "log": str(board.log)}
    beside = folder / f"{_STATE_FILE}.new"
    beside.write_text(json.dumps(fields, indent=1) + "\n", encoding="utf-8")
    beside.replace(folder / _STATE_FILE)


def read_state(folder: Path) -> SimBoard | None:
    """The board whose state is in ``folder``, None when nothing runs it."""
    try:
        fields = json.loads((folder / _STATE_FILE).read_text(encoding="utf-8"))
        if fields.pop("format") != _FORMAT:
            return None
        fields |= {"root": Path(fields["root"]), "log": Path(fields["log"])}
        board = SimBoard(**fields)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return board if board.alive else None


def forget_state(folder: Path) -> None:
    """Remove the state file."""
    (folder / _STATE_FILE).unlink(missing_ok=True)
