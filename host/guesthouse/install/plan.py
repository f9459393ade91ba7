"""What a flash sends, keeps and removes: decided before anything is written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from guesthouse.core.errors import ExitCode, GuesthouseError
from guesthouse.core.units import fmt_bytes
from guesthouse.install.board import Content
from guesthouse.install.package import BOOT, FOLDER, MANIFEST, BoardFile, Package

STAGED = ".new"
BESIDE = ".before-guesthouse"

_EMPTY = hashlib.sha256().hexdigest()  # as the file system leaves one whose writing was cut
_SPARE = 4  # blocks that the file system needs for folders and its own copies


@dataclass(frozen=True, slots=True)
class Plan:
    """``send`` in this order, the manifest last; ``staged`` are there from a flash that was cut.

    What replaces a file is sent beside it, with STAGED behind its path; what is new is sent to its
    place, where nothing uses it before the manifest and main.py are there. ``sweep`` is removed
    before anything is sent, ``remove`` when the new files count. ``keep`` maps the path of a user's
    file to the name under which it is kept. ``unchanged`` counts files.
    """

    send: tuple[BoardFile, ...]
    staged: tuple[str, ...]
    unchanged: int
    sweep: tuple[str, ...]
    keep: dict[str, str]
    remove: tuple[str, ...]

    @property
    def nothing_to_do(self) -> bool:
        """Whether the board holds exactly this already."""
        return not (self.send or self.staged or self.remove)

    def room(self, block: int) -> int:
        """Bytes of flash that it takes while it is under way."""
        blocks = sum(-(-len(file.data) // block) for file in self.send)
        return (blocks + len(self.keep) + _SPARE) * block


def make_plan(package: Package, content: Content) -> Plan:
    """How the board gets from ``content`` to ``package``."""
    old = content.manifest
    there = content.hashes
    wanted = {file.path: file.sha256 for file in package.files}
    new = {path: sha for path, sha in wanted.items() if there.get(path) != sha}
    in_the_way = _in_the_way(wanted, content)
    keep = {path: _kept_name(path, there) for path in in_the_way}
    remembered = [
        name
        for name in (old.kept if old else ())
        if name in there and original(name) not in in_the_way
    ]
    gone = sorted({*old.files, *old.gone} - wanted.keys()) if old else []
    manifest = package.manifest(sorted({*remembered, *keep.values()}), gone)
    if there.get(MANIFEST) != manifest.sha256 or new:
        new[MANIFEST] = manifest.sha256
    staged = {path for path, sha in new.items() if there.get(path + STAGED) == sha}
    files = [
        file if file.path not in there and file is not manifest else _beside(file)
        for file in (*package.files, manifest)
        if file.path in new and file.path not in staged
    ]
    return Plan(
        send=tuple(files),
        staged=tuple(sorted(staged)),
        unchanged=len(wanted) - len(new.keys() & wanted.keys()),
        sweep=tuple(
            path
            for path in sorted(there)
            if _is_ours(path) and path.endswith(STAGED) and path.removesuffix(STAGED) not in staged
        ),
        keep={path: name for path, name in keep.items() if name not in there},
        remove=tuple(sorted(({*gone, *in_the_way} - wanted.keys()) & there.keys())),
    )


def _beside(file: BoardFile) -> BoardFile:
    return BoardFile(file.path + STAGED, file.data)


def _is_ours(path: str) -> bool:
    return path.startswith((f"{FOLDER}/", BOOT + "."))


def _in_the_way(wanted: dict[str, str], content: Content) -> list[str]:
    """Files of the user's where the agent's have to be, or that would be imported before them."""
    there, old = content.hashes, content.manifest.files if content.manifest else {}
    found = [path.removesuffix(".mpy") + ".py" for path in wanted if path.endswith(".mpy")]
    found = [path for path in found if path in there and path not in old]
    if BOOT in there and there[BOOT] not in (wanted[BOOT], old.get(BOOT), _EMPTY):
        found.append(BOOT)
    return found


def _kept_name(path: str, there: dict[str, str]) -> str:
    """A name that is free, or has the same content already."""
    name, number = path + BESIDE, 1
    while name in there and there[name] != there[path]:
        number += 1
        name = f"{path}{BESIDE}-{number}"
    return name


def original(kept: str) -> str:
    """The path that a kept file had."""
    return kept.rpartition(BESIDE)[0]


def require_room(plan: Plan, content: Content, largest: Iterable[tuple[str, int]]) -> None:
    """GuesthouseError where the plan's files do not fit, with what could go."""
    needed = plan.room(content.block)
    if needed <= content.free:
        return
    others = ", ".join(f"{path} ({fmt_bytes(size)})" for path, size in largest)
    raise GuesthouseError(
        f"the board's flash is full: the agent needs {fmt_bytes(needed)}, "
        f"and {fmt_bytes(content.free)} are free",
        f"remove files that the board can spare; the largest are: {others}"
        if others
        else "use a board with more flash",
        ExitCode.REFUSED,
    )
