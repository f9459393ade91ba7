"""Texts out of their chunks: lines that guests print, where they were, what happened to them."""

from __future__ import annotations

from dataclasses import dataclass, field

from guesthouse.core.records import TextChunk

GAP = "…"  # stands where chunks of a text were lost


@dataclass(frozen=True, slots=True)
class Text:
    """A text as far as it arrived. ``time_us`` is that of its first chunk that did."""

    time_us: int
    instance: int
    kind: int  # wire.TEXT_*
    ref: int
    text: str
    complete: bool


@dataclass(slots=True)
class _Pending:
    time_us: int
    arrived_us: int
    count: int
    chunks: dict[int, bytes] = field(default_factory=dict)


class TextAssembler:
    """Joins TEXT records. Texts of different instances, kinds and refs may be interleaved.

    A text is given out when its last chunk comes, or as far as it got when another text takes its
    place; lost chunks show as GAP. ``flush`` gives out those that nothing will complete.
    """

    def __init__(self) -> None:
        self._pending: dict[tuple[int, int, int], _Pending] = {}

    def add(self, time_us: int, chunk: TextChunk, arrived_us: int) -> list[Text]:
        """The texts that this chunk ends: none, one, or two where it also replaces a torn one.

        ``time_us`` is the chunk's own time, ``arrived_us`` that of the batch that brought it.
        """
        done: list[Text] = []
        key = (chunk.instance, chunk.kind, chunk.ref)
        pending = self._pending.get(key)
        if pending is not None and (
            pending.count != chunk.count or chunk.index <= max(pending.chunks, default=-1)
        ):
            done.append(self._finish(key))
            pending = None
        if pending is None:
            pending = self._pending[key] = _Pending(time_us, arrived_us, chunk.count)
        pending.chunks[chunk.index] = chunk.data
        if chunk.index + 1 >= chunk.count:
            done.append(self._finish(key))
        return done

    def flush(self, before_us: int | None = None) -> list[Text]:
        """Give out unfinished texts: all, or those that began to arrive before a board time."""
        return [
            self._finish(key)
            for key, pending in list(self._pending.items())
            if before_us is None or pending.arrived_us < before_us
        ]

    def _finish(self, key: tuple[int, int, int]) -> Text:
        pending = self._pending.pop(key)
        # Joined as bytes, because a character may be split between two chunks.
        joined = b""
        gap = GAP.encode()
        expected = 0
        for index, data in pending.chunks.items():
            # Only the last chunk is padded; a zero in another is the text's own.
            own = data.rstrip(b"\0") if index + 1 >= pending.count else data
            joined += own if index == expected else gap + own
            expected = index + 1
        whole = expected >= pending.count and len(pending.chunks) >= pending.count
        if expected < pending.count:
            joined += gap
        instance, kind, ref = key
        return Text(pending.time_us, instance, kind, ref, joined.decode("utf-8", "replace"), whole)
