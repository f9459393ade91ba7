"""The board in three lines: who it is, what its CPU is promised, where time and heap go."""

from __future__ import annotations

from guesthouse.core.model import BoardModel
from guesthouse.core.units import fmt_us
from guesthouse.core.view.figures import Shares, short_bytes, short_share
from guesthouse.core.view.line import Line, Mood, clean, fit, join
from guesthouse.core.view.line import width as width_of
from guesthouse.core.view.meter import meter

_DOT = (" · ", Mood.DIM)


def identity(model: BoardModel, link: Line, size: int) -> Line:
    """Board, firmware, agent, uptime; the state of the link at the right end."""
    parts: list[Line] = [[(clean(model.board) or "no board yet", Mood.STRONG)]]
    if model.firmware:
        parts.append([(clean(model.firmware), Mood.PLAIN)])
    if model.agent:
        parts.append([(f"agent {clean(model.agent)}", Mood.PLAIN)])
    uptime: Line = [(f"up {fmt_us(_whole_seconds(model.elapsed_us))}", Mood.PLAIN)]
    if model.elapsed_us:
        parts.append(uptime)
    room = size - width_of(link) - 2
    # The uptime moves and is looked at; the agent's version and the firmware are not.
    for expendable in (2, 1):
        if width_of(join(parts, _DOT)) > room and len(parts) > expendable + 1:
            del parts[expendable]
    line = fit(join(parts, _DOT), max(0, room))
    return fit([*line, ("  ", Mood.PLAIN), *link], size)


def _whole_seconds(us: int) -> int:
    return us // 1_000_000 * 1_000_000 if us >= 1_000_000 else us


def capacity(model: BoardModel, shares: Shares | None, size: int) -> Line:
    """The CPU: reserved and limited of what may be, used by guests and agent; as much as fits."""
    room = model.cpu_capacity
    reserved, limits = model.cpu_reserved, model.cpu_limits
    # The limits and what is used stand in whole percents: all of it then fits into 80 columns.
    parts: list[tuple[int, Line]] = [
        (0, [("cpu ", Mood.DIM), *_of("reserved", short_share(reserved), reserved, room)]),
        (2, _of("limits", f"{limits:.0%}", limits, model.oversubscription_cpu)),
    ]
    if shares is not None:
        agent = shares.agent
        kept = None if room is None else 1 - room
        parts.append((1, _of("used", f"{shares.guests:.0%}", shares.guests, None)))
        parts.append((3, _of("agent", short_share(agent), agent, kept)))
    return _fitting(parts, size)


def _of(name: str, figure: str, share: float, most: float | None) -> Line:
    """``reserved 10.0% of 90%``: more than there is stands out."""
    if most is None:
        return [(f"{name} ", Mood.DIM), (figure, Mood.PLAIN)]
    mood = Mood.WARN if share > most + 1e-6 else Mood.PLAIN
    return [(f"{name} ", Mood.DIM), (figure, mood), (f" of {most:.0%}", Mood.DIM)]


def account(model: BoardModel, shares: Shares | None, size: int) -> Line:
    """The heap, the time that nobody used, and what was lost; as much of it as fits."""
    bar = 12 if size >= 110 else 6
    heap: Line = [("heap ", Mood.DIM)]
    if model.heap_bytes:
        heap += meter(model.heap_used, model.heap_bytes, bar)
        heap.append((f"{short_bytes(model.heap_used)}/{short_bytes(model.heap_bytes)}", Mood.PLAIN))
    else:
        heap.append(("?", Mood.PLAIN))
    lost = model.missed
    dropped = sum(model.dropped.values())
    parts: list[tuple[int, Line]] = [(0, heap)]
    if shares is not None:
        parts.append((2, _share("idle", shares.idle, Mood.PLAIN)))
        parts.append((3, _share("steal", shares.steal, Mood.PLAIN)))
    parts.append((1, _count("lost", lost)))
    parts.append((1, _count("dropped", dropped)))
    if model.collections:
        longest = f"{model.collections} (longest {fmt_us(model.longest_collection_us)})"
        parts.append((6, [("collections ", Mood.DIM), (longest, Mood.PLAIN)]))
    if model.heap_largest_free:
        free = short_bytes(model.heap_largest_free)
        parts.append((5, [("largest free ", Mood.DIM), (free, Mood.PLAIN)]))
    broken = [name for name, verdict in model.mechanisms.items() if verdict != "ok"]
    if broken:
        parts.append((2, [(f"not ok: {clean(', '.join(broken))}", Mood.WARN)]))
    return _fitting(parts, size)


def _fitting(parts: list[tuple[int, Line]], size: int) -> Line:
    """The parts side by side, without those of the highest numbers that have no room; 0 and 1 are
    cut rather than left out."""
    for limit in range(max(order for order, _ in parts), 1, -1):
        line = join([part for order, part in parts if order <= limit], _DOT)
        if width_of(line) <= size:
            return fit(line, size)
    return fit(join([part for order, part in parts if order <= 1], _DOT), size)


def _share(name: str, share: float, mood: Mood) -> Line:
    return [(f"{name} ", Mood.DIM), (short_share(share), mood)]


def _count(name: str, count: int) -> Line:
    return [(f"{name} ", Mood.DIM), (str(count), Mood.WARN if count else Mood.PLAIN)]
