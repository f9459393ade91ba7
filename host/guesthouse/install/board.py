"""What flash asks of a board and does on it: the seam between the plans and the REPL."""

from __future__ import annotations

import binascii
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from guesthouse.board.micropython import MINIMUM
from guesthouse.core.assets import agent_dir
from guesthouse.core.errors import ExitCode, GuesthouseError
from guesthouse.install.package import BoardFile, Manifest, parse_manifest
from guesthouse.install.repl import Repl
from guesthouse.install.target import Target, target_of

Progress = Callable[[int, int, str], None]
"""Bytes that are on the board, of how many, and the path of the file under way."""

# Two lines of 229 characters are under way at most: no board's buffer for input is under 512.
_LINE = 171
_WINDOW = 2
_TRIES = 3  # of a file that arrives damaged
_LONG_S = 60.0  # a board that erases much of its flash

_IDENTITY = (
    "import sys\n"
    "i = sys.implementation\n"
    "print('|'.join([i.name, '.'.join([str(n) for n in i[1][:3]]), sys.platform,"
    " str(getattr(i, '_mpy', 0)), str(getattr(i, '_machine', '')), sys.version]))"
)


@dataclass(frozen=True, slots=True)
class Identity:
    """What runs on a board: ``version`` is MicroPython's, ``machine`` what it calls the board."""

    name: str
    version: str
    machine: str
    firmware: str
    target: Target


@dataclass(frozen=True, slots=True)
class Content:
    """What is on a board. ``hashes``: SHA-256 (hex) by path, "" where nobody asked for it.

    ``images`` are the names in the folder in which an agent keeps guests. ``block`` and ``free``
    in bytes.
    """

    hashes: dict[str, str]
    images: tuple[str, ...]
    manifest: Manifest | None
    block: int
    free: int

    @property
    def guests(self) -> list[str]:
        """The guests there are."""
        return sorted(name[:-4] for name in self.images if name.endswith(".ref"))


class Board(Protocol):
    """A board whose own programs are stopped. Every method may raise GuesthouseError."""

    @property
    def name(self) -> str: ...

    def identity(self) -> Identity: ...

    def look(self) -> Content:
        """What is there, after a flash that was cut in its last step has been ended."""
        ...

    def sizes(self) -> dict[str, int]:
        """Bytes of every file."""
        ...

    def stage(self, files: Sequence[BoardFile], progress: Progress) -> None:
        """Write each, and check what is there then."""
        ...

    def keep(self, path: str, name: str) -> None:
        """Copy a file of the user's to ``name``."""
        ...

    def commit(self) -> None:
        """Put what was staged into its place; a cut from here on is ended by the board."""
        ...

    def restore(self, name: str, path: str) -> None:
        """Rename."""
        ...

    def release(self) -> None:
        """Erase what the agent on the board has written beside the file system."""
        ...

    def remove(self, paths: Sequence[str]) -> None:
        """Remove files, and folders with all that is in them."""
        ...

    def tidy(self, folders: Sequence[str]) -> None:
        """Remove folders that are empty."""
        ...


