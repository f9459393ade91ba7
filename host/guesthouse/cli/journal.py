"""The board's journal: the few events that outlived a reset or a power cut, for ``why``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from guesthouse.core import wire
from guesthouse.core.units import fmt_us
from guesthouse.core.view.line import clean

if TYPE_CHECKING:
    from guesthouse.link.client import Client

_AGENT_FAULTS = {
    "watchdog": "the agent hung, and the watchdog reset the board",
    "fault": "the agent ended with an error",
}
_WORDS = {
    "escalated": "held the processor in a call that nothing can interrupt; the board was reset",
    "too-many-failures": "was quarantined after too many failures",
    "unclean-boot": "the board was reset while guests ran, and nobody had asked for it",
    "agent-fault": "a fault inside the agent",
}


def fetch_journal(client: Client) -> dict[str, Any]:
    """The whole journal, oldest event first: ``events``, and whether it was ``damaged``."""
    events: list[Any] = []
    while True:
        page = client.command(wire.VERB_JOURNAL, {"from": len(events)})
        found = page.get("events")
        if not isinstance(found, Sequence) or not found:
            return {"events": events, "damaged": bool(page.get("damaged"))}
        events += found


def render_journal(journal: Mapping[str, Any], boot: int | None) -> str:
    """The journal in words, newest event first; ``boot`` is the board's present one."""
    lines = ["the journal was damaged: what was in it is lost"] if journal.get("damaged") else []
    lines += [_line(event, boot) for event in reversed(journal.get("events", []))]
    return "\n".join(lines or ["nothing in the board's journal"]) + "\n"


def _line(event: Mapping[str, Any], boot: int | None) -> str:
    guest, reason = str(event.get("guest", "")), str(event.get("reason", ""))
    words = _WORDS.get(reason, reason)
    if reason == "agent-fault":
        words = _AGENT_FAULTS.get(str(event.get("reset", "")), words)
    if reason == "escalated" and not guest:
        guest = "a guest that is gone"
    count = event.get("count", 1)
    times = f" ({count} times)" if isinstance(count, int) and count > 1 else ""
    return clean(f"{_when(event, boot):<22}{f'{guest} ' if guest else ''}{words}{times}")


def _when(event: Mapping[str, Any], boot: int | None) -> str:
    """``this boot, 4 s``, or the number that recordings call the boot by."""
    number, second = event.get("boot"), event.get("s")
    which = "this boot" if number == boot else f"boot {number:06x}" if number else "boot ?"
    return f"{which}, {fmt_us((second or 0) * 1_000_000)}"
