"""The model is the board as the bytes told it, and everything new is told once."""

from __future__ import annotations

from pathlib import Path

from guesthouse.core import wire
from guesthouse.core.frames import Frame, Item
from guesthouse.core.model import BoardModel, Event, LogLine
from guesthouse.core.tracker import SILENCE_NS, Tracker, Update
from tests.support import frames as agent

GOLDEN = Path(__file__).parent.parent / "golden"
S = 1_000_000
RUNNING, KILLED, READY = wire.STATE_RUNNING, wire.STATE_KILLED, wire.STATE_READY
OVERRUN = wire.REASON_OVERRUN


class Line:
    """An agent on one end and a tracker on the other."""

    def __init__(self) -> None:
        self.agent = agent.Agent()
        self.tracker = Tracker()

    @property
    def model(self) -> BoardModel:
        return self.tracker.model

    def send(self, time_us: int, *records: bytes) -> list[Update]:
        return self.tracker.feed_bytes(self.agent.batch(time_us, records), time_us * 1_000)


def events(updates: list[Update]) -> list[Event]:
    return [update for update in updates if isinstance(update, Event)]


def test_the_golden_session_as_a_model() -> None:
    tracker = Tracker()
    updates = tracker.feed_bytes((GOLDEN / "session.bin").read_bytes(), 0) + tracker.finish()
    model = tracker.model
    assert (model.board, model.firmware, model.agent) == ("unix board", "MicroPython 1.25", "0.1.0")
    assert (model.boot_id, model.max_guests, model.trace, model.summaries) == (0xB007, 8, True, 4)
    assert model.mechanisms == {"slot": "ok"}
    assert (model.elapsed_us, model.agent_us, model.guests_us, model.idle_us) == (
        4 * S,
        200_000,
        1_600_000,
        2 * S,
    )
    assert model.unaccounted_us == 200_000
    sampler, hog = model.instances[2], model.instances[3]
    assert (sampler.name, sampler.image, sampler.state) == ("sampler.0", "sampler", "running")
    assert (sampler.cpu_max, sampler.mem_max, sampler.mem_exact) == (0.2, 32_768, True)
    assert (sampler.cpu_share, sampler.pressure) == (0.1, 0.025)
    assert sampler.metrics == {"releases": 400}
    assert sampler.digest == "12345678" + "ab" * 28
    assert (hog.overruns, hog.kills, hog.state, hog.last_fault) == (1, 1, "backoff", "overrun")
    assert hog.last_where == "hog.py:4 in spin < hog.py:9 in main"
    assert hog.last_what == "Overrun: 5 ms"
    assert [event.reason for event in events(updates)] == [
        *("loaded", "loaded", "overrun", "backoff", "breach"),
    ]
    assert events(updates)[2].numbers == (6_100, 5_000, 2, 0, 0)
    lines = [update for update in updates if isinstance(update, LogLine)]
    assert lines[0] == LogLine(999_500, 2, "sampler.0", "sample 1: mean 20.1 °C, ok")
    assert len(lines) == 4
    console = "".join(update for update in updates if isinstance(update, str))
    assert console.startswith("MPY: soft reboot\r\nconsole line 1\r\n>>> ")


def test_updates_and_model_do_not_depend_on_how_the_bytes_were_cut() -> None:
    stream = (GOLDEN / "session.bin").read_bytes()
    whole, singly = Tracker(), Tracker()
    at_once = whole.feed_bytes(stream, 0) + whole.finish()
    one_by_one = [u for b in stream for u in singly.feed_bytes(bytes([b]), 0)] + singly.finish()
    assert singly.model == whole.model
    told = [update for update in one_by_one if not isinstance(update, str)]
    assert told == [update for update in at_once if not isinstance(update, str)]


def test_cpu_share_is_that_of_the_time_between_two_summaries() -> None:
    line = Line()
    line.send(0, agent.instance(2, 0))
    line.send(10 * S, agent.cpu(2, 10 * S, 7 * S))
    assert line.model.instances[2].cpu_share == 0.0  # nothing to compare with yet
    line.send(11 * S, agent.cpu(2, 11 * S, 7 * S + 250_000))
    assert line.model.instances[2].cpu_share == 0.25
    # An announcement repeats the record a moment later: no summary, no new share.
    line.send(11 * S + 2_000, agent.cpu(2, 11 * S + 2_000, 7 * S + 252_000))
    assert line.model.instances[2].cpu_share == 0.25
    # Over a gap of lost batches it is the mean.
    line.send(15 * S, agent.cpu(2, 15 * S, 9 * S + 250_000))
    assert line.model.instances[2].cpu_share == 0.5


