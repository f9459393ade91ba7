"""The details of one guest: what it is doing, why, and against which quotas."""

from __future__ import annotations

from collections.abc import Sequence

from guesthouse.core.model import InstanceModel, LogLine
from guesthouse.core.units import fmt_bytes, fmt_share, fmt_us
from guesthouse.core.view import states
from guesthouse.core.view.figures import clock
from guesthouse.core.view.line import (
    NO_BREAK,
    Line,
    Mood,
    clean,
    join,
    keep_figures,
    together,
    width,
)
from guesthouse.core.view.meter import sparkline
from guesthouse.core.view.story import Entry, told
from guesthouse.tui.panes import Paragraph

_LABEL = 9
_DOT = (f"{NO_BREAK}· ", Mood.DIM)
_MOST = 99  # percent of the wake-ups of which the wait is told
_GUEST_LOOPS = ("releases", "completions", "missed")


def explain(
    guest: InstanceModel,
    story: Sequence[Entry],
    logs: Sequence[LogLine],
    cpu_history: Sequence[float],
) -> list[Paragraph]:
    """The guest in paragraphs, the most telling first: a small pane shows only the top."""
    mood = states.mood(guest.state)
    head: Line = [(f"{states.glyph(guest.state)} {guest.state}", mood)]
    # The board keeps "throttled" as the reason after the guest has a budget again.
    if guest.reason not in ("", "none", "throttled", guest.state):
        head.append((f"  {clean(guest.reason)}", Mood.DIM))
    paragraphs = [Paragraph.of(head, 2)]
    if guest.last_fault and guest.last_fault != "none":
        fault: Line = [(clean(guest.last_fault), Mood.BAD)]
        if guest.last_what:
            fault.append((f": {clean(guest.last_what)}", Mood.PLAIN))
        paragraphs.append(_labelled("fault", fault))
        for index, frame in enumerate(filter(None, guest.last_where.split(" < "))):
            at, _, function = clean(frame.strip()).partition(" in ")
            line: Line = [(at, Mood.ACCENT)]
            if function:
                line.append((f" in {function}", Mood.PLAIN))
            paragraphs.append(_labelled("" if index else "at", line))
    paragraphs.append(_labelled("cpu", _cpu(guest)))
    if guest.metrics:
        paragraphs.append(_labelled("metrics", _metrics(guest)))
    paragraphs.append(_labelled("slices", _slices(guest)))
    paragraphs.append(_labelled("memory", _memory(guest)))
    paragraphs.append(_labelled("ends", _ends(guest)))
    if any(cpu_history):
        spark = sparkline(cpu_history, guest.cpu_max or 1.0, min(32, len(cpu_history)))
        paragraphs.append(_labelled("lately", [(spark, Mood.ACCENT)]))
    paragraphs.append(_labelled("runs as", _identity(guest)))
    if story:
        paragraphs.append(Paragraph.of([]))
        # The newest first: what one asks "why" about has just happened.
        paragraphs += [_event(entry) for entry in reversed(story)]
    if logs:
        paragraphs.append(Paragraph.of([]))
        paragraphs += [
            _labelled("" if index else "said", [(clean(log.text), _said(log))])
            for index, log in enumerate(logs)
        ]
    return paragraphs


def _said(log: LogLine) -> Mood:
    return Mood.BAD if log.error else Mood.PLAIN


def _labelled(label: str, line: Line) -> Paragraph:
    return Paragraph.of([(label.ljust(_LABEL, NO_BREAK), Mood.DIM), *line], _LABEL)


def _parts(parts: list[Line]) -> Line:
    # A long part held together would leave holes at the ends of the lines.
    return join([together(part) if width(part) <= 20 else _figures(part) for part in parts], _DOT)


def _figures(part: Line) -> Line:
    return [(keep_figures(text), mood) for text, mood in part]


