"""Keeps a BoardModel up to date from the bytes of the line, and tells what is new."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields

from guesthouse.core import records as r
from guesthouse.core import wire
from guesthouse.core.apply import Applier
from guesthouse.core.frames import Console, Damage, FrameDecoder, Item
from guesthouse.core.joining import EventJoiner
from guesthouse.core.model import BoardModel, Event, LogLine
from guesthouse.core.session import Batch, Session, TimedRecord
from guesthouse.core.texts import Text, TextAssembler

Update = Event | LogLine | str  # a change of state, a line about a guest, console text

EVENTS_KEPT = 1_000
LOGS_KEPT = 5_000
# A line that has been silent this long while a frame is half through is broken. Far above the
# longest pause of a healthy board (a flash erase: 0.4 s; a blocked USB write: 0.5 s).
SILENCE_NS = 2_000_000_000
# An event whose texts have not come is told without them after this long (they may still be
# filled in); a text whose chunks have not all come is told torn after the second.
EVENT_WAIT_US = 1_500_000
EVENT_WAIT_NS = 2_000_000_000
TORN_US = 5_000_000


@dataclass(slots=True)
class _Untold:
    """An event that waits for its texts before it is told."""

    event: Event
    arrived_us: int
    host_ns: int


class Tracker:
    """Feed it what the line delivers; ``model`` is then the board as of the last good batch.

    ``on_item`` sees every frame, console piece and damage in the order of the line, replies too.
    """

    def __init__(
        self, model: BoardModel | None = None, on_item: Callable[[Item], None] | None = None
    ) -> None:
        self.model = model if model is not None else BoardModel()
        self.session = Session()
        self.damaged = 0  # places where frames were broken
        self._on_item = on_item
        self._decoder = FrameDecoder()
        self._console = codecs.getincrementaldecoder("utf-8")("replace")
        self._texts = TextAssembler()
        self._joiner = EventJoiner()
        self._apply = Applier(self.model)
        self._untold: list[_Untold] = []
        self._last_data_ns = 0

    def feed_bytes(self, data: bytes, host_time_ns: int) -> list[Update]:
        """Digest bytes that were read at a host time (any clock, as long as it is one).

        Empty ``data`` says that the line was silent up to that time: call it so now and then,
        or text behind a broken frame waits until more comes.
        """
        if data:
            self._last_data_ns = host_time_ns
            items = self._decoder.feed(data)
        elif host_time_ns - self._last_data_ns >= SILENCE_NS:
            items = self._decoder.flush()
        else:
            items = []
        updates = self._digest(items, host_time_ns)
        updates += self._told(lambda untold: host_time_ns - untold.host_ns >= EVENT_WAIT_NS)
        return updates

    def finish(self) -> list[Update]:
        """What is still held back, at the end of the stream: a broken frame, a torn text."""
        updates = self._digest(self._decoder.flush(), self._last_data_ns)
        for text in self._texts.flush():
            updates += self._text(text, 0)
        return updates + self._told(lambda untold: True)

    def _digest(self, items: Iterable[Item], host_ns: int) -> list[Update]:
        updates: list[Update] = []
        for item in items:
            if self._on_item is not None:
                self._on_item(item)
            if isinstance(item, Console):
                if text := self._console.decode(item.data):
                    updates.append(text)
            elif isinstance(item, Damage):
                self.damaged += 1
            elif (batch := self.session.feed(item)) is not None:
                updates += self._batch(batch, host_ns)
        return updates

    def _batch(self, batch: Batch, host_ns: int) -> list[Update]:
        updates: list[Update] = []
        model = self.model
        if batch.rebooted:
            for text in self._texts.flush():
                updates += self._text(text, 0)
            updates += self._told(lambda untold: True)
            self._reset()
        model.boot_id = batch.boot_id
        model.trace = batch.trace
        model.missed = self.session.missed
        model.dropped = dict(self.session.dropped)
        if batch.rebooted:
            updates.append(self._keep(Event(0, wire.BOARD, "board", "", "booted", "boot")))
        for timed in batch.records:
            record = timed.record
            if isinstance(record, r.TextChunk):
                for text in self._texts.add(timed.time_us, record, batch.time_us):
                    updates += self._text(text, batch.time_us)
            elif isinstance(record, r.State):
                updates += self._state(timed, record, batch.time_us, host_ns)
            elif isinstance(record, r.Breach):
                updates.append(self._keep(self._apply.breach(record, timed.time_us)))
            else:
                self._apply(record, timed.time_us)
        for text in self._texts.flush(before_us=batch.time_us - TORN_US):
            updates += self._text(text, batch.time_us)
        updates += self._told(
            lambda untold: (
                bool(untold.event.where or untold.event.what)
                or batch.time_us - untold.arrived_us >= EVENT_WAIT_US
            )
        )
        self._joiner.expire(batch.time_us)
        return updates

    def _state(
        self, timed: TimedRecord, record: r.State, arrived_us: int, host_ns: int
    ) -> list[Update]:
        numbers = (record.a, record.b, record.c, record.d, record.e)
        name = self._apply.name(record.instance)
        event = Event(
            timed.time_us,
            record.instance,
            name,
            record.old,
            record.new,
            record.reason,
            numbers=numbers,
        )
        self._apply.state(event)
        self._keep(event)
        if not record.ref:
            return [event]
        self._joiner.event(event, record.ref, arrived_us)
        if event.where or event.what:
            self._apply.fault(event)
            return [event]
        self._untold.append(_Untold(event, arrived_us, host_ns))
        return []

    def _text(self, text: Text, arrived_us: int) -> list[Update]:
        if text.kind in (wire.TEXT_WHERE, wire.TEXT_WHAT) and text.ref:
            event = self._joiner.text(text, arrived_us)
            if event is not None:
                self._apply.fault(event)
            return []
        if text.kind in (wire.TEXT_LOG, wire.TEXT_ERROR):
            line = LogLine(
                text.time_us,
                text.instance,
                self._apply.name(text.instance),
                text.text,
                text.kind == wire.TEXT_ERROR,
            )
            self.model.logs.append(line)
            del self.model.logs[:-LOGS_KEPT]
            return [line]
        self._apply.text(text)
        return []

    def _keep(self, event: Event) -> Event:
        self.model.events.append(event)
        del self.model.events[:-EVENTS_KEPT]
        return event

    def _told(self, due: Callable[[_Untold], bool]) -> list[Update]:
        waiting = self._untold
        if not waiting:
            return []
        self._untold = [untold for untold in waiting if not due(untold)]
        return [untold.event for untold in waiting if due(untold)]

    def _reset(self) -> None:
        """Begin a new boot in the same model object; its history of events and lines stays."""
        fresh = BoardModel(events=self.model.events, logs=self.model.logs)
        for field in fields(BoardModel):
            setattr(self.model, field.name, getattr(fresh, field.name))
        self._apply = Applier(self.model)
        self._joiner.clear()
