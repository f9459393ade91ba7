"""Which process holds a port. Linux tells by /proc; elsewhere nobody knows."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that has a port open; ``locked`` where it holds the lock, too."""

    pid: int
    command: str
    locked: bool


def find_holder(port: str) -> Holder | None:
    """The process that locked ``port``, else one that has it open; None where none is seen.

    A simulated board's own process keeps the far end open, so the lock decides first.
    """
    try:
        target = Path(port).stat()
    except OSError:
        return None
    holders = []
    for process in PROC.glob("[0-9]*"):
        pid = int(process.name)
        if pid == os.getpid():
            continue
        locked = _holds(process, target)
        if locked is not None:
            holders.append(Holder(pid, _command(process), locked))
    return max(holders, key=lambda one: (one.locked, -one.pid), default=None)


def _holds(process: Path, target: os.stat_result) -> bool | None:
    """Whether a process holds the lock on ``target``; None where it does not have it open."""
    found: bool | None = None
    try:
        for entry in (process / "fd").iterdir():
            try:
                status = entry.stat()
            except OSError:
                continue
            if (status.st_dev, status.st_ino) != (target.st_dev, target.st_ino):
                continue
            info = (process / "fdinfo" / entry.name).read_text()
            found = bool(found) or re.search(r"^lock:.*FLOCK", info, re.MULTILINE) is not None
    except OSError:  # another user's process, or one that ended meanwhile
        return found
    return found


def _command(process: Path) -> str:
    """The program with its first arguments, as a person would recognise it."""
    try:
        words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return "a process"
    words = [word for word in words if word]
    if len(words) > 1 and re.search(r"(^|/)python[0-9.]*$", words[0]):
        words = words[1:]  # the script says more than its interpreter
        if words[0] == "-m":
            words = words[1:]
    if not words:
        return "a process"
    return " ".join([Path(words[0]).name, *words[1:4]])[:60]
