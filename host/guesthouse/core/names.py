"""Names for the wire's numbers, taken from its constants: REASON_LOAD_OVERRUN is "load-overrun".

Nothing here lists them again, so a state or a reason added to the wire has its name at once. A
number that this version of the wire does not know is shown as such, never hidden.
"""

from __future__ import annotations

from collections.abc import Mapping

from guesthouse.core import wire


def _names(prefix: str, but: frozenset[str] = frozenset()) -> Mapping[int, str]:
    return {
        value: name.removeprefix(prefix).lower().replace("_", "-")
        for name, value in vars(wire).items()
        if name.startswith(prefix) and isinstance(value, int) and name not in but
    }


STATES = _names("STATE_")
REASONS = _names("REASON_")
VERBS = _names("VERB_")
STATUSES = _names("STATUS_")
CLASSES = _names("CLASS_")
RESTARTS = _names("RESTART_")
RESETS = _names("RESET_")
BLACKOUTS = _names("BLACKOUT_")
RECORDS = _names("RECORD_", frozenset({"RECORD_SIZE", "RECORD_HEADER_SIZE"}))
TEXTS = _names("TEXT_", frozenset({"TEXT_SIZE", "TEXT_CHUNKS"}))

SUSPENDED = STATES[wire.STATE_SUSPENDED]

# What makes a guest's last fault: it was stopped, or fell, rather than ended.
FAULTS = frozenset(
    REASONS[reason]
    for reason in (
        wire.REASON_OVERRUN,
        wire.REASON_LOAD_OVERRUN,
        wire.REASON_OOM,
        wire.REASON_EXCEPTION,
        wire.REASON_KILL,
        wire.REASON_SYNTAX,
        wire.REASON_NO_MAIN,
        wire.REASON_DEADLOCK,
        wire.REASON_ESCALATED,
        wire.REASON_AGENT_FAULT,
        wire.REASON_HEAP_FULL,
        wire.REASON_EVICTED,
        wire.REASON_STRAYS,
        wire.REASON_BAD_IMAGE,
    )
)


def state_name(number: int) -> str:
    return STATES.get(number, f"state-{number}")


def reason_name(number: int) -> str:
    return REASONS.get(number, f"reason-{number}")


def restart_name(number: int) -> str:
    return RESTARTS.get(number, f"restart-{number}")


def reset_name(number: int) -> str:
    return RESETS.get(number, f"reset-{number}")


def blackout_name(number: int) -> str:
    return BLACKOUTS.get(number, f"blackout-{number}")
