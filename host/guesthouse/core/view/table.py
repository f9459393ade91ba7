"""The table of guests: which columns fit a width, and one line for each guest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from guesthouse.core import sentences
from guesthouse.core.model import InstanceModel
from guesthouse.core.view import states
from guesthouse.core.view.figures import short_bytes, short_count, short_share, short_us
from guesthouse.core.view.line import Line, Mood, cells, clean, fit, pad
from guesthouse.core.view.meter import meter, sparkline


@dataclass(frozen=True, slots=True)
class Row:
    """A guest and what the table needs besides it."""

    guest: InstanceModel
    heap_bytes: int = 0
    cpu_history: Sequence[float] = ()


Show = Callable[[Row, int], Line]


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its cell is drawn for the width it was given, ``least`` to ``most`` cells."""

    key: str
    title: str
    least: int
    most: int
    show: Show
    right: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns that fit, in their order from left to right, with their widths in cells."""

    columns: tuple[tuple[Column, int], ...]
    width: int


def last_fault(guest: InstanceModel) -> str:
    """The last fault with its line: ``overrun main.py:7``; empty if there was none.

    The file is named from the guest's own folder: whose it is stands in the same row.
    """
    if not guest.last_fault or guest.last_fault == "none":
        return ""
    line = sentences.file_line(guest.last_where).removeprefix(f"{guest.image}/")
    return clean(f"{guest.last_fault} {line}".strip())


def _name(row: Row, size: int) -> Line:
    return [(clean(row.guest.name or f"#{row.guest.id}"), Mood.STRONG)]


def _state(row: Row, size: int) -> Line:
    state = row.guest.state
    word = "quarant." if state == "quarantined" and size < 13 else state
    return [(f"{states.glyph(state)} {word}", states.mood(state))]


def _cpu_bar(row: Row, size: int) -> Line:
    guest = row.guest
    reservation = guest.cpu_min
    return meter(
        guest.cpu_share,
        guest.cpu_max,
        size,
        marks=() if reservation is None else (reservation,),
        full=Mood.GOOD if guest.cpu_max is not None else Mood.ACCENT,
    )


def _cpu(row: Row, size: int) -> Line:
    mood = Mood.PLAIN if row.guest.cpu_share >= 0.0005 else Mood.DIM
    return [(short_share(row.guest.cpu_share), mood)]


def _mem_bar(row: Row, size: int) -> Line:
    guest = row.guest
    marks = tuple(mark for mark in (guest.mem_min, guest.mem_high) if mark)
    return meter(
        guest.mem_live,
        guest.mem_max,
        size,
        marks=marks,
        scale=row.heap_bytes,
        full=Mood.GOOD if guest.mem_max is not None else Mood.ACCENT,
    )


def _mem(row: Row, size: int) -> Line:
    guest = row.guest
    text = ("" if guest.mem_exact else "~") + short_bytes(guest.mem_live)
    if size < 12 or guest.mem_max is None:
        return [(text, Mood.PLAIN)]
    return [(text, Mood.PLAIN), (f"/{short_bytes(guest.mem_max)}", Mood.DIM)]


def _throttled(row: Row, size: int) -> Line:
    return [_counter(row.guest.throttled_us, short_us, Mood.WARN)]


def _pressure(row: Row, size: int) -> Line:
    share = row.guest.pressure
    mood = Mood.WARN if share >= 0.25 else Mood.PLAIN if share >= 0.005 else Mood.DIM
    return [(f"{share * 100:.0f}%", mood)]


def _overruns(row: Row, size: int) -> Line:
    return [_counter(row.guest.overruns, short_count, Mood.WARN)]


def _kills(row: Row, size: int) -> Line:
    return [_counter(row.guest.kills, short_count, Mood.BAD)]


def _restarts(row: Row, size: int) -> Line:
    return [_counter(row.guest.restarts, short_count, Mood.PLAIN)]


def _counter(value: int, form: Callable[[int], str], mood: Mood) -> tuple[str, Mood]:
    return (form(value), mood) if value else ("·", Mood.DIM)


def _last(row: Row, size: int) -> Line:
    fault = last_fault(row.guest)
    if not fault:
        return []
    reason, _, line = fault.partition(" ")
    if cells(fault) > size:
        reason = _SHORT_FAULTS.get(reason, reason)  # better than a cut line number
    mood = Mood.BAD if states.mood(row.guest.state) is Mood.BAD else Mood.PLAIN
    return [(reason + " ", mood), (line, Mood.ACCENT)]


_SHORT_FAULTS = {
    "exception": "raised",
    "load-overrun": "load",
    "heap-full": "heap",
    "bad-image": "image",
    "agent-fault": "agent",
}


def _history(row: Row, size: int) -> Line:
    top = row.guest.cpu_max or 1.0
    return [(sparkline(row.cpu_history, top, size), Mood.TRACK)]


_NAME = Column("name", "guest", 6, 16, _name)
_STATE = Column("state", "state", 11, 13, _state)
_CPU_BAR = Column("cpu_bar", "cpu", 8, 22, _cpu_bar)
_CPU = Column("cpu", "", 5, 5, _cpu, right=True)
_MEM_BAR = Column("mem_bar", "memory", 8, 22, _mem_bar)
_MEM = Column("mem", "", 6, 6, _mem, right=True)
_MEM_OF = Column("mem", "", 12, 12, _mem, right=True)  # with the limit, where there is room
_THROTTLED = Column("throttled", "throttled", 9, 9, _throttled, right=True)
_PRESSURE = Column("pressure", "press", 5, 5, _pressure, right=True)
_OVERRUNS = Column("overruns", "over", 4, 4, _overruns, right=True)
_KILLS = Column("kills", "kill", 4, 4, _kills, right=True)
_RESTARTS = Column("restarts", "rest", 4, 4, _restarts, right=True)
_LAST = Column("last", "last fault", 17, 40, _last)
_HISTORY = Column("history", "cpu, last minutes", 17, 60, _history)

# From left to right.
_ORDER = (
    _NAME, _STATE, _CPU_BAR, _CPU, _HISTORY, _MEM_BAR, _MEM, _THROTTLED, _PRESSURE, _OVERRUNS,
    _KILLS, _RESTARTS, _LAST,
)  # fmt: skip
# What to give up last, first.
_PRIORITY = (
    _NAME, _STATE, _CPU, _CPU_BAR, _MEM, _LAST, _MEM_BAR, _KILLS, _OVERRUNS, _RESTARTS, _THROTTLED,
    _PRESSURE, _HISTORY,
)  # fmt: skip
_ROOMY = 116  # cells
# A step of growth at a time goes round these; a repeated column grows faster.
_GROWTH = (_STATE, _STATE, _LAST, _CPU_BAR, _MEM_BAR, _LAST, _HISTORY, _HISTORY)


def lay_out(width: int, names: Iterable[str], history: bool = False) -> Layout:
    """The columns for ``width`` cells; ``names`` size the first one. One space stands between."""
    name_width = max([_NAME.least, *(min(cells(name), _NAME.most) for name in names)])
    sizes = {_NAME.key: name_width}
    left = width - name_width
    roomy = width >= _ROOMY
    for column in _PRIORITY[1:]:
        if column is _MEM and roomy:
            column = _MEM_OF
        if column is _HISTORY and not history:
            continue
        if left < column.least + 1:
            break  # the rest has to go too: a table is read by what stands where
        sizes[column.key] = column.least
        left -= column.least + 1
    growing = [column for column in _GROWTH if column.key in sizes]
    while left > 0 and growing:
        for column in list(growing):
            if sizes[column.key] >= column.most:
                growing.remove(column)
            elif left > 0:
                sizes[column.key] += 1
                left -= 1
    bars = (_CPU_BAR.key, _MEM_BAR.key)
    if all(key in sizes for key in bars) and _LAST.key in sizes:
        short = min(sizes[key] for key in bars)  # two bars of one length are easier to read
        sizes[_LAST.key] += sum(sizes[key] - short for key in bars)
        sizes.update(dict.fromkeys(bars, short))
    order = [_MEM_OF if column is _MEM and roomy else column for column in _ORDER]
    chosen = [(column, sizes[column.key]) for column in order if column.key in sizes]
    return Layout(tuple(chosen), width)


def heading(layout: Layout) -> Line:
    """The titles. A bar's title stands over the bar and its figure."""
    line: Line = []
    for column, size in layout.columns:
        if line:
            line.append((" ", Mood.DIM))
        line.append((pad(column.title, size, column.right), Mood.DIM))
    return fit(line, layout.width)


def row_line(row: Row, layout: Layout) -> Line:
    """One guest in exactly the layout's width."""
    line: Line = []
    for column, size in layout.columns:
        if line:
            line.append((" ", Mood.PLAIN))
        cell = column.show(row, size)
        taken = sum(cells(text) for text, _ in cell)
        if column.right and taken < size:
            line.append((" " * (size - taken), Mood.PLAIN))
            line.extend(cell)
        else:
            line.extend(fit(cell, size))
    return fit(line, layout.width)
