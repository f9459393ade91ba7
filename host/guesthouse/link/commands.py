"""Commands to the board as lines of bytes, and its refusals as exceptions."""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from guesthouse.core import wire
from guesthouse.core.errors import ExitCode, GuesthouseError
from guesthouse.core.frames import Frame

_EXIT_CODES = {
    wire.STATUS_UNKNOWN_VERB: ExitCode.FAILURE,
    wire.STATUS_NO_SUCH_GUEST: ExitCode.USAGE,
    wire.STATUS_BAD_VALUE: ExitCode.USAGE,
    wire.STATUS_REFUSED: ExitCode.REFUSED,
    wire.STATUS_WRONG_STATE: ExitCode.REFUSED,
    wire.STATUS_NO_SPACE: ExitCode.REFUSED,
    wire.STATUS_HASH_MISMATCH: ExitCode.DAMAGED,
}


class CommandError(GuesthouseError):
    """The board understood a command and said no; ``status`` is a wire.STATUS_* number."""

    def __init__(self, status: int, message: str, hint: str) -> None:
        super().__init__(message, hint, _EXIT_CODES.get(status, ExitCode.FAILURE))
        self.status = status


@dataclass(frozen=True, slots=True)
class Reply:
    """The board's answer to command ``id``; ``body`` is the result, or holds error and hint."""

    id: int
    status: int
    body: dict[str, Any]


def decode_reply(frame: Frame) -> Reply | None:
    """The reply in ``frame``; None where the frame is none, or not one that can be read."""
    if frame.kind != wire.FRAME_REPLY or len(frame.payload) < wire.REPLY_HEADER_SIZE:
        return None
    command_id, status, _flags = struct.unpack_from(wire.REPLY_HEADER, frame.payload)
    try:
        body = json.loads(frame.payload[wire.REPLY_HEADER_SIZE :] or b"{}")
    except ValueError:
        return None
    return Reply(command_id, status, body) if isinstance(body, dict) else None


def refusal(reply: Reply) -> CommandError:
    """A reply that is not OK as an exception, with the board's own hint."""
    message = str(reply.body.get("error") or f"the board refused (status {reply.status})")
    return CommandError(reply.status, message, str(reply.body.get("hint") or ""))


def encode_command(verb: int, command_id: int, body: bytes | Mapping[str, Any]) -> bytes:
    """One command line. Raises GuesthouseError where it would not fit the board's buffer."""
    if not isinstance(body, bytes):
        body = json.dumps(body, separators=(",", ":")).encode()
    raw = struct.pack(wire.COMMAND_HEADER, verb, 0, command_id) + body
    raw += struct.pack("<I", binascii.crc32(raw))
    line = bytes([wire.COMMAND_START]) + base64.b64encode(raw) + b"\n"
    if len(line) > wire.COMMAND_LINE_MAX:
        raise GuesthouseError(
            f"a command of {len(line)} bytes does not fit the {wire.COMMAND_LINE_MAX} "
            "that the board takes at once",
            "give fewer options at a time, or shorter names",
            ExitCode.USAGE,
        )
    return line


def decode_command(line: bytes) -> tuple[int, int, bytes]:
    """The (verb, id, body) of a command line, as the board reads it.

    Raises ValueError where the line is damaged. The host's tests speak the board's part with it.
    """
    if not line.startswith(bytes([wire.COMMAND_START])):
        raise ValueError("no command")
    raw = base64.b64decode(line[1:].strip(), validate=True)
    if len(raw) < wire.COMMAND_HEADER_SIZE + 4:
        raise ValueError("too short")
    if binascii.crc32(raw[:-4]) != struct.unpack("<I", raw[-4:])[0]:
        raise ValueError("damaged")
    verb, _flags, command_id = struct.unpack_from(wire.COMMAND_HEADER, raw)
    return verb, command_id, raw[wire.COMMAND_HEADER_SIZE : -4]


def encode_put(offset: int, data: bytes) -> bytes:
    """The body of a VERB_PUT: where the bytes belong in the file, and the bytes."""
    return struct.pack("<I", offset) + data
