"""docs/protocol.md is enough to write a reader: one that is made from its tables reads the same.

That reader is ``third_party.py``; it takes nothing from the product.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from struct import calcsize
from typing import Any

import pytest

from guesthouse.core import names, wire
from guesthouse.core.frames import Console, Frame, FrameDecoder
from guesthouse.core.recording import RecordingWriter
from guesthouse.core.records import LAYOUTS, Kind, Record, TextChunk
from guesthouse.core.session import Batch, Session, TimedRecord
from guesthouse.core.texts import TextAssembler
from guesthouse.guests.manifest import Manifest
from guesthouse.link.commands import decode_reply, encode_command, encode_put
from tests.host.third_party import PAGE, Page, Reader, command
from tests.support import frames as agent

GOLDEN = (Path(__file__).parents[1] / "golden" / "session.bin").read_bytes()
TYPE_OF = {layout.record: names.RECORDS[number] for number, layout in LAYOUTS.items()}


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(PAGE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def reader(page: Page) -> Reader:
    return Reader(page)


class Ours:
    """A stream as the product reads it."""

    def __init__(self, data: bytes) -> None:
        self.console = b""
        self.replies: list[tuple[int, int, object]] = []
        self.batches: list[Batch] = []
        self.session = Session()
        decoder = FrameDecoder()
        for item in [*decoder.feed(data), *decoder.flush()]:
            if isinstance(item, Console):
                self.console += item.data
            elif isinstance(item, Frame) and (reply := decode_reply(item)) is not None:
                self.replies.append((reply.id, reply.status, reply.body))
            elif isinstance(item, Frame) and (batch := self.session.feed(item)) is not None:
                self.batches.append(batch)

    @property
    def records(self) -> list[TimedRecord]:
        return [timed for batch in self.batches for timed in batch.records]

    def texts(self) -> list[tuple[int, str, int, str]]:
        assembler = TextAssembler()
        return [
            (text.instance, names.TEXTS[text.kind], text.ref, text.text)
            for timed in self.records
            if isinstance(timed.record, TextChunk)
            for text in assembler.add(timed.time_us, timed.record, timed.time_us)
        ]


def body_of(record: Record) -> dict[str, Any]:
    values = asdict(record)
    return {name: values[name] for name in list(values)[len(fields(Record)) :]}


def same(reader: Reader, data: bytes) -> None:
    """Both readers find the same in the stream."""
    found, ours = reader.read(data), Ours(data)
    assert found.replies == ours.replies
    assert found.missed == ours.session.missed
    assert [batch["sent"] for batch in found.batches] == [batch.time_us for batch in ours.batches]
    for theirs, timed in zip(found.records, ours.records, strict=True):
        assert theirs.type == TYPE_OF[type(timed.record)]
        assert (theirs.number, theirs.time_us) == (timed.number, timed.time_us)
        assert theirs.instance == timed.record.instance
        assert theirs.values == body_of(timed.record), theirs.type
    if found.batches:
        dropped = {name: found.batches[-1][f"dropped_{name}"] for name in ours.session.dropped}
        assert dropped == ours.session.dropped


def test_the_golden_session_reads_the_same_from_the_page_alone(reader: Reader) -> None:
    same(reader, GOLDEN)
    found = reader.read(GOLDEN)
    assert found.console == Ours(GOLDEN).console
    assert reader.texts(found) == Ours(GOLDEN).texts()
    assert {record.type for record in found.records} == set(names.RECORDS.values())


def test_a_reader_of_the_page_counts_what_was_missed_as_we_do(reader: Reader) -> None:
    """A byte of the session flipped, here and there, and pieces of it cut out."""
    for at in range(0, len(GOLDEN), 13):
        flipped = bytearray(GOLDEN)
        flipped[at] ^= 0x55
        same(reader, bytes(flipped))
        same(reader, GOLDEN[:at] + GOLDEN[at + 400 :])


def test_times_and_numbers_go_round_as_the_page_says(reader: Reader) -> None:
    board = agent.Agent(7)
    board.number = 2**32 - 3
    data = b""
    for second in (65_530, 65_537, 131_080):
        records = [agent.slice_(2, (second - ago) * 1_000_000, 5) for ago in (4, 0)]
        records.append(agent.slice_(2, (second + 1) * 1_000_000, 5))  # a tick behind the header
        data += board.batches(second * 1_000_000, records)
    data += agent.Agent(8).batches(5, [agent.slice_(2, 1, 1)])  # another boot
    same(reader, data)
    assert reader.read(data).missed == 0


def test_every_number_of_the_wire_is_on_the_page(page: Page) -> None:
    assert {number: name for number, (name, _) in page.records().items()} == names.RECORDS
    assert page.numbers("States") == names.STATES
    assert page.numbers("Reasons") == names.REASONS
    assert page.numbers("Resets") == names.RESETS
    assert page.numbers("Texts") == names.TEXTS
    assert page.numbers("Verbs") == names.VERBS
    assert page.numbers("Statuses") == names.STATUSES
    assert page.numbers("What was dropped on the board") == names.CLASSES


def test_every_layout_of_the_page_is_that_of_the_wire_to_the_sign(page: Page) -> None:
    """Small values read the same in many layouts; these are all places, sizes and signs."""
    for number, (name, body) in page.records().items():
        assert body[-1].offset + body[-1].size == wire.RECORD_SIZE, name
        told = [(f.name, f.offset, f.size, f.type.startswith("i")) for f in body if f.name]
        ours = [
            (f.name, f.offset, calcsize(f"<{f.code}") * (1 + (f.kind is Kind.TIME)), f.code in "iq")
            for f in LAYOUTS[number].fields
        ]
        assert told == ours, name


def test_limits_and_short_lists_are_those_of_the_wire(reader: Reader) -> None:
    for name, value in reader.limits.items():
        assert getattr(wire, name) == value, name
    assert reader.names["restart"] == names.RESTARTS
    assert reader.names["blackout"] == names.BLACKOUTS


def test_a_command_from_the_page_is_the_one_we_send(page: Page) -> None:
    asked: Mapping[str, object] = {"g": "hog.0"}
    body = json.dumps(asked, separators=(",", ":")).encode()
    assert command(page, "kill", 7, body) == encode_command(wire.VERB_KILL, 7, asked)
    raw = encode_put(192, bytes(range(192)))
    assert command(page, "put", 2**32 - 1, raw) == encode_command(wire.VERB_PUT, 2**32 - 1, raw)


def test_the_worked_example_is_real(page: Page) -> None:
    dumps = re.findall(r"```hex\n(.*?)```", page.text, re.DOTALL)
    assert len(dumps) == 2
    for line in "".join(dumps).splitlines():
        place, _, rest = line.partition(": ")
        data = bytes.fromhex(rest[:39])
        at = int(place, 16)
        assert GOLDEN[at : at + len(data)] == data, line
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in data)
        assert line.endswith("  " + shown), line
    spelled = re.search(r"```command\n(.*)\n```", page.text)
    assert spelled is not None
    sent = encode_command(wire.VERB_KILL, 7, {"g": "hog.0"})
    assert sent == b"\x16" + spelled[1].encode() + b"\n"


def test_a_recording_reads_from_the_page_alone(reader: Reader, tmp_path: Path) -> None:
    path = tmp_path / "a.ghr"
    with RecordingWriter(path, {"port": "sim"}) as writer:
        for at in range(0, len(GOLDEN), 100):
            writer.write(GOLDEN[at : at + 100], 1_700_000_000_000_000_000 + at, at)
    assert b"".join(reader.chunks(path.read_bytes())) == GOLDEN


def test_the_manifest_on_the_page_has_the_keys_that_we_send(page: Page) -> None:
    keys = [row["key"] for row in page.tables["Deploy"]]
    assert keys == [one.name for one in fields(Manifest)]
