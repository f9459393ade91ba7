"""A reader and a commander as a third party would write them, from docs/protocol.md alone.

Nothing here comes from the product: every layout, number and limit is parsed out of the tables of
that page. ``test_protocol_doc.py`` puts it beside the product's own decoder.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"

Row = dict[str, str]
Values = dict[str, Any]


class Field(NamedTuple):
    """A line of a table: where it is, what it is called, how it is read."""

    offset: int
    name: str  # "" for padding
    type: str
    size: int


class Page:
    """The tables of the page by the heading they stand under."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tables: dict[str, list[Row]] = {}
        heading = ""
        columns: list[str] = []
        for line in text.splitlines():
            if line.startswith("#"):
                heading, columns = line.lstrip("# "), []
            elif not line.startswith("|"):
                columns = []
            elif not columns:
                columns = cells(line)
                self.tables.setdefault(heading, [])
            elif not line.startswith("|-") and not line.startswith("|:"):
                row = dict(zip(columns, cells(line), strict=True))
                self.tables[heading].append(row)
        self.types = {row["type"]: int(row["bytes"]) for row in self.tables["Basics"]
                      if row["bytes"].isdigit()}  # fmt: skip

    def layout(self, heading: str) -> list[Field]:
        """The fields of a layout, which follow each other without a hole."""
        fields = []
        for row in self.tables[heading]:
            sized = re.fullmatch(r"\w+\[(\d+)]", row["type"])
            size = int(sized[1]) if sized else self.types[row["type"]]
            fields.append(Field(int(row["offset"]), row["field"], row["type"], size))
        for one, after in pairwise(fields):
            assert one.offset + one.size == after.offset, (heading, after)
        return fields

    def numbers(self, heading: str) -> dict[int, str]:
        """A list of numbers and their names: the first two columns."""
        rows = [list(row.values()) for row in self.tables[heading]]
        return {int(number): name for number, name, *_ in rows}

    def records(self) -> dict[int, tuple[str, list[Field]]]:
        """The record types: number to name and fields of the body."""
        found = re.findall(r"^### (`([a-z-]+)` \(type (\d+)\))$", self.text, re.MULTILINE)
        return {int(number): (name, self.layout(heading)) for heading, name, number in found}


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def size_of(fields: list[Field]) -> int:
    return fields[-1].offset + fields[-1].size


@dataclass
class Record:
    number: int
    time_us: int
    type: str
    instance: int
    values: Values


@dataclass
class Found:
    """What a stream held."""

    console: bytes = b""
    records: list[Record] = field(default_factory=list)
    replies: list[tuple[int, int, Any]] = field(default_factory=list)
    batches: list[Values] = field(default_factory=list)
    missed: int = 0


