"""The demo in words: the story as it happens, a table at the end, and what it all came to."""

from __future__ import annotations

from collections.abc import Sequence

from guesthouse.core import sentences
from guesthouse.core.model import Event
from guesthouse.core.tracker import Update
from guesthouse.core.units import fmt_bytes, fmt_share, fmt_us
from guesthouse.core.view.line import clean
from guesthouse.core.view.story import Entry, Story
from guesthouse.demo.folders import CONTROL
from guesthouse.demo.plain import PlainRun
from guesthouse.measure.account import Account, GuestAccount

# What everybody expects at the beginning.
_EXPECTED = frozenset({"start", "loaded", "deployed"})
_MUCH_STOLEN = 0.005  # of the time: a period of 10 ms in two seconds


class Teller:
    """Makes lines of what the line brings. ``began_us`` is the board's time at which to begin."""

    def __init__(self, began_us: int) -> None:
        self._began_us = began_us
        self._story = Story()

    def lines(self, updates: Sequence[Update]) -> list[str]:
        """The lines for what came in one go; a fault and the backoff behind it are one."""
        fresh: dict[int, tuple[int, str, Entry]] = {}
        late: list[tuple[int, str]] = []
        for update in updates:
            if not isinstance(update, Event) or sentences.key(update.reason) in _EXPECTED:
                continue
            told = self._story.told
            entry = self._story.tell(update)
            if entry is None:
                continue
            if self._story.told > told:
                fresh[id(entry)] = (update.time_us, sentences.subject(update), entry)
            elif id(entry) not in fresh:
                late.append((update.time_us, sentences.sentence(update)))
        lines = [(us, f"{name} {entry.text}") for us, name, entry in fresh.values()] + late
        return [f"{self._clock(us)}  {clean(text)}" for us, text in sorted(lines)]

    def _clock(self, us: int) -> str:
        return f"{max(0, us - self._began_us) / 1e6:7.3f} s"


def table(account: Account) -> str:
    """The guests, a line each, over the time of the account."""
    rows = [("GUEST", "CPU", "MAX", "THROTTLED", "MEMORY", "MAX", "KILLS", "FAILED", "LAST FAULT")]
    for one in account.guests:
        guest, used = one.guest, one.used
        fault = guest.last_fault
        if fault and guest.last_where:
            fault += f" at {sentences.place(guest.last_where)}"
        rows.append(
            (
                guest.name,
                fmt_share(account.share(used.cpu_us)),
                fmt_share(guest.cpu_max),
                fmt_us(used.throttled_us) if used.throttled_us else "-",
                ("" if guest.mem_exact else "~") + fmt_bytes(guest.mem_live),
                fmt_bytes(guest.mem_max),
                str(used.kills),
                str(used.failures),
                clean(fault) or "-",
            )
        )
    return align(rows, left=(0, 8))


def closing(account: Account) -> str:
    """What happened, in a paragraph."""
    parts = [f"In {fmt_us(account.elapsed_us)}:"]
    control = account.find(CONTROL)
    if control is not None:
        parts.append(_control(control, account))
    parts += [told for one in account.guests if (told := _trouble(one, account))]
    parts.append(_time(account))
    return "\n".join(parts[:1] + [f"- {part}" for part in parts[1:]])


def side_by_side(plain: PlainRun, account: Account) -> str:
    """The same guests under plain asyncio and here."""
    control = account.find(CONTROL)
    loop = (control.loop if control else None) or {}
    kills = sum(one.used.kills for one in account.guests)
    rows = [
        ("", "PLAIN ASYNCIO", "GUESTHOUSE"),
        ("watched", fmt_us(plain.watched_ms * 1000), fmt_us(account.elapsed_us)),
        (
            "control loop's releases",
            f"{plain.releases} of {plain.due}",
            f"{loop.get('releases', 0)}, {loop.get('missed', 0)} missed",
        ),
        (
            "it stood still for",
            fmt_us(plain.silent_ms * 1000) + (", for ever" if plain.frozen else ""),
            f"{fmt_us(loop.get('lateness_max_us', 0))} at worst",
        ),
        ("the guest that hung", _hung_plain(plain), f"stopped; {kills} kills in all"),
    ]
    return align(rows, left=(0, 1, 2))


