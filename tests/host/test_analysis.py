"""Each question gets the answer that can be worked out by hand from what was sent."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from guesthouse.analysis import board, cpu, faults, losses, memory, slices
from guesthouse.analysis.guests import with_guest
from guesthouse.analysis.load import Recorded, load
from guesthouse.analysis.report import analyze, report
from guesthouse.core import wire
from guesthouse.core.recording import RecordingWriter, metadata
from tests.support import frames as agent

S = 1_000_000


class Board:
    """A board whose every batch is recorded."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.agent = agent.Agent()
        self.writer = RecordingWriter(path, metadata("test"))

    def send(self, time_us: int, *records: bytes) -> None:
        self.writer.write(self.agent.batches(time_us, records), time_us * 1_000, time_us * 1_000)

    def load(self) -> Recorded:
        self.writer.close()
        return load(self.path)


@pytest.fixture
def sender(tmp_path: Path) -> Board:
    return Board(tmp_path / "r.rec")


def rows(frame: pl.LazyFrame) -> list[dict[str, Any]]:
    return frame.collect().to_dicts()


def only(values: Iterable[Any]) -> Any:
    [value] = values
    return value


def intervals_of(recorded: Recorded) -> pl.LazyFrame:
    return cpu.intervals(
        recorded.table("cpu"), recorded.table("cpu-quota"), recorded.table("instance")
    )


def test_a_number_that_is_used_again_means_another_guest(sender: Board) -> None:
    sender.send(1 * S, agent.mem(2, 1 * S, 1))  # before anything was announced
    sender.send(2 * S, agent.instance(2, 2 * S, "old"), agent.mem(2, 2 * S, 2))
    sender.send(5 * S, agent.instance(2, 4 * S, "old", flags=wire.INSTANCE_GONE))
    sender.send(6 * S, agent.instance(2, 5 * S, "new", index=1), agent.mem(2, 6 * S, 3))
    sender.send(7 * S, agent.mem(2, 5 * S - 1, 4), agent.mem(9, 7 * S, 5))  # the first one late
    recorded = sender.load()
    told = with_guest(recorded.table("mem"), recorded.table("instance"))
    names = {row["live"]: row["guest"] for row in rows(told)}
    assert names == {1: "old.0", 2: "old.0", 3: "new.1", 4: "old.0", 5: "#9"}


def test_a_number_means_another_guest_after_a_reboot(sender: Board) -> None:
    sender.send(9 * S, agent.instance(2, 9 * S, "before"), agent.mem(2, 9 * S, 1))
    sender.agent = agent.Agent(boot_id=2)
    sender.send(1 * S, agent.instance(2, 1 * S, "after"), agent.mem(2, 1 * S, 2))
    recorded = sender.load()
    told = with_guest(recorded.table("mem"), recorded.table("instance"))
    assert {(row["run"], row["guest"]) for row in rows(told)} == {(0, "before.0"), (1, "after.0")}


def test_cpu_share_against_quota(sender: Board) -> None:
    sender.send(
        0,
        agent.instance(2, 0),
        agent.cpu_quota(2, 0, max_us=20_000, min_us=1_000, min_period_us=10_000),
    )
    used = [0, 100_000, 400_000, 500_000]
    for second, cpu_us in enumerate(used, start=1):
        throttled = 50_000 * second
        sender.send(second * S, agent.cpu(2, second * S, cpu_us, throttled, 10 * second, 5_000))
    sender.send(4 * S + 10, agent.cpu(2, 4 * S + 10, 500_005, 200_000, 40, 5_000))  # announced anew
    share = only(rows(cpu.shares(intervals_of(sender.load()))))
    assert (share["guest"], share["span_us"], share["used_us"]) == ("sampler.0", 3 * S, 500_000)
    assert share["share"] == pytest.approx(1 / 6)
    assert share["peak_share"] == pytest.approx(0.3)
    assert (share["cpu_max"], share["cpu_min"], share["quota_changed"]) == (0.2, 0.1, False)
    assert (share["throttled_us"], share["throttled"]) == (150_000, pytest.approx(0.05))
    assert (share["slices"], share["pressure"]) == (30, pytest.approx(0.5))


