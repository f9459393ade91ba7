"""The states of an instance as a reader sees them: a glyph that needs no colour, and a mood."""

from __future__ import annotations

from guesthouse.core.view.line import Mood

_STATES: dict[str, tuple[str, Mood]] = {
    "loading": ("◌", Mood.ACCENT),
    "ready": ("●", Mood.GOOD),
    "running": ("●", Mood.GOOD),
    "waiting": ("○", Mood.GOOD),
    "throttled": ("◐", Mood.WARN),
    "suspended": ("‖", Mood.WARN),
    "stopped": ("■", Mood.OFF),
    "exited": ("□", Mood.OFF),
    "failed": ("✗", Mood.BAD),
    "killed": ("†", Mood.BAD),
    "backoff": ("↻", Mood.WARN),
    "quarantined": ("⊘", Mood.BAD),
}
_BOARD = {"booted": ("»", Mood.ACCENT)}  # what events of the board itself say
_ALL = _STATES | _BOARD

# What a stopped guest is, as seen by whoever wants to start it.
_ENDED = frozenset({"stopped", "exited", "failed", "killed", "backoff", "quarantined"})

LEGEND = tuple((glyph, name, mood) for name, (glyph, mood) in _STATES.items())


def glyph(state: str) -> str:
    """One cell that tells the state without colour; ``?`` for a state this host does not know."""
    return _ALL.get(state, ("?", Mood.PLAIN))[0]


def mood(state: str) -> Mood:
    """How good the state is."""
    return _ALL.get(state, ("?", Mood.PLAIN))[1]


def phrase(state: str) -> str:
    """What stands behind "is": ``waiting``, ``in backoff``."""
    return "in backoff" if state == "backoff" else state


def ended(state: str) -> bool:
    """Whether the instance does not run and would be helped by a start."""
    return state in _ENDED
