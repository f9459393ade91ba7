"""The events of a board as a log worth reading: repeats are counted, consequences are joined.

A kill and the backoff that follows it are one line ("killed: memory ...; next start in 2 s"), a
guest that is throttled, suspended or late again and again is one line with a count, and matters of
course are left out.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from guesthouse.core import sentences
from guesthouse.core.model import BoardModel, Event
from guesthouse.core.names import SUSPENDED
from guesthouse.core.view import states
from guesthouse.core.view.line import Line, Mood, clean, keep_figures

_REPEATS = frozenset({"throttled", "breach"})
_STARTS = frozenset({"deployed", "boot", "start", "restart", "retry"})
# A repeat further back than this becomes a line of its own, to keep the log in the order of time.
_REACH = 40


@dataclass(slots=True, eq=False)
class Entry:
    """One line of the story: ``time_us`` is the board's time of its first event."""

    time_us: int
    instance: int
    name: str
    state: str
    text: str
    times: int = 1
    reason: str = ""
    where: str = ""
    number: int = 0

    def words(self) -> str:
        """What happened, with the count of repeats, without the name."""
        return self.text if self.times == 1 else f"{self.text} · {self.times} times since"


class Story:
    """A bounded log of entries, newest last, told event by event."""

    def __init__(self, length: int = 500) -> None:
        self.entries: deque[Entry] = deque(maxlen=length)
        self.told = 0  # entries since the beginning, those that fell off included
        self._last: dict[int, Entry] = {}

    def tell(self, event: Event) -> Entry | None:
        """Take one event in: the entry that is new or has changed, None for a matter of course."""
        if sentences.routine(event):
            return None
        reason = sentences.key(event.reason)
        last = self._last.get(event.instance)
        if last is not None and self.told - last.number <= _REACH:
            if _repeats(event, reason) and (last.reason, last.state) == (reason, event.new):
                last.times += 1
                last.text = sentences.clause(event)
                return last
            joined = _consequence(last, event, reason)
            if joined:
                last.text = f"{last.text}; {joined}"
                last.reason, last.state = reason, _state_shown(last, event)
                return last
        self.told += 1
        entry = Entry(
            event.time_us,
            event.instance,
            sentences.subject(event),
            event.new,
            sentences.clause(event),
            reason=reason,
            where=event.where,
            number=self.told,
        )
        self.entries.append(entry)
        self._last[event.instance] = entry
        return entry

    def of(self, instance: int, count: int) -> list[Entry]:
        """The last ``count`` entries of one guest, newest last."""
        found: list[Entry] = []
        for entry in reversed(self.entries):
            if entry.instance == instance:
                found.append(entry)
                if len(found) == count:
                    break
        return found[::-1]


def name_of(entry: Entry, model: BoardModel) -> str:
    """The entry's guest; one that was not announced when it happened may be known by now."""
    guest = model.instances.get(entry.instance)
    if guest is not None and guest.name and entry.name.startswith("#"):
        return guest.name
    return entry.name


def told(entry: Entry) -> Line:
    """The entry's words in moods: what became of the guest in its state's mood, the place apart."""
    words = keep_figures(clean(entry.words()))
    mood = states.mood(entry.state)
    verb, colon, rest = words.partition(":")
    line: Line = []
    if colon and mood is Mood.BAD:
        line.append((verb + colon, mood))
    else:
        rest = words
    where = keep_figures(clean(sentences.place(entry.where)))
    before, found, after = rest.partition(where) if where else (rest, "", "")
    line += [(before, Mood.PLAIN), (found, Mood.ACCENT), (after, Mood.PLAIN)]
    return [(text, mood) for text, mood in line if text]


def _repeats(event: Event, reason: str) -> bool:
    return reason in _REPEATS or event.new == SUSPENDED


def _consequence(last: Entry, event: Event, reason: str) -> str:
    """What to add to the guest's last entry when this event only finishes its sentence."""
    if reason == "backoff" and last.reason not in _STARTS and last.reason not in _REPEATS:
        return sentences.clause(event)
    if reason == "loaded" and last.reason in _STARTS:
        return sentences.clause(event)
    return ""


def _state_shown(last: Entry, event: Event) -> str:
    """A fault stays a fault in the log when the guest waits for its next start."""
    return last.state if event.new == "backoff" else event.new