class ReplBoard:
    """A Board by its raw REPL."""

    def __init__(self, repl: Repl) -> None:
        self._repl = repl
        self._there = False

    @property
    def name(self) -> str:
        return self._repl.name

    def identity(self) -> Identity:
        """Raises GuesthouseError where the agent cannot run there, with what to do."""
        said = self._repl.run(_IDENTITY).strip()
        try:
            name, version, platform, mpy, machine, firmware = said.split("|", 5)
            return fit(Identity(name, version, machine, firmware, target_of(platform, int(mpy))))
        except ValueError:
            raise GuesthouseError(
                f"what answers on {self.name} is no MicroPython: {said[:80]!r}",
                "guesthouse devs lists what is there",
                ExitCode.NO_BOARD,
            ) from None

    def look(self) -> Content:
        found = json.loads(self._call("look()", _LONG_S))
        return Content(
            hashes=dict(found["files"]),
            images=tuple(found["images"]),
            manifest=parse_manifest(found["manifest"]),
            block=found["block"],
            free=found["free"],
        )

    def sizes(self) -> dict[str, int]:
        return dict(json.loads(self._call("sizes()")))

    def stage(self, files: Sequence[BoardFile], progress: Progress) -> None:
        total, before = sum(len(file.data) for file in files), 0
        for _ in range(_TRIES):
            damaged = self._stage(files, before, total, progress)
            if not damaged:
                return
            files, before = damaged, total - sum(len(file.data) for file in damaged)
        raise GuesthouseError(
            f"{files[0].path} arrives damaged on {self.name}, again and again",
            "try another cable",
        )

    def _stage(
        self, files: Sequence[BoardFile], done: int, total: int, progress: Progress
    ) -> list[BoardFile]:
        """Send files; those that arrived damaged."""
        self._prepare()
        self._repl.begin("receive()")
        waiting: deque[tuple[BoardFile, int]] = deque()
        damaged = []

        def take() -> None:
            nonlocal done
            file, size = waiting.popleft()
            answer = self._repl.answer()
            if answer == "?":
                damaged.append(file)
            elif answer not in "+=":
                raise GuesthouseError(
                    f"{self.name} answers what it should not: {answer!r}", "run it again"
                )
            done += size
            progress(done, total, file.path)

        for file, line, size in _lines(files):
            if len(waiting) == _WINDOW:
                take()
            self._repl.send(line)
            waiting.append((file, size))
        while waiting:
            take()
        self._repl.send(b".")
        self._repl.end()
        return damaged

    def keep(self, path: str, name: str) -> None:
        self._call(f"keep({path!r}, {name!r})", _LONG_S)

    def commit(self) -> None:
        self._call("commit()", _LONG_S)

    def restore(self, name: str, path: str) -> None:
        self._call(f"restore({name!r}, {path!r})")

    def release(self) -> None:
        self._call("release()", _LONG_S)

    def remove(self, paths: Sequence[str]) -> None:
        if paths:
            self._call(f"remove({list(paths)!r})", _LONG_S)

    def tidy(self, folders: Sequence[str]) -> None:
        self._call(f"tidy({list(folders)!r})")

    def _call(self, call: str, seconds: float = 10.0) -> str:
        self._prepare()
        return self._repl.run(call, seconds)

    def _prepare(self) -> None:
        if not self._there:
            program = agent_dir() / "flashing.py"
            self._repl.run(_bare(program.read_text(encoding="utf-8")))
            self._there = True


def _bare(source: str) -> str:
    """Without comments and empty lines: the board compiles it, and that takes its time."""
    lines = (line for line in source.splitlines() if line.strip())
    return "\n".join(line for line in lines if not line.startswith("#"))


def _lines(files: Iterable[BoardFile]) -> Iterator[tuple[BoardFile, bytes, int]]:
    """The lines for receive(): the file, the line, and how many of the file's bytes it has."""
    for file in files:
        yield file, f"{file.path} {len(file.data)} {file.sha256}".encode(), 0
        for begin in range(0, len(file.data), _LINE):
            piece = file.data[begin : begin + _LINE]
            yield file, binascii.b2a_base64(piece, newline=False), len(piece)


def fit(found: Identity) -> Identity:
    """The same; GuesthouseError where the agent cannot run there."""
    least = ".".join(map(str, MINIMUM))
    if found.name != "micropython":
        name = "CircuitPython" if found.name == "circuitpython" else found.name
        raise GuesthouseError(
            f"the board runs {name} {found.version}, which the agent cannot run on",
            f"install MicroPython {least} or later on it, then flash it again: "
            "https://micropython.org/download",
            ExitCode.REFUSED,
        )
    version = tuple(int(part) if part.isdigit() else 0 for part in found.version.split("."))
    if version < MINIMUM:
        raise GuesthouseError(
            f"the board runs MicroPython {found.version}, which is too old for the agent",
            f"install MicroPython {least} or later on it, then flash it again: "
            "https://micropython.org/download",
            ExitCode.REFUSED,
        )
    if found.target.port != "rp2" or not found.target.arch:
        raise GuesthouseError(
            f"there is no agent for this board yet: {found.machine or found.target.port}",
            "boards with an RP2040 or RP2350 are known: Raspberry Pi Pico, Pico W, Pico 2",
            ExitCode.REFUSED,
        )
    return found
