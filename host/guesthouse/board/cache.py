"""The user's cache: what was fetched or built once, one folder a kind, shared by processes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from guesthouse.core.errors import GuesthouseError


def cache_folder(kind: str, environ: Mapping[str, str]) -> Path:
    """The folder for things of one kind, made when it is not there.

    After the XDG base directory specification. GuesthouseError when it cannot be made.
    """
    base = environ.get("XDG_CACHE_HOME", "")
    # The specification wants a relative path to be ignored.
    cache = Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache"
    folder = cache / "guesthouse" / kind
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GuesthouseError(
            f"{folder} cannot be made: {error.strerror}",
            "set XDG_CACHE_HOME to a folder that you may write",
        ) from error
    return folder


@contextlib.contextmanager
def locked(folder: Path, progress: Callable[[str], None], waiting_for: str) -> Iterator[None]:
    """Keep other processes out of ``folder``; says ``waiting_for`` when one was there first.

    The lock ends with the process, however that ends. Linux and macOS only.
    """
    import fcntl  # not on Windows, where nothing is provided

    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(waiting_for)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
