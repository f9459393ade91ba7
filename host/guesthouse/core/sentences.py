"""One sentence for everything that happens to a guest; for the monitor, ``top``, the demo, logs."""

from __future__ import annotations

from collections.abc import Callable

from guesthouse.core.model import Event
from guesthouse.core.units import fmt_bytes, fmt_us

_NONE = 0xFFFFFFFF  # wire.NONE, wire.SATURATED: fields that hold no number
_SATURATED = 0xFFFFFFFE

# Changes of state that happen all the time and tell nobody anything.
ROUTINE = frozenset({"none", "refilled", "woken", "yielded"})


def sentence(event: Event) -> str:
    """What happened to whom, and where: ``hog.0 killed: overran its 5 ms slice (5.2 ms) at …``."""
    return f"{subject(event)} {clause(event)}"


def subject(event: Event) -> str:
    """Whom it happened to: the instance's name, or ``board`` and ``agent`` for ids 0 and 1."""
    return event.name or {0: "board", 1: "agent"}.get(event.instance, f"guest {event.instance}")


def clause(event: Event) -> str:
    """The sentence without its subject."""
    tell = _CLAUSES.get(key(event.reason))
    return tell(event) if tell else _unknown(event)


def place(where: str) -> str:
    """The innermost frame of a call chain: ``main.py:7 in spin``."""
    return where.split(" < ", 1)[0].strip()


def file_line(where: str) -> str:
    """The innermost frame's ``file:line`` alone."""
    return place(where).split(" in ", 1)[0].strip()


def routine(event: Event) -> bool:
    """Whether the event is a matter of course that a log of events leaves out."""
    return key(event.reason) in ROUTINE


def key(reason: str) -> str:
    """A reason's name in the one spelling of this module: ``too-many-failures``."""
    return reason.lower().removeprefix("reason_").replace("_", "-").replace(" ", "-")


def in_the_way(cause: str, length_us: float | None, by: str = "") -> str:
    """What a reservation was missed for: ``a collection of 17 ms for hog.0``, ``no blackout``."""
    kind = "no blackout" if cause in ("", "none") else _BLACKOUTS.get(cause, cause)
    length = f" of {fmt_us(length_us)}" if length_us else ""
    return kind + length + (f" for {by}" if by else "")


def _at(event: Event) -> str:
    where = place(event.where)
    return f" at {where}" if where else ""


def _what(event: Event) -> str:
    return f": {event.what}" if event.what else ""


def _verb(event: Event, default: str) -> str:
    """What became of the guest: the new state, where it is one in which a guest ends up."""
    ends = ("killed", "suspended", "failed", "quarantined", "exited", "stopped", "throttled")
    return event.new if event.new in ends else default


def _number(event: Event, index: int) -> int | None:
    value = event.numbers[index] if index < len(event.numbers) else _NONE
    return None if value in (_NONE, _SATURATED) else value


def _us(event: Event, index: int) -> str:
    return fmt_us(_number(event, index))


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _boot(event: Event) -> str:
    # The tracker tells a boot of the board itself as an event of instance 0.
    return "starts with the board" if event.instance else "booted"


def _loaded(event: Event) -> str:
    took = _number(event, 0)
    return f"loaded in {fmt_us(took)}" if took else "loaded"


def _overrun(event: Event) -> str:
    ran, limit, raises = _number(event, 0), _number(event, 1), _number(event, 2)
    slice_ = f"its {fmt_us(limit)} slice" if limit else "its slice"
    measured = f" ({fmt_us(ran)})" if ran else ""
    stubborn = f", ended by raise {raises}" if raises and raises > 1 else ""
    unusual = f"; {event.what}" if event.what else ""
    return f"{_verb(event, 'killed')}: overran {slice_}{measured}{_at(event)}{stubborn}{unusual}"


def _load_overrun(event: Event) -> str:
    ran, limit, raises = _number(event, 0), _number(event, 1), _number(event, 2)
    took = f"{fmt_us(ran)} on the CPU while it loaded" if ran else "too long on the CPU to load"
    allowed = f", allowed {fmt_us(limit)}" if limit else ""
    stubborn = f", ended by raise {raises}" if raises and raises > 1 else ""
    return f"{_verb(event, 'killed')}: {took}{allowed}{_at(event)}{stubborn}"


def _oom(event: Event) -> str:
    live, limit = _number(event, 0), _number(event, 1)
    of = f" of {fmt_bytes(limit)}" if limit is not None else ""
    return f"{_verb(event, 'killed')}: memory {fmt_bytes(live)}{of}{_at(event)}"


def _exception(event: Event) -> str:
    return f"{_verb(event, 'failed')}: {event.what or 'an exception'}{_at(event)}"


def _throttled(event: Event) -> str:
    over, rest = _number(event, 0), _number(event, 1)
    used = f"{fmt_us(over)} over its budget" if over else "used up its budget"
    back = f", runs again in {fmt_us(rest)}" if rest else ""
    return f"throttled: {used}{back}"