def test_a_quota_that_was_changed_counts_for_its_time(sender: Board) -> None:
    sender.send(0, agent.instance(2, 0), agent.cpu_quota(2, 0, max_us=20_000))
    for second in range(1, 6):
        if second == 4:
            sender.send(3 * S + 5, agent.cpu_quota(2, 3 * S + 5, max_us=40_000))
        sender.send(second * S, agent.cpu(2, second * S, second * 1_000))
    recorded = sender.load()
    quotas = [row["cpu_max"] for row in rows(intervals_of(recorded))]
    assert quotas == [0.2, 0.2, 0.4, 0.4]
    share = only(rows(cpu.shares(intervals_of(recorded))))
    assert (share["cpu_max"], share["quota_changed"]) == (pytest.approx(0.3), True)
    assert share["cpu_min"] is None


def test_a_summary_before_the_announcement_of_quotas_is_no_change_of_them(sender: Board) -> None:
    sender.send(S, agent.instance(2, S), agent.cpu(2, S, 1_000), agent.cpu(2, 2 * S, 2_000))
    sender.send(2 * S + 1, agent.cpu_quota(2, 2 * S + 1, max_us=20_000))
    sender.send(4 * S, agent.cpu(2, 3 * S, 3_000), agent.cpu(2, 4 * S, 4_000))
    intervals = intervals_of(sender.load())
    assert [row["cpu_max"] for row in rows(intervals)] == [None, 0.2, 0.2]
    share = only(rows(cpu.shares(intervals)))
    assert (share["cpu_max"], share["quota_changed"]) == (0.2, False)


def test_counters_beyond_32_bits_and_the_wrap_of_seconds(sender: Board) -> None:
    start = 65_535 * S
    for second in range(4):
        now = start + second * S
        sender.send(now, agent.cpu(2, now, 2**33 + second * 250_000))
    share = only(rows(cpu.shares(intervals_of(sender.load()))))
    assert (share["share"], share["span_us"]) == (0.25, 3 * S)


def test_slice_percentiles_are_of_slices_that_were(sender: Board) -> None:
    lengths = list(range(1, 101))
    sender.send(
        1 * S,
        agent.instance(2, 0),
        *(agent.slice_(2, n, length, wait_us=n) for n, length in enumerate(lengths)),
    )
    recorded = sender.load()
    found = only(rows(slices.from_trace(recorded.table("slice"), recorded.table("instance"))))
    assert (found["count"], found["mean_us"], found["max_us"]) == (100, 50.5, 100)
    assert found["p50_us"] in (50, 51)
    assert found["p95_us"] in (95, 96)
    assert found["p99_us"] in (99, 100)


def test_without_trace_the_counters_say_what_they_can(sender: Board) -> None:
    for second in (1, 2):
        sender.send(
            second * S,
            agent.cpu(2, second * S, second * 30_000, 0, second * 10),
            agent.counts(2, second * S, 0, 0, 0, 0, 0, 7_000),
        )
    recorded = sender.load()
    shares = cpu.shares(intervals_of(recorded))
    found = only(
        rows(slices.from_counters(shares, recorded.table("counts"), recorded.table("instance")))
    )
    assert (found["count"], found["mean_us"], found["max_us"]) == (10, 3_000.0, 7_000)
    guest = report(recorded).data["boots"][0]["guests"][0]
    assert guest["slices"]["source"] == "counters"
    assert guest["slices"]["p99_us"] is None
    assert any("trace level" in note for note in report(recorded).data["notes"])


