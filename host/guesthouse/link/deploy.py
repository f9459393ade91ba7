"""Putting an image on a board: written beside the old version, checked, then switched over."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from guesthouse.core import wire
from guesthouse.core.errors import GuesthouseError
from guesthouse.guests.image import Image
from guesthouse.link.client import Client
from guesthouse.link.commands import CommandError, encode_put

COMMIT_S = 30.0  # the board reads everything back, hashes it, renames, and loads the guest
TRANSFERS = 3  # whole transfers, where a hash does not match


class Progress(Protocol):
    """Called after every piece: bytes on the board, bytes in all, the file under way."""

    def __call__(self, done: int, total: int, path: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Deployed:
    """What the board made of an image: its first instance and that instance's state."""

    instance: str
    state: str
    digest: str
    size: int
    transfers: int


def deploy(
    client: Client,
    image: Image,
    *,
    start: bool = True,
    progress: Progress | None = None,
) -> Deployed:
    """Send ``image`` and switch the board over to it.

    Lines that a noisy cable damages are sent again; an image whose hash does not match on the
    board is sent again as a whole. Whatever ends the transfer early (an error, Ctrl-C) makes the
    board forget what it got: the old version stays as it was. Raises GuesthouseError.
    """
    tell = progress or (lambda done, total, path: None)
    for transfer in range(1, TRANSFERS + 1):
        try:
            with _aborting(client):
                answer = _transfer(client, image, start, tell)
        except CommandError as error:
            if error.status != wire.STATUS_HASH_MISMATCH or transfer == TRANSFERS:
                raise
            continue
        return Deployed(
            instance=str(answer.get("instance", f"{image.name}.0")),
            state=str(answer.get("state", "loading")),
            digest=image.digest,
            size=image.size,
            transfers=transfer,
        )
    raise AssertionError("the last transfer returns or raises")


def _transfer(client: Client, image: Image, start: bool, tell: Progress) -> dict[str, Any]:
    total, done = image.size, 0
    client.command(wire.VERB_BEGIN, {"image": image.name, "digest": image.digest, "size": total})
    for file in image.files:
        client.command(
            wire.VERB_FILE, {"path": file.path, "size": len(file.data), "sha": file.sha256}
        )
        for offset in range(0, len(file.data), wire.PUT_CHUNK):
            piece = file.data[offset : offset + wire.PUT_CHUNK]
            client.command(wire.VERB_PUT, encode_put(offset, piece))
            done += len(piece)
            tell(done, total, file.path)
    return client.command(wire.VERB_COMMIT, {"start": start}, timeout=COMMIT_S)


@contextlib.contextmanager
def _aborting(client: Client) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(GuesthouseError):
            client.command(wire.VERB_ABORT, timeout=2.0)
        raise
