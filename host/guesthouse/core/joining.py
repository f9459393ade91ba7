"""Events and the texts that belong to them, brought together whichever arrives first.

An event's WHERE and WHAT travel as TEXT records with the event's reference; the STATE record may
overtake them, because every class of records waits in a ring of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from guesthouse.core import wire
from guesthouse.core.model import Event
from guesthouse.core.texts import Text

# A reference is one byte and comes round again; what is further apart is of another event.
JOIN_US = 5_000_000


@dataclass(slots=True)
class _Texts:
    time_us: int
    arrived_us: int
    where: str = ""
    what: str = ""


class EventJoiner:
    """Feed it events and WHERE and WHAT texts; it completes the events in place.

    ``arrived_us`` is the board time of the batch that brought the piece; ``expire`` forgets what
    has waited longer than JOIN_US, so that a lost partner costs neither memory nor a wrong pair.
    """

    def __init__(self) -> None:
        self._texts: dict[tuple[int, int], _Texts] = {}
        self._events: dict[tuple[int, int], tuple[Event, int]] = {}

    def event(self, event: Event, ref: int, arrived_us: int) -> None:
        """Give the event the texts that came before it, and remember it for those to come."""
        key = (event.instance, ref)
        texts = self._texts.pop(key, None)
        if texts is not None and abs(texts.time_us - event.time_us) <= JOIN_US:
            event.where, event.what = texts.where, texts.what
        self._events[key] = (event, arrived_us)

    def text(self, text: Text, arrived_us: int) -> Event | None:
        """Give the text to its event and return that; None while the event has not come."""
        key = (text.instance, text.ref)
        event, _ = self._events.get(key, (None, 0))
        target: Event | _Texts
        if event is not None and abs(event.time_us - text.time_us) <= JOIN_US:
            target = event
        else:
            waiting = self._texts.get(key)
            if waiting is None or abs(waiting.time_us - text.time_us) > JOIN_US:
                waiting = self._texts[key] = _Texts(text.time_us, arrived_us)
            target = waiting
        if text.kind == wire.TEXT_WHERE:
            target.where = text.text
        else:
            target.what = text.text
        return event if target is event else None

    def expire(self, now_us: int) -> None:
        """Forget what arrived more than JOIN_US ago."""
        for key, texts in list(self._texts.items()):
            if now_us - texts.arrived_us > JOIN_US:
                del self._texts[key]
        for key, (_, arrived_us) in list(self._events.items()):
            if now_us - arrived_us > JOIN_US:
                del self._events[key]

    def clear(self) -> None:
        """Forget everything: the board has booted and its references begin anew."""
        self._texts.clear()
        self._events.clear()
