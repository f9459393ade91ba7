"""A source that is fed with bytes from any thread: by a serial reader, a replay or the demo."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from guesthouse.core.errors import ExitCode, GuesthouseError
from guesthouse.core.model import BoardModel, Event, LogLine
from guesthouse.tui.source import LinkStatus, News

# Decoded in one go before the screen gets its turn; a replay at full speed brings megabytes.
_MOST_BYTES = 128 * 1024


class ByteTracker(Protocol):
    """What ``core.tracker.Tracker`` is to this module."""

    @property
    def model(self) -> BoardModel: ...

    def feed_bytes(self, data: bytes, host_time_ns: int) -> Sequence[Event | LogLine | str]: ...

    def finish(self) -> Sequence[Event | LogLine | str]: ...


Commander = Callable[[str, str], str]  # (verb, guest) -> state; may block, raises GuesthouseError


class FedSource:
    """Turns bytes that some thread feeds into updates on the monitor's event loop.

    ``commander`` sends a command and blocks until the board has answered; it runs in a thread of
    its own. ``on_close`` ends whatever feeds; it may block for a moment.
    """

    def __init__(
        self,
        tracker: ByteTracker,
        status: LinkStatus,
        commander: Commander | None = None,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        self._tracker = tracker
        self._status = status
        self._commander = commander
        self._on_close = on_close
        self._chunks: deque[tuple[bytes, int]] = deque()
        self._new_status: LinkStatus | None = None
        self._ended = False
        self._lock = threading.Lock()
        self._wake: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    @property
    def model(self) -> BoardModel:
        """The tracker's model."""
        return self._tracker.model

    @property
    def status(self) -> LinkStatus:
        """The link as of the last ``next``."""
        return self._status

    def feed(self, data: bytes, host_time_ns: int) -> None:
        """Hand over bytes as they came from the board; none, to say how long it was silent.

        From any thread; ``host_time_ns`` is of the clock that the tracker was fed with before.
        """
        with self._lock:
            self._chunks.append((data, host_time_ns))
        self._announce()

    def set_status(self, status: LinkStatus) -> None:
        """Tell what became of the link. From any thread."""
        with self._lock:
            self._new_status = status
        self._announce()

    def end(self, status: LinkStatus) -> None:
        """Nothing more will come: tell what the tracker still held back. From any thread."""
        with self._lock:
            self._ended = True
        self.set_status(status)

    def _announce(self) -> None:
        wake = self._wake
        if wake is not None and not wake[0].is_closed():
            wake[0].call_soon_threadsafe(wake[1].set)

    async def next(self) -> News:
        """See Source."""
        if self._wake is None:
            self._wake = (asyncio.get_running_loop(), asyncio.Event())
            self._wake[1].set()  # what was fed before anybody waited
        event = self._wake[1]
        while True:
            await event.wait()
            event.clear()
            news = self._take()
            if news is not None:
                return news

    def _take(self) -> News | None:
        with self._lock:
            chunks: list[tuple[bytes, int]] = []
            size = 0
            while self._chunks and size < _MOST_BYTES:
                chunks.append(self._chunks.popleft())
                size += len(chunks[-1][0])
            more = bool(self._chunks)
            changed = not more and self._new_status is not None
            if changed and self._new_status is not None:
                self._status, self._new_status = self._new_status, None
            ended = not more and self._ended
            self._ended = self._ended and not ended
        if more:
            self._announce()
        news = News()
        for data, host_time_ns in chunks:
            news.add(self._tracker.feed_bytes(data, host_time_ns))
        if ended:
            news.add(self._tracker.finish())
        return news if changed or news.any or any(data for data, _ in chunks) else None

    async def command(self, verb: str, guest: str) -> str:
        """See Source."""
        if self._commander is None:
            raise GuesthouseError(
                f"cannot {verb} {guest}: there is no board behind this picture",
                "commands need a live board: `guesthouse monitor` without a recording",
                ExitCode.NO_BOARD,
            )
        return await asyncio.to_thread(self._commander, verb, guest)

    async def close(self) -> None:
        """See Source."""
        if self._on_close is not None:
            await asyncio.to_thread(self._on_close)