def test_faults_have_their_line_whichever_ring_was_faster(sender: Board) -> None:
    where, what = "hog.py:4 in spin < hog.py:9 in main", "Overrun: 5 ms"
    killed = (wire.STATE_RUNNING, wire.STATE_KILLED, wire.REASON_OVERRUN)
    sender.send(0, agent.instance(2, 0, "hog"))
    for second, ref in ((1, 1), (30, 2), (60, 1)):  # the reference comes round again
        now = second * S
        made = now + 200 if second == 30 else now - 200
        texts = [
            *agent.text(2, made, wire.TEXT_WHERE, where if second < 60 else "hog.py:7", ref),
            *agent.text(2, made, wire.TEXT_WHAT, what, ref),
        ]
        state = agent.state(2, now, *killed, ref, 6_000, 5_000, 1)
        order = [state, *texts] if second == 30 else [*texts, state]
        for one in order:
            sender.send(now + 10, one)
    sender.send(80 * S, agent.state(2, 80 * S, wire.STATE_RUNNING, wire.STATE_SUSPENDED, killed[2]))
    # One whose texts were lost (those of second 60 are not its own), and one that has none.
    sender.send(90 * S, agent.state(2, 90 * S, *killed, 1))
    sender.send(
        91 * S, agent.state(2, 91 * S, wire.STATE_KILLED, wire.STATE_READY, wire.REASON_RETRY)
    )
    recorded = sender.load()
    events = faults.events(recorded.table("state"), recorded.texts, recorded.table("instance"))
    told = rows(events)
    assert [event["where"] for event in told] == [where, where, "hog.py:7", "", "", ""]
    assert [event["what"] for event in told] == [what, what, what, "", "", ""]
    lines = rows(faults.by_line(faults.faults(events)))
    assert [(row["guest"], row["reason"], row["line"], row["count"]) for row in lines] == [
        ("hog.0", "overrun", "hog.py:4 in spin", 2),
        ("hog.0", "overrun", "hog.py:7", 1),
        ("hog.0", "overrun", "", 1),
    ]


def test_memory_growth_is_that_of_one_life_of_the_guest(sender: Board) -> None:
    """A leaker that is killed again and again does not look steady over the night."""
    sender.send(0, agent.instance(2, 0, "leaker"), agent.instance(3, 0, "breathing"))
    now = 0
    for _ in range(5):
        sender.send(now, agent.state(2, now, wire.STATE_BACKOFF, wire.STATE_LOADING, 16))
        for step in range(1, 13):
            now += S
            leaked = agent.mem(2, now, 500 * step, 6_000, max=6_500)
            breathed = agent.mem(3, now, 4_000 + step * 37 % 5 * 100)
            sender.send(now, leaked, breathed, agent.mem(4, now, 4_000))
        now += S
        sender.send(
            now, agent.state(2, now, wire.STATE_RUNNING, wire.STATE_KILLED, wire.REASON_OOM)
        )
        sender.send(now + 1, agent.mem(2, now + 1, 0), agent.mem(3, now + 1, 4_000))
    sender.send(now, *(agent.mem(5, now + n, 1_000 * n) for n in range(9)))  # too short to say
    recorded = sender.load()
    tables = (recorded.table(name) for name in ("mem", "instance", "state"))
    leaker, breathing, steady, short = rows(memory.summary(*tables))
    assert leaker["growth_per_min"] == pytest.approx(30_000)
    assert (breathing["growth_per_min"], steady["growth_per_min"]) == (0, 0)
    assert short["growth_per_min"] is None
    assert (leaker["peak"], leaker["live_last"], leaker["exact"]) == (6_000, 0, True)


def test_memory_over_time_has_a_row_for_each_span_with_a_summary(sender: Board) -> None:
    for second in (0, 1, 2, 10, 11):
        sender.send(second * S, agent.mem(2, second * S, 100 * second, max=5_000))
    recorded = sender.load()
    spans = rows(memory.over_time(recorded.table("mem"), recorded.table("instance"), 10 * S))
    assert [(row["time_us"], row["live"], row["live_max"], row["mem_max"]) for row in spans] == [
        (0, 100.0, 200, 5_000),
        (10 * S, 1_050.0, 1_100, 5_000),
    ]


def test_the_boards_time_is_of_the_recorded_part(sender: Board) -> None:
    for second in (100, 101, 102):
        agent_us, idle_us = 7 * S + second * 50_000, 9 * S + second * 500_000
        sender.send(
            second * S,
            agent.time(second * S, agent_us, idle_us, second * 100_000),
            agent.time_more(second * S, second * 300_000, second * 1_000),
        )
    recorded = sender.load()
    spent = only(rows(board.time(recorded.table("time"), recorded.table("time-more"))))
    assert spent == {
        "run": 0,
        "elapsed_us": 2 * S,
        "agent_us": 100_000,
        "guests_us": 600_000,
        "idle_us": 1 * S,
        "steal_us": 200_000,
        "telemetry_us": 2_000,
        "unaccounted_us": 100_000,
    }