def _cpu(guest: InstanceModel) -> Line:
    parts: list[Line] = []
    now = fmt_share(guest.cpu_share)
    if guest.cpu_max_us is None:
        parts.append([(now, Mood.STRONG), (", no limit", Mood.PLAIN)])
    else:
        period = fmt_us(guest.cpu_max_period_us)
        quota = f" of {fmt_share(guest.cpu_max)} ({fmt_us(guest.cpu_max_us)} every {period})"
        parts.append([(now, Mood.STRONG), (quota, Mood.PLAIN)])
    if guest.cpu_min_us is not None and guest.cpu_min_period_us:
        every = fmt_us(guest.cpu_min_period_us)
        parts.append([(f"reserved {fmt_us(guest.cpu_min_us)} every {every}", Mood.PLAIN)])
    if guest.breaches:
        parts.append([(f"missed {_plural(guest.breaches, 'deadline')}", Mood.WARN)])
    if guest.weight != 100:
        parts.append([(f"weight {guest.weight}", Mood.PLAIN)])
    if guest.throttled_us:
        parts.append([(f"throttled {fmt_us(guest.throttled_us)}", Mood.WARN)])
    if guest.pressure >= 0.005:
        longer = [one for one in (guest.pressure_10s, guest.pressure_60s) if one is not None]
        shares = " / ".join(fmt_share(one) for one in (guest.pressure, *longer))
        parts.append([(f"pressure {shares}", Mood.PLAIN)])
    woke_us = guest.wakeup_below_us(_MOST)
    if woke_us is not None:
        parts.append([(f"{_MOST} % of wake-ups below {fmt_us(woke_us)}", Mood.PLAIN)])
    return _parts(parts)


def _slices(guest: InstanceModel) -> Line:
    longest: Line = [(f"longest {fmt_us(guest.longest_slice_us)}", Mood.PLAIN)]
    if guest.slice_max_us:
        over = guest.longest_slice_us > guest.slice_max_us
        longest = [
            (f"longest {fmt_us(guest.longest_slice_us)}", Mood.WARN if over else Mood.PLAIN),
            (f" of {fmt_us(guest.slice_max_us)} ({guest.on_overrun})", Mood.PLAIN),
        ]
    parts = [longest, [(f"{guest.slices} run", Mood.PLAIN)]]
    if guest.overruns:
        parts.append([(_plural(guest.overruns, "overrun"), Mood.WARN)])
    return _parts(parts)


def _memory(guest: InstanceModel) -> Line:
    about = "" if guest.mem_exact else "~"
    live = f"{about}{fmt_bytes(guest.mem_live)}"
    limit = ", no limit" if guest.mem_max is None else f" of {fmt_bytes(guest.mem_max)}"
    parts: list[Line] = [[(live, Mood.STRONG), (limit, Mood.PLAIN)]]
    parts.append([(f"peak {fmt_bytes(guest.mem_peak)}", Mood.PLAIN)])
    for name, value in (("reserved", guest.mem_min), ("high", guest.mem_high)):
        if value:
            parts.append([(f"{name} {fmt_bytes(value)}", Mood.PLAIN)])
    if guest.mem_above_high:
        parts.append([("above its high", Mood.WARN)])
    parts.append([("exact" if guest.mem_exact else "estimated", Mood.DIM)])
    return _parts(parts)


def _ends(guest: InstanceModel) -> Line:
    parts: list[Line] = [
        [(_plural(guest.kills, "kill"), Mood.BAD if guest.kills else Mood.PLAIN)],
        [(_plural(guest.failures, "failure"), Mood.PLAIN)],
        [(_plural(guest.restarts, "restart"), Mood.PLAIN)],
        [(f"restarts {clean(guest.restart)}", Mood.DIM)],
    ]
    return _parts(parts)


def _metrics(guest: InstanceModel) -> Line:
    parts: list[Line] = []
    ranked = sorted(
        guest.metrics.items(),
        key=lambda item: _GUEST_LOOPS.index(item[0]) if item[0] in _GUEST_LOOPS else 99,
    )
    for name, value in ranked:
        words = clean(name.removesuffix("_us").replace("_", " "))
        figure = fmt_us(value) if name.endswith("_us") else str(value)
        mood = Mood.BAD if name == "missed" and value else Mood.STRONG
        parts.append([(f"{words} ", Mood.PLAIN), (figure, mood)])
    return _parts(parts)


def _identity(guest: InstanceModel) -> Line:
    parts = [
        "confined" if guest.confined else "own",
        f"criticality {guest.criticality}",
        "starts with the board" if guest.autostart else "started by hand",
    ]
    if guest.image:
        parts.append(f"image {clean(guest.image)} {clean(guest.digest[:8])}".strip())
    if guest.storage_max is not None:
        parts.append(f"storage {fmt_bytes(guest.storage_max)}")
    return _parts([[(part, Mood.PLAIN)] for part in parts])


def _event(entry: Entry) -> Paragraph:
    return Paragraph.of(
        [
            (f"{clock(entry.time_us):<{_LABEL}}", Mood.DIM),
            *told(entry),
        ],
        _LABEL,
    )


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