def test_where_and_what_may_come_before_or_after_their_state_record() -> None:
    where = agent.text(2, 5 * S, wire.TEXT_WHERE, "a.py:1 in main", 9)
    what = agent.text(2, 5 * S, wire.TEXT_WHAT, "ValueError: no", 9)
    state = agent.state(2, 5 * S, RUNNING, wire.STATE_FAILED, wire.REASON_EXCEPTION, 9)
    for order in ([*where, *what, state], [state, *where, *what], [*where, state, *what]):
        line = Line()
        line.send(0, agent.instance(2, 0))
        updates = [update for record in order for update in line.send(5 * S + 100, record)]
        updates += line.tracker.finish()
        [event] = events(updates)
        assert (event.where, event.what) == ("a.py:1 in main", "ValueError: no")
        guest = line.model.instances[2]
        assert (guest.last_where, guest.last_what) == ("a.py:1 in main", "ValueError: no")


def test_an_event_whose_texts_were_lost_is_told_without_them() -> None:
    line = Line()
    assert line.send(1 * S, agent.state(2, 1 * S, RUNNING, KILLED, OVERRUN, 3)) == []
    assert line.model.events[0].reason == "overrun"  # the model knows at once
    [event] = events(line.send(3 * S))
    assert (event.reason, event.where) == ("overrun", "")
    # The same when nothing at all comes any more.
    line.send(4 * S, agent.state(2, 4 * S, RUNNING, KILLED, OVERRUN, 4))
    assert len(events(line.tracker.feed_bytes(b"", 7 * S * 1_000))) == 1


def test_a_reference_that_comes_round_again_joins_no_old_text() -> None:
    line = Line()
    line.send(1 * S, *agent.text(2, 1 * S, wire.TEXT_WHERE, "old.py:1", 7))
    line.send(20 * S)
    updates = line.send(21 * S, agent.state(2, 21 * S, RUNNING, KILLED, OVERRUN, 7))
    updates += line.send(30 * S)
    assert [event.where for event in events(updates)] == [""]


def test_texts_that_waited_long_on_the_board_join_no_event_of_another_time() -> None:
    """A host that did not read for a while gets old and new records in one batch."""
    line = Line()
    old = agent.text(2, 1 * S, wire.TEXT_WHERE, "old.py:1", 7)
    updates = line.send(30 * S, *old, agent.state(2, 29 * S, RUNNING, KILLED, OVERRUN, 7))
    updates += line.tracker.finish()
    assert [event.where for event in events(updates)] == [""]


def test_a_late_summary_does_not_undo_a_newer_change_of_state() -> None:
    line = Line()
    line.send(0, agent.instance(2, 0))
    line.send(3 * S, agent.state(2, 2 * S + 5, RUNNING, KILLED, wire.REASON_KILL))
    line.send(3 * S, agent.cpu(2, 2 * S, 100, state=RUNNING))
    assert line.model.instances[2].state == "killed"
    line.send(4 * S, agent.cpu(2, 4 * S, 100, state=RUNNING))
    assert line.model.instances[2].state == "running"


def test_a_removed_guest_is_gone_and_its_late_records_do_not_bring_it_back() -> None:
    line = Line()
    line.send(0, agent.instance(2, 0, "hog"))
    line.send(5 * S, agent.instance(2, 4 * S, "hog", flags=wire.INSTANCE_GONE))
    assert line.model.instances == {}
    late = line.send(
        5 * S,
        agent.cpu(2, 4 * S - 10, 100),
        agent.instance(2, 4 * S - 10, "hog"),
        *agent.text(2, 4 * S - 10, wire.TEXT_LOG, "last words"),
    )
    assert line.model.instances == {}
    assert late == [LogLine(4 * S - 10, 2, "hog.0", "last words")]
    # The number may be used again.
    line.send(6 * S, agent.instance(2, 6 * S, "blinker", index=1), agent.cpu(2, 6 * S, 5))
    guest = line.model.instances[2]
    assert (guest.name, guest.cpu_us, guest.cpu_share) == ("blinker.1", 5, 0.0)


