"""Frames and console text out of one stream of bytes, whatever happened to the bytes.

The stream is what the serial line delivered, in pieces of any size. What comes out does not depend
on the sizes of the pieces, only on the bytes (see ``flush`` for the one exception, silence).
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import NamedTuple
from zlib import crc32

from guesthouse.core import wire

_HEADER = Struct(wire.FRAME_HEADER)
_CRC = Struct("<I")
_HEADER_SIZE = wire.FRAME_HEADER_SIZE
_OVERHEAD = _HEADER_SIZE + wire.FRAME_CRC_SIZE
_MAX_PAYLOAD = wire.MAX_PAYLOAD
_MAGIC = wire.MAGIC
_CHECKED = len(_MAGIC)  # where in a frame begins what its checksum covers

# Where a frame broke off, text may follow at once: the traceback of an agent that died while
# sending, and the prompt. A run of plain text at the end of a broken frame is taken for that.
# Shorter runs are not: any two bytes of a checksum may be printable.
_PLAIN = bytes(range(0x20, 0x7F)) + b"\t\n\r\x08\x1b"
_PLAIN_MIN = 6


class Frame(NamedTuple):
    """A frame whose checksum holds. ``offset`` counts the bytes of the stream before it.

    A tuple, because a recording has 10**5 of them: it is made in a third of a dataclass's time.
    """

    kind: int
    version: int
    payload: bytes
    offset: int


@dataclass(frozen=True, slots=True)
class Console:
    """Bytes that belong to no frame: what the board printed."""

    data: bytes
    offset: int


@dataclass(frozen=True, slots=True)
class Damage:
    """The bytes of a frame that broke.

    ``reason`` is ``"header"`` (the length and its complement disagree), ``"checksum"``, or
    ``"cut"`` (the line fell silent in mid-frame).
    """

    reason: str
    data: bytes
    offset: int


Item = Frame | Console | Damage


def encode_frame(kind: int, payload: bytes) -> bytes:
    """One frame around ``payload``; ValueError where it is longer than a frame can be."""
    if len(payload) > wire.MAX_PAYLOAD:
        raise ValueError(f"{len(payload)} bytes do not fit a frame of {wire.MAX_PAYLOAD}")
    size = len(payload)
    header = _HEADER.pack(_MAGIC, kind, wire.VERSION, size, size ^ 0xFFFF)
    return header + payload + _CRC.pack(crc32(payload, crc32(header[len(_MAGIC) :])))


class FrameDecoder:
    """Feed it bytes, get frames, console text and damage in the order of the stream.

    A candidate frame that fails is never skipped as a whole: the search for the next one starts
    one byte behind its first, so that a damaged length or a cut frame swallows nothing. At most
    one frame's length of bytes is held back, and only while those bytes may still be a frame.
    """

    def __init__(self) -> None:
        self._held = b""
        self._offset = 0  # of the first held byte in the stream
        self._broken_until = 0  # offset where the last broken frame would have ended
        self._reason = ""

    @property
    def held(self) -> int:
        """Bytes held back because they may be the beginning of a frame."""
        return len(self._held)

    def feed(self, data: bytes) -> list[Item]:
        """Everything that ``data`` completes. An empty result means: not decided yet."""
        return self._scan(self._held + data if self._held else bytes(data), final=False)

    def flush(self) -> list[Item]:
        """Give up what is held: call it when the line has been silent for seconds, and at the end.

        Without it the traceback of a board that died in mid-frame would wait for ever. A frame
        whose rest comes after the flush is lost and counted like any other.
        """
        return self._scan(self._held, final=True)

    def _scan(self, data: bytes, final: bool) -> list[Item]:
        items: list[Item] = []
        base = self._offset
        size = len(data)
        done = 0  # everything before it is in items
        search = 0
        while True:
            start = data.find(_MAGIC, search)
            if start < 0:
                stop = size
                if not final and data.endswith(_MAGIC[:1]):
                    # The last byte may begin a frame; the rest of a broken frame waits with it,
                    # because where its text begins is judged on the whole.
                    stop = done if base + size <= self._broken_until else size - 1
                if stop > done:
                    self._emit(items, data, done, stop, base)
                    done = stop
                break
            if start > done:
                self._emit(items, data, done, start, base)
                done = start
            search = start + 1
            if size - start < _HEADER_SIZE:
                if not final:
                    break
                self._break("cut", base + size)
                continue
            _, kind, version, length, complement = _HEADER.unpack_from(data, start)
            if length ^ complement != 0xFFFF or length > _MAX_PAYLOAD:
                self._break("header", base + start + _HEADER_SIZE)
                continue
            stop = start + _OVERHEAD + length
            if stop > size:
                if not final:
                    break
                self._break("cut", base + size)
                continue
            checked = data[start + _CHECKED : stop - wire.FRAME_CRC_SIZE]
            if crc32(checked) != _CRC.unpack_from(data, stop - wire.FRAME_CRC_SIZE)[0]:
                self._break("checksum", base + stop)
                continue
            payload = checked[_HEADER_SIZE - _CHECKED :]
            items.append(Frame(kind, version, payload, base + start))
            self._broken_until = base + stop
            done = search = stop
        self._held = data[done:]
        self._offset = base + done
        return items

    def _break(self, reason: str, until: int) -> None:
        if until > self._broken_until:
            self._broken_until = until
            self._reason = reason

    def _emit(self, items: list[Item], data: bytes, start: int, stop: int, base: int) -> None:
        split = min(max(self._broken_until - base, start), stop)
        if split > start:
            broken = data[start:split]
            frame = broken.rstrip(_PLAIN)
            if len(broken) - len(frame) < _PLAIN_MIN:
                frame = broken
            _append(items, Damage(self._reason, frame, base + start))
            split = start + len(frame)
        if stop > split:
            _append(items, Console(data[split:stop], base + split))


def _append(items: list[Item], item: Console | Damage) -> None:
    """Append, joined to the item before it where that is of the same kind: it stood beside it."""
    last = items[-1] if items else None
    if isinstance(item, Console) and isinstance(last, Console):
        items[-1] = Console(last.data + item.data, last.offset)
    elif isinstance(item, Damage) and isinstance(last, Damage):
        items[-1] = Damage(last.reason, last.data + item.data, last.offset)
    else:
        items.append(item)
