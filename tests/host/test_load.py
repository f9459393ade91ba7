"""The columns of a recording are the records that were sent, each with its time and number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from guesthouse.analysis import load as load_module
from guesthouse.analysis.load import Recorded, load
from guesthouse.core import names, wire
from guesthouse.core import records as r
from guesthouse.core.errors import ExitCode, GuesthouseError
from guesthouse.core.frames import Frame, FrameDecoder
from guesthouse.core.recording import RecordingWriter, metadata
from guesthouse.core.session import Session, TimedRecord
from tests.support import frames as agent


def record(path: Path, stream: bytes, read: int = 100) -> Path:
    """A recording of the stream, ``read`` bytes a chunk, a millisecond of host time apart."""
    path.unlink(missing_ok=True)
    with RecordingWriter(path, metadata("test")) as writer:
        for at in range(0, len(stream), read):
            writer.write(stream[at : at + read], wall_ns=at * 10_000, monotonic_ns=at * 10_000)
    return path


def recorded(path: Path, stream: bytes) -> Recorded:
    return load(record(path, stream))


def one_at_a_time(stream: bytes) -> list[tuple[int, TimedRecord]]:
    """What the live session makes of the stream: the run and the record."""
    session = Session()
    found = []
    decoder = FrameDecoder()
    for item in decoder.feed(stream) + decoder.flush():
        if isinstance(item, Frame) and (batch := session.feed(item)) is not None:
            found += [(batch.run, timed) for timed in batch.records]
    return found


def assert_same(path: Path, stream: bytes) -> None:
    """The tables hold exactly what the session decodes, in the same order, field by field."""
    tables = recorded(path, stream)
    expected: dict[str, list[dict[str, object]]] = {name: [] for name in names.RECORDS.values()}
    for run, timed in one_at_a_time(stream):
        values = asdict(timed.record)
        if isinstance(timed.record, r.Unknown):
            continue
        del values["second"], values["us"]
        kind = next(k for k, layout in r.LAYOUTS.items() if layout.record is type(timed.record))
        expected[names.RECORDS[kind]].append(
            {"run": run, "number": timed.number, "time_us": timed.time_us, **values}
        )
    for name, rows in expected.items():
        found = tables.table(name).drop("batch").collect().to_dicts()
        assert _rounded(found) == _rounded(rows), name


def _rounded(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Shares to twelve digits: polars multiplies by 1/10000 where Python divides by 10000."""
    return [
        {key: round(value, 12) if isinstance(value, float) else value for key, value in row.items()}
        for row in rows
    ]


def test_the_golden_session_is_the_same_by_column_and_one_at_a_time(tmp_path: Path) -> None:
    stream = (Path(__file__).parent.parent / "golden" / "session.bin").read_bytes()
    assert_same(tmp_path / "r.rec", stream)


_BODIES = st.sampled_from(sorted(names.RECORDS)).flatmap(
    lambda kind: st.tuples(st.just(kind), st.binary(min_size=24, max_size=24))
)
_RECORDS = st.lists(
    st.tuples(_BODIES, st.integers(0, 255), st.integers(0, 2**16 - 1), st.integers(0, 999_999)),
    max_size=12,
)


def _pack(parts: Sequence[tuple[tuple[int, bytes], int, int, int]]) -> list[bytes]:
    return [
        agent.record(kind, instance, second * 1_000_000 + us, "<24s", body)
        for (kind, body), instance, second, us in parts
    ]


# Without the shrinking phase: a failure of so slow a test would take minutes to be made small.
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(
    st.lists(st.tuples(_RECORDS, st.integers(0, 2**32 - 1)), min_size=1, max_size=5),
    st.sampled_from([0, 2**31, 2**32 - 3]),
    st.integers(32, 400),
)
def test_any_records_are_the_same_by_column_and_one_at_a_time(
    tmp_path: Path,
    batches: list[tuple[list[tuple[tuple[int, bytes], int, int, int]], int]],
    number: int,
    block: int,
) -> None:
    """Whatever the bodies hold, over every wrap, and wherever the blocks of decoding end."""
    board = agent.Agent(number=number)
    stream = b"".join(
        board.batch(second * 1_000_000 + 5, _pack(parts)) for parts, second in batches
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load_module, "_BLOCK", block)
        assert_same(tmp_path / "r.rec", stream)


def test_every_batch_has_the_hosts_time_of_the_read_that_brought_its_beginning(
    tmp_path: Path,
) -> None:
    board = agent.Agent()
    first = board.batch(1_000_000, [agent.heap(1)] * 4)  # 176 bytes: in the reads at 0 and 100
    second = board.batch(2_000_000, [agent.heap(2)])
    batches = recorded(tmp_path / "r.rec", first + second).batches.collect()
    assert batches["wall_ns"].to_list() == [0, 1_000_000]
    assert batches["sent_us"].to_list() == [1_000_000, 2_000_000]
    assert batches["offset"].to_list() == [0, len(first)]
    # What lies after a long silence has its own time, not that of the read before.
    assert batches["monotonic_ns"].to_list() == [0, 1_000_000]


