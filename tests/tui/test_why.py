"""What the monitor tells of a guest's quotas, and whether they held."""

from __future__ import annotations

from dataclasses import replace

from guesthouse.core.model import InstanceModel
from guesthouse.core.view.line import NO_BREAK
from guesthouse.tui.why import explain

GUEST = InstanceModel(2, "loop.0", cpu_min_us=1_000, cpu_min_period_us=10_000, mem_high=8_192)


def told(guest: InstanceModel) -> str:
    spans = (span for paragraph in explain(guest, (), (), ()) for span in paragraph.spans)
    return "".join(text for text, _ in spans).replace(NO_BREAK, " ")


def test_promises_that_did_not_hold_are_told() -> None:
    """A missed reservation, late wake-ups, and memory above its soft limit."""
    waits = (980, 0, 12, 7, *[0] * 7, 1)
    text = told(replace(GUEST, breaches=3, wakeups=waits, mem_above_high=True))
    assert "missed 3 deadlines" in text
    assert "99 % of wake-ups below 512 us" in text
    assert "above its high" in text


def test_nothing_is_said_of_what_is_not_known() -> None:
    """It has not woken yet, or waited longer than is told apart."""
    for waits in ((0,) * 12, (*[0] * 11, 5)):
        text = told(replace(GUEST, wakeups=waits))
        assert "wake-ups" not in text and "missed" not in text and "above" not in text


def test_a_guest_that_runs_again_is_not_called_throttled() -> None:
    assert told(replace(GUEST, state="waiting", reason="throttled")).startswith("○ waitingcpu")