class Reader:
    """Reads a stream with nothing but the page in its hand."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.limits = {row["name in wire.py"]: int(row["value"]) for row in page.tables["Limits"]}
        self.frame = page.layout("Frame header")
        self.batch = page.layout("Batch header")
        self.head = page.layout("Record header")
        self.reply = page.layout("Reply header")
        self.bodies = page.records()
        self.magic = bytes.fromhex(page.tables["Frame header"][0]["meaning"][:5])
        self.names = {
            "state": page.numbers("States"),
            "reason": page.numbers("Reasons"),
            **{kind: self._listed(kind) for kind in ("restart", "blackout")},
        }

    def _listed(self, kind: str) -> dict[int, str]:
        """The short lists stand in the table of types: 0 never, 1 on-failure."""
        row = next(row for row in self.page.tables["Basics"] if row["type"] == kind)
        return {int(n): name for n, name in re.findall(r"(\d+) ([a-z-]+)", row["value"])}

    def value(self, data: bytes, one: Field) -> Any:
        raw = data[one.offset : one.offset + one.size]
        number = int.from_bytes(raw, "little", signed=one.type.startswith("i"))
        kind = one.type.partition("[")[0]
        if kind in self.names:
            return self.names[kind].get(number, f"{kind}-{number}")
        if kind == "time":
            return number % 2**32 * 1_000_000 + number // 2**32
        if kind == "limit":
            return None if number == 0xFFFFFFFF else number
        return {
            "bytes": raw,
            "hex": raw.hex(),
            "name": raw.rstrip(b"\0").decode("utf-8", "replace"),
            "share": number / 10_000,
        }.get(kind, number)

    def values(self, data: bytes, fields: list[Field]) -> Values:
        return {one.name: self.value(data, one) for one in fields if one.name}

    def frames(self, data: bytes, found: Found) -> Iterator[tuple[int, bytes]]:
        """Kind and payload of every good frame; what is between them goes to the console."""
        size = size_of(self.frame)
        done = at = 0
        while (at := data.find(self.magic, at)) >= 0:
            head = self.values(data[at : at + size].ljust(size, b"\0"), self.frame)
            end = at + size + head["length"]
            good = (
                head["length"] ^ head["complement"] == 0xFFFF
                and head["length"] <= self.limits["MAX_PAYLOAD"]
                and data[end : end + 4] == checksum(data[at + len(self.magic) : end])
            )
            if not good:
                at += 1
                continue
            found.console += data[done:at]
            done = at = end + 4
            yield head["kind"], data[end - head["length"] : end]
        found.console += data[done:]

    def read(self, data: bytes) -> Found:
        found = Found()
        boot, expected = None, 0
        for kind, payload in self.frames(data, found):
            if kind == 2:
                head = self.values(payload, self.reply)
                body = json.loads(payload[size_of(self.reply) :])
                found.replies.append((head["id"], head["status"], body))
                continue
            batch = self.values(payload, self.batch)
            missed = (batch["first"] - expected) % 2**32
            if boot is not None and batch["boot_id"] != boot:
                missed = batch["first"]
            elif boot is None or missed >= 2**31:
                missed = 0
            found.missed += missed
            boot, expected = batch["boot_id"], batch["first"] + batch["count"]
            found.batches.append(batch)
            for index in range(batch["count"]):
                at = size_of(self.batch) + index * self.limits["RECORD_SIZE"]
                raw = payload[at : at + self.limits["RECORD_SIZE"]]
                found.records.append(self.record(raw, batch, index))
        return found

    def record(self, raw: bytes, batch: Values, index: int) -> Record:
        head = self.values(raw, self.head)
        sent_s = batch["sent"] // 1_000_000
        ago = (sent_s - head["second"]) % 65536
        second = sent_s - ago + (65536 if ago >= 65534 else 0)
        name, fields = self.bodies[head["type"]]
        return Record(
            (batch["first"] + index) % 2**32,
            second * 1_000_000 + head["us"],
            name,
            head["instance"],
            self.values(raw, fields),
        )

    def texts(self, found: Found) -> list[tuple[int, str, int, str]]:
        """Whole texts: instance, kind, ref, text."""
        kinds = self.page.numbers("Texts")
        pieces: dict[tuple[int, int, int], list[bytes]] = {}
        whole = []
        for record in found.records:
            if record.type != "text":
                continue
            piece = record.values
            key = (record.instance, piece["kind"], piece["ref"])
            if piece["index"] == 0:
                pieces[key] = []
            if len(pieces.get(key, ())) == piece["index"]:
                pieces.setdefault(key, []).append(piece["data"])
                if len(pieces[key]) == piece["count"]:
                    text = b"".join(pieces.pop(key)).rstrip(b"\0").decode()
                    whole.append((record.instance, kinds[piece["kind"]], piece["ref"], text))
        return whole

    def chunks(self, data: bytes) -> Iterator[bytes]:
        """The bytes of an undamaged recording, chunk by chunk."""
        head, chunk = self.page.layout("Recording header"), self.page.layout("Recording chunk")
        header = self.values(data, head)
        at = size_of(head) + header["length"]
        assert header["crc"] == crc32(data[size_of(head) : at])
        while at < len(data):
            values = self.values(data[at:], chunk)
            end = at + size_of(chunk) + values["length"]
            assert values["crc"] == crc32(data[at + chunk[2].offset : end])
            yield data[at + size_of(chunk) : end]
            at = end


def checksum(data: bytes) -> bytes:
    return crc32(data).to_bytes(4, "little")


def command(page: Page, verb: str, command_id: int, body: bytes) -> bytes:
    """A command line."""
    numbers = {name: number for number, name in page.numbers("Verbs").items()}
    given = {"verb": numbers[verb], "flags": 0, "id": command_id}
    raw = b"".join(
        given[one.name].to_bytes(one.size, "little") for one in page.layout("Command header")
    )
    raw += body
    return b"\x16" + base64.b64encode(raw + checksum(raw)) + b"\n"