def test_times_at_the_edges_of_what_a_records_second_can_say(tmp_path: Path) -> None:
    """A little later than the batch, the longest time before it, and over the wrap."""
    board = agent.Agent()
    sent, wrap = 70_000_000_000, 65_536_000_000
    made = [sent + 1_500_000, sent - 65_533_000_000, sent, wrap - 1, wrap]
    stream = board.batch(sent, [agent.heap(time_us) for time_us in made])
    assert_same(tmp_path / "r.rec", stream)
    assert load(tmp_path / "r.rec").table("heap").collect()["time_us"].to_list() == made


def test_reboots_are_kept_apart(tmp_path: Path) -> None:
    stream = agent.session(boot_id=1) + agent.session(boot_id=2)
    tables = recorded(tmp_path / "r.rec", stream)
    runs = tables.table("cpu").group_by("run").len().sort("run").collect().rows()
    assert runs == [(0, 8), (1, 8)]
    assert tables.batches.select(pl.col("boot_id").unique(maintain_order=True)).collect()[
        "boot_id"
    ].to_list() == [1, 2]


def test_lost_batches_are_counted_where_they_are_missing(tmp_path: Path) -> None:
    board = agent.Agent()
    sent = [board.batch(n * 1_000_000, [agent.heap(n)] * 3) for n in range(6)]
    tables = recorded(tmp_path / "r.rec", sent[0] + sent[1] + sent[4] + sent[5])
    assert tables.batches.collect()["missed"].to_list() == [0, 0, 6, 0]


def test_damage_console_text_and_unknown_types_are_counted(tmp_path: Path) -> None:
    board = agent.Agent()
    good = board.batch(1, [agent.record(77, 2, 1, "<24s", b""), agent.heap(1)])
    broken = bytearray(board.batch(2, [agent.heap(2)] * 5))
    broken[60] ^= 1
    stream = b"hello\r\n" + good + bytes(broken) + board.batch(3, [agent.heap(3)])
    tables = recorded(tmp_path / "r.rec", stream)
    assert tables.unknown == {77: 1}
    assert (tables.damage, tables.console_bytes, tables.malformed) == (1, 7, 0)
    assert (tables.records, tables.line_bytes) == (3, len(stream))
    assert tables.batches.collect()["missed"].to_list() == [0, 5]


def test_batches_without_records_are_batches_too(tmp_path: Path) -> None:
    board = agent.Agent()
    stream = board.batch(1, []) + board.batch(2, [agent.heap(2)]) + board.batch(3, [])
    tables = recorded(tmp_path / "r.rec", stream)
    assert tables.batches.collect()["count"].to_list() == [0, 1, 0]
    assert tables.table("heap").collect()["batch"].to_list() == [1]
    assert load(record(tmp_path / "r.rec", agent.Agent().batch(1, []))).records == 0


def test_texts_are_whole_and_torn_ones_say_so(tmp_path: Path) -> None:
    board = agent.Agent()
    long = agent.text(2, 7, wire.TEXT_LOG, "a" * 50)
    stream = board.batch(10, long[:2]) + board.batch(
        20, [*agent.text(2, 9, wire.TEXT_WHERE, "m.py:1", 3), *agent.text(2, 9, wire.TEXT_LOG, "b")]
    )
    texts = recorded(tmp_path / "r.rec", stream).texts.collect()
    assert texts.select("kind", "ref", "text", "complete").rows() == [
        ("where", 3, "m.py:1", True),
        ("log", 0, "a" * 40 + "…", False),
        ("log", 0, "b", True),
    ]


@pytest.mark.parametrize(
    ("stream", "says"),
    [
        (b"", "holds nothing"),
        (b"MicroPython v1.25\r\n>>> ", "no telemetry of an agent"),
        (agent.reply(1), "no telemetry of an agent"),
        (
            agent.frame(wire.FRAME_BATCH, agent.Agent().payload(0, []), version=9),
            "another version of the protocol",
        ),
    ],
)
def test_a_recording_without_telemetry_is_refused_with_words(
    tmp_path: Path, stream: bytes, says: str
) -> None:
    with pytest.raises(GuesthouseError, match=says) as caught:
        recorded(tmp_path / "r.rec", stream)
    assert caught.value.code is ExitCode.DAMAGED
    assert caught.value.hint
    if b"Python" in stream:
        assert "MicroPython v1.25" in caught.value.hint


def test_a_recording_cut_anywhere_gives_all_batches_before(tmp_path: Path) -> None:
    board = agent.Agent()
    batches = [board.batch(n, [agent.heap(n)]) for n in range(4)]
    whole = record(tmp_path / "whole.rec", b"".join(batches), read=50).read_bytes()
    counted = set()
    for size in range(len(whole) // 3, len(whole) + 1, 7):
        path = tmp_path / "cut.rec"
        path.write_bytes(whole[:size])
        try:
            counted.add(load(path).records)
        except GuesthouseError as error:
            assert error.code is ExitCode.DAMAGED
            counted.add(0)
    assert counted >= {0, 1, 2, 3}
