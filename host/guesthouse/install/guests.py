"""Guests as files of a board's file system, where no agent runs that would take them."""

from __future__ import annotations

import json
from collections.abc import Iterable

from guesthouse.guests.image import Image
from guesthouse.install.package import BoardFile

_IMAGES = "images"


def files_of(images: Iterable[Image]) -> list[BoardFile]:
    """What the agent writes when these are deployed: their folders, and what names them."""
    files = []
    for image in images:
        folder = f"{image.name}-{image.digest[:8]}"
        files += [
            BoardFile(f"{_IMAGES}/{folder}/{file.path}", file.data) for file in image.files
        ]
        reference = json.dumps({"dir": folder, "digest": image.digest})
        files.append(BoardFile(f"{_IMAGES}/{image.name}.ref", reference.encode()))
    return files
