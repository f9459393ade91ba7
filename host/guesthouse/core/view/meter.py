"""Bars: what is used, against a limit.

A bar's tick for the limit always stands in the last cell but one, so that the limits of a table
line up; what is over the limit shows behind the tick. A bar without a limit runs to the end of
its own scale and has no tick. Heavy and light lines keep the bar readable without colour.
"""

from __future__ import annotations

from collections.abc import Sequence

from guesthouse.core.view.line import Line, Mood

_FULL, _HALF, _REST = "━", "╸", "─"
_LIMIT, _LIMIT_PASSED = "┤", "┿"
_MARK, _MARK_PASSED = "┼", "┿"
_SPARKS = "▁▂▃▄▅▆▇█"
NEARLY = 0.85  # from this part of the limit on, a bar warns
OVER = 1.02  # a share is measured over a second and may stand a hair above its limit


def meter(
    value: float,
    limit: float | None,
    size: int,
    marks: Sequence[float] = (),
    scale: float = 1.0,
    full: Mood = Mood.GOOD,
) -> Line:
    """``value`` as a bar of ``size`` cells.

    ``limit`` and ``marks`` (a reservation, a soft limit) become ticks; all are in the unit of
    ``value``. Without a limit the bar ends at ``scale``. ``full`` is the mood of a bar well below
    its limit.
    """
    if size < 3:
        return [("", full)]
    room = size - 2 if limit is not None else size - 1
    top = limit if limit else scale
    over = limit is not None and value > limit * OVER
    halves = round(min(1.0, value / top) * room * 2) if top > 0 else 0
    if value > 0 and halves == 0:
        halves = 1  # a little is not nothing
    if over:
        mood = Mood.BAD
    elif limit is not None and top > 0 and value >= top * NEARLY:
        mood = Mood.WARN
    else:
        mood = full
    filled, half = divmod(halves, 2)
    bar = [_FULL] * filled + [_HALF] * half + [_REST] * (room - filled - half)
    ticks = set()
    for mark in marks:
        if 0 < mark < top:
            cell = min(room - 1, int(mark / top * room))
            bar[cell] = _MARK_PASSED if cell < filled + half else _MARK
            ticks.add(cell)
    line: Line = []
    used = filled + half
    for start, stop, part in ((0, used, mood), (used, room, Mood.TRACK)):
        for cell in range(start, stop):
            this = Mood.PLAIN if cell in ticks and part is Mood.TRACK else part
            if line and line[-1][1] is this:
                line[-1] = (line[-1][0] + bar[cell], this)
            else:
                line.append((bar[cell], this))
    if limit is None:
        line.append((" ", Mood.PLAIN))
    elif over:
        line.append((_LIMIT_PASSED + _FULL, Mood.BAD))
    else:
        line.append((_LIMIT + " ", Mood.PLAIN))
    return line


def sparkline(values: Sequence[float], top: float, size: int) -> str:
    """The last ``size`` values as blocks of one cell, the newest at the right; ``top`` is full."""
    if size <= 0:
        return ""
    recent = values[-size:]
    steps = len(_SPARKS)
    sparks = "".join(
        " " if value <= 0 else _SPARKS[min(steps - 1, int(value / top * steps))] if top > 0 else " "
        for value in recent
    )
    return sparks.rjust(size)