def test_losses_on_the_line_and_on_the_board_are_told_apart(sender: Board) -> None:
    sender.agent.batch(0, [agent.heap(0)] * 7)  # before the recording: not missed
    sender.agent.dropped = [0, 1, 5, 100]
    sender.send(1 * S, agent.heap(1 * S))
    sender.agent.batch(2 * S, [agent.heap(2 * S)] * 4)  # lost on the line
    sender.agent.dropped = [0, 1, 8, 150]
    sender.send(3 * S, agent.heap(3 * S))
    sender.agent = agent.Agent(boot_id=2)
    sender.agent.dropped = [0, 0, 2, 0]
    sender.send(1 * S, agent.heap(1 * S))
    recorded = sender.load()
    first, second = rows(losses.losses(recorded.batches))
    assert (first["missed"], first["gaps"], first["records"]) == (4, 1, 2)
    assert [first[f"dropped_{name}"] for name in losses.CLASSES] == [0, 0, 3, 50]
    assert second["dropped_text"] == 2  # this boot was seen from its first record
    assert rows(losses.gaps(recorded.batches)) == [{"run": 0, "sent_us": 3 * S, "missed": 4}]


def test_the_report_answers_every_question_of_the_golden_session(tmp_path: Path) -> None:
    path = tmp_path / "golden.rec"
    stream = (Path(__file__).parent.parent / "golden" / "session.bin").read_bytes()
    with RecordingWriter(path, metadata("sim")) as writer:
        writer.write(stream, 1_700_000_000_000_000_000, 0)
    found = analyze(path)
    data = json.loads(found.to_json())
    boot = only(data["boots"])
    sampler, hog = boot["guests"]
    assert (sampler["name"], sampler["cpu_share"], sampler["cpu_max"]) == ("sampler.0", 0.1, 0.2)
    assert sampler["slices"] == {
        "source": "trace",
        "count": 4,
        "mean_us": 1_002.5,
        "p50_us": 1_003,
        "p95_us": 1_004,
        "p99_us": 1_004,
        "max_us": 1_004,
        "slice_max_us": 5_000,
    }
    assert (hog["overruns"], hog["kills"], hog["throttled_us"]) == (1, 1, 150_000)
    fault = only(boot["faults"])
    assert (fault["guest"], fault["reason"], fault["line"]) == (
        "hog.0",
        "overrun",
        "hog.py:4 in spin",
    )
    assert boot["time"]["unaccounted_us"] == 150_000
    assert data["notes"] == []
    page = (Path(__file__).parent.parent / "golden" / "report.txt").read_text(encoding="utf-8")
    assert found.to_text().replace(str(path), "RECORDING") == page


def test_the_report_says_when_the_file_is_damaged_or_cut(tmp_path: Path) -> None:
    path = tmp_path / "r.rec"
    stream = agent.session()
    with RecordingWriter(path, metadata("sim")) as writer:
        for at in range(0, len(stream), 200):
            writer.write(stream[at : at + 200])
    whole = bytearray(path.read_bytes())
    whole[1_500] ^= 1
    path.write_bytes(whole[:-10])
    found = analyze(path)
    recording = found.data["recording"]
    last = len(stream) % 200 + 32 - 10  # its header is 32 bytes
    assert (recording["damaged_chunks"], recording["tail_bytes"]) == (1, last)
    assert recording["missed"] > 0
    assert "the file is damaged: 1 chunks" in found.to_text()
    assert "no whole chunk" in found.to_text()


def test_a_recording_of_one_moment_is_a_report_without_figures_not_an_error(sender: Board) -> None:
    sender.send(1 * S, agent.heap(1 * S))
    found = report(sender.load())
    assert found.data["boots"][0]["guests"] == []
    assert "no guest" in found.to_text()
