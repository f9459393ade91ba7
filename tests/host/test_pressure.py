"""Pressure over 10 s and 60 s from a counter that goes round."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.core import wire
from guesthouse.core.pressure import Waits
from guesthouse.core.tracker import Tracker
from tests.support import frames

S = 1_000_000


def test_there_is_none_before_two_readings() -> None:
    waits = Waits()
    assert waits.pressure(10) is None
    waits.add(S, 100)
    assert waits.pressure(10) is None


@given(st.lists(st.integers(0, 1_000), min_size=80, max_size=120), st.data())
def test_it_is_exact_whatever_is_lost(waited: list[int], data: st.DataObject) -> None:
    """Each second some ms of it; of the readings any may be lost but those at the ends."""
    total, waits = 0, Waits()
    totals = []
    for second, ms in enumerate(waited):
        total += ms
        totals.append(total)
        ends = second in (len(waited) - 1, len(waited) - 11, len(waited) - 61)
        if ends or data.draw(st.booleans()):
            waits.add(second * S, total % 0x10000)
    for window in (10, 60):
        ms = totals[-1] - totals[-1 - window]
        assert waits.pressure(window) == pytest.approx(ms / window / 1000)


def test_a_gap_in_which_the_counter_may_have_gone_round_begins_anew() -> None:
    waits = Waits()
    for second in (1, 2, 3):
        waits.add(second * S, second * 900)
    waits.add(100 * S, 10)
    assert waits.pressure(60) is None
    waits.add(101 * S, 510)
    assert waits.pressure(60) == pytest.approx(0.5)


def test_the_model_has_pressure_wakeups_and_breaches() -> None:
    agent, tracker = frames.Agent(), Tracker()
    events = []
    tracker.feed_bytes(agent.batch(0, [frames.instance(2, 0, "loop")]), 0)
    for second in range(1, 31):
        now = second * S
        records = [
            frames.mem(2, now, 100, waited_ms=65_000 + 250 * second),
            frames.wakeups(2, now, 60_000 + 1_000 * second, second),
        ]
        if second == 30:
            records.append(frames.breach(2, now, wire.BLACKOUT_COLLECT, 2, 17_000, 600, 3))
        events = tracker.feed_bytes(agent.batch(now, records), now)
    guest = tracker.model.instances[2]
    assert guest.pressure_10s == guest.pressure_60s == pytest.approx(0.25)
    assert guest.wakeups[:3] == (90_000, 30, 0)
    assert guest.wakeup_below_us(99) == 128
    assert guest.wakeup_below_us(100) == 256
    assert guest.breaches == 3
    (event,) = [one for one in events if not isinstance(one, str)]
    assert (event.reason, event.what, event.old, event.new) == (  # type: ignore[union-attr]
        *("breach", "collect by loop.0"),
        guest.state,
        guest.state,
    )
