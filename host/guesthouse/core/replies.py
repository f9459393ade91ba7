"""Replies of the board: the frames that answer a command."""

from __future__ import annotations

import json
from dataclasses import dataclass
from struct import Struct
from typing import Any

from guesthouse.core import names, wire
from guesthouse.core.frames import Frame

_HEADER = Struct(wire.REPLY_HEADER)


@dataclass(frozen=True, slots=True)
class Reply:
    """The board's answer to command ``id``. ``body`` is the result, or holds error and hint."""

    id: int
    status: int
    flags: int
    body: dict[str, Any]

    @property
    def ok(self) -> bool:
        return self.status == wire.STATUS_OK

    @property
    def status_name(self) -> str:
        return names.STATUSES.get(self.status, f"status-{self.status}")


def decode_reply(frame: Frame) -> Reply | None:
    """The reply in ``frame``; None where the frame is none, or not one that can be read."""
    if frame.kind != wire.FRAME_REPLY or len(frame.payload) < wire.REPLY_HEADER_SIZE:
        return None
    command, status, flags = _HEADER.unpack_from(frame.payload)
    text = frame.payload[wire.REPLY_HEADER_SIZE :]
    try:
        body = json.loads(text) if text else {}
    except ValueError:
        return None
    return Reply(command, status, flags, body) if isinstance(body, dict) else None