def freeze(plain: PlainRun) -> str:
    """What came of it under plain asyncio, in a sentence or two."""
    if not plain.frozen:
        return f"the loop still ran after {fmt_us(plain.watched_ms * 1000)}"
    cause = ""
    if plain.last_line_ms is not None and plain.last_tick_ms is not None:
        gap = plain.last_line_ms - plain.last_tick_ms
        cause = f", {gap} ms before a program said {plain.last_line!r} and never gave way again"
    return (
        f"frozen: the control loop's last tick was at {(plain.last_tick_ms or 0) / 1000:.3f} s"
        f"{cause}. {plain.releases} of {plain.due} releases came; nothing has moved for "
        f"{fmt_us(plain.silent_ms * 1000)}, so it was ended from outside."
    )


def align(rows: Sequence[Sequence[str]], left: Sequence[int]) -> str:
    """Columns as wide as they need to be; those in ``left`` begin at the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index in left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _control(control: GuestAccount, account: Account) -> str:
    loop = control.loop
    if loop is None:
        return f"{control.guest.name} has not told its counts yet"
    stolen = ""
    if loop["missed"] and account.share(account.steal_us) > _MUCH_STOLEN:
        stolen = (
            f". The board shares this machine: other programs took {fmt_us(account.steal_us)} away "
            "from it, and no scheduler on it can give them back"
        )
    return (
        f"the control loop was released {loop['releases']} times and completed "
        f"{loop['completions']} in time; it missed {loop['missed'] or 'nothing'}. "
        f"It began {fmt_us(loop['lateness_max_us'])} late at worst, "
        f"{fmt_us(loop['lateness_p99_us'])} at the 99th percentile{stolen}"
    )


def _trouble(one: GuestAccount, account: Account) -> str:
    """What a guest did that it should not, and what became of it; empty for the good ones."""
    guest, used = one.guest, one.used
    where = sentences.place(guest.last_where)
    at = f", at {where}" if where else ""
    if used.kills:
        why = {
            "overrun": f"for not giving way within {fmt_us(guest.slice_max_us)}",
            "oom": f"for taking more than its {fmt_bytes(guest.mem_max)} of memory",
        }.get(sentences.key(guest.last_fault), f"({guest.last_fault})" if guest.last_fault else "")
        longest = f"; its longest slice was {fmt_us(guest.longest_slice_us)}"
        tail = longest if used.overruns else ""
        return f"{guest.name} was killed {_times(used.kills)} {why}".rstrip() + f"{at}{tail}"
    if used.failures:
        what = f" ({clean(guest.last_what)})" if guest.last_what else ""
        return f"{guest.name} failed {_times(used.failures)}{at}{what}"
    if used.throttled_us > account.elapsed_us // 10 and guest.cpu_max is not None:
        return (
            f"{guest.name} got {fmt_share(account.share(used.cpu_us))} of the CPU; its limit is "
            f"{fmt_share(guest.cpu_max)}, and it was throttled for {fmt_us(used.throttled_us)}"
        )
    return ""


def _time(account: Account) -> str:
    shares = [
        f"guests {fmt_share(account.share(account.guests_us))}",
        f"agent {fmt_share(account.share(account.agent_us))}",
        f"idle {fmt_share(account.share(account.idle_us))}",
        f"taken by other programs of this machine {fmt_share(account.share(account.steal_us))}",
        f"unaccounted {account.unaccounted_us} us",
    ]
    return "the time: " + ", ".join(shares)


def _hung_plain(plain: PlainRun) -> str:
    return "holds the CPU until the process is killed" if plain.frozen else "-"


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")