def _backoff(event: Event) -> str:
    wait, failures = _number(event, 0), _number(event, 1)
    after = f" ({_plural(failures, 'failure')} in a row)" if failures and failures > 1 else ""
    return f"{next_start(event)}{after}" if wait is not None else f"waits before it starts{after}"


def next_start(event: Event) -> str:
    """When a guest in backoff starts again: ``next start in 2 s``."""
    wait = _number(event, 0)
    return f"next start in {fmt_us((wait or 0) * 1000)}"


def _too_many(event: Event) -> str:
    failures = _number(event, 1)
    count = f"{_plural(failures, 'failure')} in a row" if failures else "too many failures in a row"
    return f"{_verb(event, 'quarantined')}: {count}{_at(event)}"


def _syntax(event: Event) -> str:
    return f"{_verb(event, 'failed')}: does not compile{_what(event)}{_at(event)}"


def _refused(event: Event) -> str:
    return f"refused: {event.what or 'does not fit beside the other guests'}"


def _heap_full(event: Event) -> str:
    held = _number(event, 0)
    part = f", it held {fmt_bytes(held)}" if held else ""
    return f"{_verb(event, 'refused')}: the heap is short{part}{_at(event)}"


def _evicted(event: Event) -> str:
    freed, over = _number(event, 0), _number(event, 1)
    above = f", it was {fmt_bytes(over)} above its memory.min" if over is not None else ""
    room = f"evicted to make room, {fmt_bytes(freed)} are free again"
    return f"{_verb(event, 'killed')}: {room}{above}{_what(event)}{_at(event)}"


def _strays(event: Event) -> str:
    left, limit = _number(event, 0), _number(event, 1)
    return (
        f"{_verb(event, 'quarantined')}: its runs have left {fmt_bytes(left)} behind that nothing "
        f"frees, {fmt_bytes(limit)} are allowed: it makes ever new names"
    )


def _fault(event: Event) -> str:
    return f"{_verb(event, 'hit')}: a fault inside the agent{_what(event)}{_at(event)}"


def _stop(event: Event) -> str:
    return "stopped on request" if event.new == "stopped" else f"{event.new}: asked to stop"


def _returned(event: Event) -> str:
    return f"{_verb(event, 'exited')}: main() returned"


def _exit(event: Event) -> str:
    return f"{_verb(event, 'exited')}: it raised SystemExit{_at(event)}"


def _escalated(event: Event) -> str:
    return f"{_verb(event, 'killed')} by the last resort: no raise could stop it{_at(event)}"


def _no_main(event: Event) -> str:
    return f"{_verb(event, 'failed')}: main.py has neither main() nor a call of asyncio.run()"


def _deadlock(event: Event) -> str:
    return f"{_verb(event, 'failed')}: none of its tasks can ever run again{_at(event)}"


def _bad_image(event: Event) -> str:
    return f"{_verb(event, 'failed')}: its image is damaged{_what(event)}"


def _breach(event: Event) -> str:
    missing, length, count = (_number(event, index) for index in range(3))
    least = f"{_us(event, 3)} in {_us(event, 4)}"
    cause, _, by = event.what.partition(" by ")
    times = f" ({_plural(count, 'deadline')} so far)" if count and count > 1 else ""
    way = in_the_way(cause, length, by)
    return f"missed its reservation of {least} by {fmt_us(missing)}: {way}{times}"


def _unknown(event: Event) -> str:
    return f"{event.new}: {event.reason}{_what(event)}{_at(event)}"


def _says(text: str) -> Callable[[Event], str]:
    return lambda event: text


_BLACKOUTS = {
    "collect": "a collection",
    "load": "a step of a load",
    "flash": "a write to the flash",
    "command": "a command",
    "stolen": "time that the machine gave to others",
}

_CLAUSES: dict[str, Callable[[Event], str]] = {
    "none": lambda event: event.new,
    "deployed": _says("deployed"),
    "boot": _boot,
    "start": _says("started on request"),
    "loaded": _loaded,
    "returned": _returned,
    "exit": _exit,
    "overrun": _overrun,
    "oom": _oom,
    "exception": _exception,
    "throttled": _throttled,
    "refilled": _says("has a new budget"),
    "stop": _stop,
    "kill": _says("killed on request"),
    "restart": _says("restarted on request"),
    "backoff": _backoff,
    "retry": _says("starts again"),
    "too-many-failures": _too_many,
    "syntax": _syntax,
    "no-main": _no_main,
    "load-overrun": _load_overrun,
    "deadlock": _deadlock,
    "removed": _says("removed"),
    "refused": _refused,
    "escalated": _escalated,
    "agent-fault": _fault,
    "heap-full": _heap_full,
    "bad-image": _bad_image,
    "woken": _says("woken"),
    "yielded": _says("yielded"),
    "safe-mode": _says("not started: the board came up without its guests"),
    "breach": _breach,
    "evicted": _evicted,
    "strays": _strays,
    "unclean-boot": lambda event: f"started again{_what(event)}",
}
