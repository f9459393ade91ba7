"""Records mean what the wire says, and every type that the wire lists is understood."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path

import pytest

from guesthouse.core import names, wire
from guesthouse.core import records as r
from guesthouse.core.frames import FrameDecoder
from guesthouse.core.records import decode_record
from tests.support import frames as agent

GOLDEN = Path(__file__).parent.parent / "golden"
RECORDS = json.loads((GOLDEN / "records.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", RECORDS)
def test_golden_record(name: str) -> None:
    """The bytes that boards in the field send keep their meaning."""
    record = decode_record(bytes.fromhex(RECORDS[name]["hex"]))
    found = {k: v.hex() if isinstance(v, bytes) else v for k, v in asdict(record).items()}
    assert found == RECORDS[name]["fields"]


def test_the_golden_session_is_what_the_builder_makes_today() -> None:
    """A change of the wire's layout shows here before any board sends it."""
    assert (GOLDEN / "session.bin").read_bytes() == agent.session()


def test_every_record_type_of_the_wire_is_understood_and_golden() -> None:
    assert set(r.LAYOUTS) == set(names.RECORDS)
    assert set(RECORDS) == set(names.RECORDS.values())


def test_every_layout_covers_its_body_and_every_field_of_its_type() -> None:
    for kind, layout in r.LAYOUTS.items():
        assert layout.body.size == wire.BODY_SIZE, names.RECORDS[kind]
        own = [f.name for f in fields(layout.record)][len(fields(r.Record)) :]
        assert [field.name for field in layout.fields] == own


def test_names_are_taken_from_the_wire() -> None:
    assert names.REASONS[wire.REASON_LOAD_OVERRUN] == "load-overrun"
    assert names.STATES[wire.STATE_QUARANTINED] == "quarantined"
    assert names.VERBS[wire.VERB_PUT] == "put"
    assert names.STATUSES[wire.STATUS_HASH_MISMATCH] == "hash-mismatch"
    assert names.RECORDS[wire.RECORD_COUNTS] == "counts"
    assert set(names.STATES) == set(range(1, 13))
    assert set(names.REASONS) == set(range(34))


def test_a_number_from_a_newer_wire_is_shown_not_hidden() -> None:
    record = decode_record(agent.state(2, 0, 1, 200, 201))
    assert isinstance(record, r.State)
    assert (record.new, record.reason) == ("state-200", "reason-201")
    unknown = decode_record(agent.record(99, 2, 5_000_007, "<24s", b"new"))
    assert isinstance(unknown, r.Unknown)
    assert (unknown.type, unknown.second, unknown.us, unknown.body[:3]) == (99, 5, 7, b"new")


def test_limits_that_are_not_set_are_none_and_saturated_ones_are_numbers() -> None:
    quota = decode_record(agent.cpu_quota(2, 0, max_us=wire.NONE, min_us=wire.SATURATED))
    assert isinstance(quota, r.CpuQuota)
    assert (quota.max_us, quota.min_us, quota.slice_max_us) == (None, wire.SATURATED, 5_000)


def test_times_are_64_bit() -> None:
    long = 2**32 * 1_000_000 - 1  # the last microsecond that a pair of u32 can say
    record = decode_record(agent.cpu(2, 0, long, 2**31 * 1_000_000))
    assert isinstance(record, r.Cpu)
    assert (record.cpu_us, record.throttled_us) == (long, 2**31 * 1_000_000)


def test_signed_fields_keep_their_sign() -> None:
    freed = decode_record(agent.slice_(2, 0, 10))
    assert isinstance(freed, r.Slice)
    assert freed.heap_change == -16
    metric = decode_record(agent.metric(2, 0, "celsius", -40))
    assert isinstance(metric, r.Metric)
    assert (metric.name, metric.value) == ("celsius", -40)


def test_a_name_that_is_not_utf8_does_no_harm() -> None:
    record = decode_record(
        agent.record(wire.RECORD_METRIC, 2, 0, wire.BODY_METRIC, b"\xff\x80", 1, 1)
    )
    assert isinstance(record, r.Metric)
    assert record.name == "\ufffd\ufffd"


def test_the_golden_session_decodes_without_damage() -> None:
    decoder = FrameDecoder()
    items = decoder.feed((GOLDEN / "session.bin").read_bytes())
    assert {type(item).__name__ for item in items} == {"Frame", "Console"}
