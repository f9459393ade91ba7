"""Flashing a board that runs MicroPython, and giving it back: the steps, in their order.

At any moment the board has the old agent or the new one, whole: new files wait beside their places
until all are there and checked, one rename makes them count, and a cut behind it is ended by the
board's own main.py at its next start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from guesthouse.core.errors import ExitCode, GuesthouseError
from guesthouse.install.board import Board, Content, Identity, Progress
from guesthouse.install.package import BOOT, FOLDER, MANIFEST, Package, build_package
from guesthouse.install.plan import STAGED, Plan, make_plan, original, require_room
from guesthouse.install.target import Target

# Folders of the root: an agent has them where it keeps guests, and what guests write.
_IMAGES = "images"
_DATA = "data"
_JOURNAL = "journal"
_EVENTS = f"{_JOURNAL}/events"  # what else the agent writes, see its journal.py
_FOLDERS = (f"{FOLDER}/ports", FOLDER, "lib", _IMAGES, _DATA, _JOURNAL)
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Flashed:
    """What was done. ``kept`` are names of the user's files; ``boot_py`` says that there is one."""

    identity: Identity
    agent: str
    sent: tuple[str, ...]
    unchanged: int
    removed: tuple[str, ...]
    kept: tuple[str, ...]
    size: int
    boot_py: bool


def flash_board(
    board: Board,
    progress: Progress,
    build: Callable[[Target], Package] = build_package,
) -> Flashed:
    """Put the agent on ``board``, which has its programs stopped; starts nothing.

    Only what differs is sent. Run again after an interruption it goes on. Raises GuesthouseError.
    """
    identity = board.identity()
    package = build(identity.target)
    content = board.look()
    if content.manifest is None and content.images and not content.guests:
        raise GuesthouseError(
            f"{board.name} has a folder /{_IMAGES} of your own, where the agent would keep guests",
            "rename it on the board, then flash it again",
            ExitCode.REFUSED,
        )
    plan = make_plan(package, content)
    if not plan.nothing_to_do:
        _check_room(board, plan, content)
        board.remove(plan.sweep)
        for path, name in plan.keep.items():
            board.keep(path, name)
        board.stage(plan.send, progress)
        if plan.send or plan.staged:
            board.commit()
        board.remove(plan.remove)
    return Flashed(
        identity=identity,
        agent=package.version,
        sent=tuple(
            path for file in plan.send if (path := file.path.removesuffix(STAGED)) != MANIFEST
        ),
        unchanged=plan.unchanged,
        removed=plan.remove,
        kept=tuple(plan.keep.values()),
        size=sum(len(file.data) for file in plan.send),
        boot_py="boot.py" in content.hashes,
    )


def _check_room(board: Board, plan: Plan, content: Content) -> None:
    largest: list[tuple[str, int]] = []
    if plan.room(content.block) > content.free:
        spare = [
            (path, size) for path, size in board.sizes().items() if not path.startswith(FOLDER)
        ]
        largest = sorted(spare, key=lambda one: -one[1])[:_SHOWN]
    require_room(plan, content, largest)


@dataclass(frozen=True, slots=True)
class Unflashed:
    """What was done: files removed, files of the user's that are back, guests that are gone."""

    removed: int
    restored: tuple[str, ...]
    guests: tuple[str, ...]


def unflash_board(
    board: Board, *, keep_guests: bool, may_remove: Callable[[], None]
) -> Unflashed:
    """Take away what flash and the agent have put on ``board``, and give back what was kept.

    ``may_remove`` is called before guests and their data are removed, and may raise. Run again
    after an interruption it goes on. Raises GuesthouseError where no agent is there.
    """
    board.identity()
    content = board.look()
    manifest = content.manifest
    if manifest is None:
        raise GuesthouseError(
            f"{board.name} has no agent that guesthouse flash has put there",
            "guesthouse flash puts it on a board",
            ExitCode.REFUSED,
        )
    guests = [] if keep_guests else content.guests
    if guests:
        may_remove()
    folders = [] if keep_guests else [_IMAGES, *(f"{_DATA}/{name}" for name in guests)]
    restored = [name for name in manifest.kept if name in content.hashes]
    # main.py first: from here on the board starts the user's program, or nothing.
    for name in sorted(restored, key=lambda one: original(one) != BOOT):
        board.restore(name, original(name))
    ours = [
        path
        for path, sha in manifest.files.items()
        # A main.py that somebody has written since is theirs.
        if path in content.hashes and (path != BOOT or content.hashes[path] == sha)
        if path not in map(original, restored)
    ]
    stray = [path for path in content.hashes if path.endswith(STAGED) and path.startswith(FOLDER)]
    board.release()  # by the agent's own module
    board.remove(sorted(ours, key=lambda path: path != BOOT))
    gone = [path for path in manifest.gone if path in content.hashes]
    board.remove([*stray, *gone, *folders, _EVENTS])
    board.remove([MANIFEST])  # last: it says what there is to remove
    board.tidy(_FOLDERS)
    return Unflashed(len(ours), tuple(map(original, restored)), tuple(guests))
