"""The board as text: one screen for ``top``, a table for ``ps``, an explanation for ``why``.

Nothing here knows a terminal or imports Textual; the text is for pipes and small screens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from guesthouse.core.model import BoardModel, InstanceModel
from guesthouse.core.names import FAULTS, SUSPENDED
from guesthouse.core.sentences import in_the_way
from guesthouse.core.units import fmt_bytes, fmt_share, fmt_us
from guesthouse.core.view import header, states, table
from guesthouse.core.view.figures import Times, clock, short_bytes
from guesthouse.core.view.history import History
from guesthouse.core.view.line import Mood, clean, cut, pad, plain
from guesthouse.core.view.story import Story, name_of

_ASCII = str.maketrans(
    {
        "━": "=", "╸": "=", "─": "-", "┤": "|", "┿": "#", "┼": "+", "·": ".", "…": "~", "†": "x",
        "●": "*", "○": "o", "◌": ".", "◐": "%", "‖": "=", "■": "#", "□": "-", "✗": "X", "↻": "@",
        "⊘": "!", "▁": ".", "▂": ".", "▃": ":", "▄": ":", "▅": "|", "▆": "|", "▇": "#", "█": "#",
    }
)  # fmt: skip


def to_ascii(text: str) -> str:
    """``text`` for an output that cannot encode line drawing; one character stays one character."""
    return text.translate(_ASCII).encode("ascii", "replace").decode("ascii")


def render_top(
    model: BoardModel,
    width: int = 80,
    height: int = 24,
    history: History | None = None,
    link: str = "",
) -> str:
    """One screen: the board, its guests, and the last events in what room is left.

    With a ``history`` the board's shares are those of the last second, without those since boot.
    Lines are at most ``width`` cells wide and end without spaces; there are at most ``height``.
    """
    shares = history.shares if history and history.shares else Times.of(model).shares()
    lines = [
        plain(header.identity(model, [(link, Mood.PLAIN)], width)),
        plain(header.capacity(model, shares, width)),
        plain(header.account(model, shares, width)),
        "",
    ]
    guests = sorted(model.instances.values(), key=lambda guest: guest.id)
    layout = table.lay_out(width, [guest.name for guest in guests], history is not None)
    room = height - len(lines) - 1
    lines.append(plain(table.heading(layout)))
    shown = guests if len(guests) <= room else guests[: max(0, room - 1)]
    for guest in shown:
        cpu = history.cpu(guest.id) if history else ()
        lines.append(plain(table.row_line(table.Row(guest, model.heap_bytes, cpu), layout)))
    if len(shown) < len(guests):
        lines.append(cut(f"and {len(guests) - len(shown)} more: make the window higher", width))
    elif not guests:
        lines.append(cut("no guests: `guesthouse run main.py` starts one", width))
    story = Story()
    for event in model.events:
        story.tell(event)
    space = height - len(lines) - 1
    if space > 0 and story.entries:
        lines.append("")
        for entry in list(story.entries)[-space:]:
            told = f"{clock(entry.time_us):>10}  {name_of(entry, model)} {entry.words()}"
            lines.append(cut(clean(told), width))
    return "\n".join(line.rstrip() for line in lines[:height]) + "\n"


def render_ps(model: BoardModel) -> str:
    """The guests and their quotas in a table, one line each, as wide as it needs to be."""
    heads = (
        "NAME",
        "STATE",
        "CPU",
        "LIMIT",
        "MIN",
        "MEM",
        "MAX",
        "RESTARTS",
        "TRUST",
        "LAST FAULT",
    )
    rows = [_ps_row(guest) for guest in sorted(model.instances.values(), key=lambda g: g.id)]
    sizes = [
        max(len(head), *(len(row[index]) for row in rows), 0) if rows else len(head)
        for index, head in enumerate(heads)
    ]
    right = {2, 3, 4, 5, 6, 7}
    lines = [
        "  ".join(pad(text, size, index in right) for index, (text, size) in enumerate(pairs))
        for pairs in (list(zip(row, sizes, strict=True)) for row in (heads, *rows))
    ]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _ps_row(guest: InstanceModel) -> tuple[str, ...]:
    reservation = "-"
    if guest.cpu_min_us is not None and guest.cpu_min_period_us:
        reservation = f"{fmt_us(guest.cpu_min_us)}/{fmt_us(guest.cpu_min_period_us)}"
    reservation = reservation.replace(" ", "")
    return (
        clean(guest.name),
        guest.state,
        fmt_share(guest.cpu_share),
        fmt_share(guest.cpu_max),
        reservation,
        ("" if guest.mem_exact else "~") + short_bytes(guest.mem_live),
        short_bytes(guest.mem_max) or "-",
        str(guest.restarts),
        "confined" if guest.confined else "own",
        table.last_fault(guest) or "-",
    )


def render_why(reply: Mapping[str, object]) -> str:
    """The board's answer to WHY in words: state, reason, call chain, quotas, last lines.

    Keys that this host does not know are shown as they are, and missing ones left out: the agent
    on the board may be older or newer.
    """
    name = _text(reply, "name") or "guest"
    state = _text(reply, "state")
    reason = _text(reply, "reason")
    lines = [f"{states.glyph(state)} {name} is {states.phrase(state) or 'in an unknown state'}"]
    # Nobody writes down when a budget was used up, or that there is a new one.
    if reason == "throttled":
        reason = ""
    if reason and reason != "none":
        at = _number(reply, "at_s")
        since = f", {fmt_us(at * 1_000_000)} after boot" if at else ""
        # The board keeps the last fault over a restart: then it is not why the guest runs.
        past = reason in FAULTS and not states.ended(state) and state != SUSPENDED
        lines.append(_labelled("last fault" if past else "because", f"{reason}{since}"))
    if what := _text(reply, "what"):
        lines.append(_labelled("what", what))
    for index, frame in enumerate(filter(None, _text(reply, "where").split(" < "))):
        lines.append(_labelled("at" if not index else "called by", frame))
    for section in ("limits", "used"):
        values = reply.get(section)
        if isinstance(values, Mapping) and values:
            pairs = [_figure(str(key), value) for key, value in _quota(values).items()]
            lines += _flow(section, [pair for pair in pairs if pair])
    breach = reply.get("breach")
    if isinstance(breach, Mapping):
        lines.append(_labelled("reserved", _breach(breach)))
    logs = reply.get("logs")
    if isinstance(logs, Sequence) and not isinstance(logs, str) and logs:
        lines.append(_labelled("said last", clean(str(logs[0]))))
        lines += [_labelled("", clean(str(line))) for line in logs[1:]]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _breach(breach: Mapping[str, object]) -> str:
    """``3 deadlines missed, the last by 1.6 ms: a collection of 17 ms for hog.0``."""
    count = _number(breach, "count") or 0
    missed = f"{count} deadline{'' if count == 1 else 's'} missed"
    by = fmt_us(_number(breach, "missing_us"))
    way = in_the_way(_text(breach, "cause"), _number(breach, "length_us"), _text(breach, "by"))
    return f"{missed}, the last by {by}: {way}"


def _quota(values: Mapping[object, object]) -> dict[object, object]:
    """Limits or figures in the order in which they are told: the board tells them in none.

    A budget and its period are one figure, ``cpu: 20.0% (20 ms every 100 ms)``; what every guest
    has that asks for nothing is left out.
    """
    left = dict(values)
    least_every = left.pop("cpu_min_period_us", None) or left.get("cpu_period_us")
    merged: dict[object, object] = {}
    for name, key, period in (
        ("cpu", "cpu_max_us", left.pop("cpu_period_us", None)),
        ("reserved", "cpu_min_us", least_every),
    ):
        budget = left.pop(key, None)
        if isinstance(budget, int) and isinstance(period, int) and period > 0:
            share = fmt_share(budget / period)
            merged[name] = f"{share} ({fmt_us(budget)} every {fmt_us(period)})"
        elif budget is not None:
            merged[key] = budget
    for key, plain_value in (("weight", 100), ("on_overrun", "kill")):
        if left.get(key) == plain_value:
            del left[key]
    return merged | {key: left.pop(key) for key in _ORDER if key in left} | left


_ORDER = (
    *("weight", "slice_max_us", "on_overrun", "mem_min", "mem_high", "mem_max"),
    *("cpu_ms", "longest_us", "mem_live", "overruns", "kills", "failures", "restarts"),
)


_LABEL = 11


def _labelled(label: str, text: str) -> str:
    return f"  {label:<{_LABEL}}{text}"


def _flow(label: str, parts: list[str], size: int = 78) -> list[str]:
    """The parts behind a label, on as many lines as they need."""
    lines: list[str] = []
    current = ""
    for part in parts:
        joined = f"{current} · {part}" if current else part
        if current and len(joined) + _LABEL + 2 > size:
            lines.append(current)
            joined = part
        current = joined
    lines.append(current)
    return [_labelled("" if index else label, line) for index, line in enumerate(lines)]


def _text(reply: Mapping[str, object], key: str) -> str:
    value = reply.get(key)
    return clean(str(value)) if value is not None else ""


def _number(reply: Mapping[str, object], key: str) -> float | None:
    value = reply.get(key)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


_BYTES = ("mem_", "storage_", "heap", "live", "peak", "garbage", "bytes")


def _figure(key: str, value: object) -> str:
    """``cpu_max_us: 20000`` as ``cpu max 20 ms``; limits that are not set are left out."""
    if value is None:
        return ""
    words = clean(key).removesuffix("_us").removesuffix("_ms").removesuffix("_s").replace("_", " ")
    if isinstance(value, bool):
        return words if value else f"no {words}"
    if isinstance(value, (int, float)):
        if key.endswith("_us"):
            return f"{words} {fmt_us(value)}"
        if key.endswith("_ms"):
            return f"{words} {fmt_us(value * 1_000)}"
        if key.endswith("_s"):
            return f"{words} {fmt_us(value * 1_000_000)}"
        if key.startswith(_BYTES):
            return f"{words} {fmt_bytes(value)}"
    return f"{words} {clean(str(value))}"