def test_a_guest_that_was_never_announced_has_a_number_for_a_name() -> None:
    line = Line()
    line.send(1 * S, agent.mem(4, 1 * S, 100))
    assert line.model.instances[4].name == "#4"
    line.send(2 * S, agent.instance(4, 2 * S, "late"))
    assert (line.model.instances[4].name, line.model.instances[4].mem_live) == ("late.0", 100)


def test_the_board_and_the_agent_are_no_guests() -> None:
    line = Line()
    line.send(1 * S, agent.cpu(wire.AGENT, 1 * S, 5), agent.mem(wire.BOARD, 1 * S, 5))
    [event] = events(line.send(1 * S, agent.state(wire.AGENT, 1 * S, 0, READY, wire.REASON_BOOT)))
    assert line.model.instances == {}
    assert event.name == "agent"


def test_a_reboot_begins_the_model_anew_and_keeps_the_history() -> None:
    line = Line()
    model = line.model
    line.send(0, agent.instance(2, 0), agent.boot(0))
    line.send(
        9 * S, agent.state(2, 9 * S, READY, RUNNING, wire.REASON_START), agent.time_more(9, 1)
    )
    line.agent = agent.Agent(boot_id=77)
    updates = line.send(1_000, agent.instance(5, 900, "new"))
    assert line.tracker.model is model
    assert list(model.instances) == [5]
    assert (model.boot_id, model.summaries, model.elapsed_us) == (77, 0, 0)
    assert [event.reason for event in events(updates)] == ["boot"]
    assert [event.reason for event in model.events] == ["start", "boot"]


def test_missed_and_dropped_stand_in_the_model() -> None:
    line = Line()
    line.send(0, agent.heap(0))
    line.agent.batch(1, [agent.heap(1)] * 5)  # lost on the line
    line.agent.dropped = [0, 0, 6, 0]
    line.send(2, agent.heap(2))
    assert line.model.missed == 5
    assert line.model.dropped["text"] == 6


def test_last_words_of_a_dead_board_come_after_a_silence() -> None:
    tracker = Tracker()
    cut = agent.Agent().batch(0, [agent.heap(0)] * 9)[:150]
    assert tracker.feed_bytes(cut + b"MemoryError: \r\n>>> ", 1_000) == []
    assert tracker.feed_bytes(b"", 1_000 + SILENCE_NS // 2) == []
    assert tracker.feed_bytes(b"", 1_000 + SILENCE_NS) == ["MemoryError: \r\n>>> "]
    assert tracker.damaged == 1


def test_a_character_split_by_a_frame_or_a_read_is_whole_in_the_console() -> None:
    tracker = Tracker()
    euro = "€".encode()
    frame = agent.reply(1)
    told = tracker.feed_bytes(euro[:1], 0) + tracker.feed_bytes(euro[1:2] + frame + euro[2:], 0)
    assert told == ["€"]


def test_replies_are_seen_by_whoever_asks() -> None:
    seen: list[Item] = []
    Tracker(on_item=seen.append).feed_bytes(b"x" + agent.reply(42), 0)
    assert [item.kind for item in seen if isinstance(item, Frame)] == [wire.FRAME_REPLY]


def test_history_is_bounded() -> None:
    line = Line()
    for second in range(60):
        now = second * S
        line.send(now, *[agent.state(2, now, RUNNING, READY, wire.REASON_YIELDED)] * 30)
    assert len(line.model.events) == 1_000
    assert line.model.events[-1].time_us == 59 * S


def test_a_host_that_attaches_later_is_told_the_last_fault() -> None:
    line = Line()
    updates = line.send(
        S,
        agent.instance(2, S, "hog", fault=OVERRUN),
        *agent.text(2, S, wire.TEXT_WHERE, "hog/main.py:4 in spin"),
        *agent.text(2, S, wire.TEXT_WHAT, "Error: no"),
    )
    guest = line.model.instances[2]
    assert guest.last_fault == "overrun"
    assert (guest.last_where, guest.last_what) == ("hog/main.py:4 in spin", "Error: no")
    assert not [event for event in events(updates) if event.instance == 2]


def test_a_guest_that_is_suspended_has_no_fault() -> None:
    """It goes on later; a kill for an overrun is one."""
    line = Line()
    line.send(S, agent.instance(2, S, "long"))
    for second, state in ((2, wire.STATE_SUSPENDED), (3, KILLED)):
        assert line.model.instances[2].last_fault == ""
        line.send(second * S, agent.state(2, second * S, RUNNING, state, OVERRUN))
    assert line.model.instances[2].last_fault == "overrun"
