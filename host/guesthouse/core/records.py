"""The records of a batch as typed values, and the one table of their fields.

``LAYOUTS`` says for each record type which fields its body has and how each is read. Both decoders
follow it: ``decode_record`` here, one record at a time, and analysis.load, by column.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import Enum
from struct import Struct, calcsize
from typing import Any

from guesthouse.core import names, wire


class Kind(Enum):
    """How the bytes of one field become its value."""

    PLAIN = "plain"  # the integer as it is
    TIME = "time"  # a pair of u32, seconds and microseconds: one integer of microseconds
    LIMIT = "limit"  # a u32, None where it is wire.NONE
    SHARE = "share"  # 1/10000: a float from 0 to 1
    STATE = "state"
    REASON = "reason"
    RESTART = "restart"
    BLACKOUT = "blackout"
    NAME = "name"  # UTF-8, zero padded
    HEX = "hex"  # bytes in hexadecimal
    BYTES = "bytes"
    PAD = "pad"  # nothing to read; a time takes two of the format's codes, all others one


@dataclass(frozen=True, slots=True)
class Record:
    """What every record has: the instance, and the time as on the wire (s mod 2**16, us)."""

    instance: int
    second: int
    us: int


@dataclass(frozen=True, slots=True)
class Unknown(Record):
    """A record of a type that this version does not know: kept, counted, not understood."""

    type: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Boot(Record):
    wire_version: int
    reset_cause: int
    unclean_boots: int
    max_guests: int
    heap_bytes: int
    load_limit_us: int
    cpu_capacity_ppm: int
    oversubscription_cpu_ppm: int
    oversubscription_ram_ppm: int


@dataclass(frozen=True, slots=True)
class Instance(Record):
    image_id: int
    index: int
    state: str
    flags: int
    criticality: int
    restart: str
    fault: str
    digest: str
    image: str

    @property
    def name(self) -> str:
        """The instance's name: ``sampler.0``."""
        return f"{self.image}.{self.index}"

    @property
    def gone(self) -> bool:
        return bool(self.flags & wire.INSTANCE_GONE)


@dataclass(frozen=True, slots=True)
class CpuQuota(Record):
    max_us: int | None
    max_period_us: int
    min_us: int | None
    min_period_us: int
    slice_max_us: int | None
    weight: int
    breaches: int  # 65535 stands for as many and more


@dataclass(frozen=True, slots=True)
class MemQuota(Record):
    mem_min: int | None
    mem_high: int | None
    mem_max: int | None
    storage_max: int | None
    load_limit_us: int | None
    backoff_min_s: int
    backoff_max_s: int


@dataclass(frozen=True, slots=True)
class State(Record):
    old: str
    new: str
    reason: str
    ref: int
    a: int
    b: int
    c: int
    d: int
    e: int


@dataclass(frozen=True, slots=True)
class Cpu(Record):
    cpu_us: int
    throttled_us: int
    slices: int
    pressure: float
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class Mem(Record):
    live: int
    peak: int
    max: int | None
    collections: int
    flags: int
    waited_ms: int  # modulo 2**16
    garbage: int

    @property
    def exact(self) -> bool:
        return bool(self.flags & wire.MEM_EXACT)

    @property
    def high(self) -> bool:
        return bool(self.flags & wire.MEM_HIGH)


@dataclass(frozen=True, slots=True)
class Counts(Record):
    overruns: int
    kills: int
    restarts: int
    failures: int
    log_dropped: int
    longest_slice_us: int


@dataclass(frozen=True, slots=True)
class Heap(Record):
    pool: int
    used: int
    agent: int
    collections: int
    longest_collection_us: int
    largest_free: int


@dataclass(frozen=True, slots=True)
class Time(Record):
    agent_us: int
    idle_us: int
    steal_us: int


@dataclass(frozen=True, slots=True)
class TimeMore(Record):
    elapsed_us: int
    guests_us: int
    telemetry_us: int


@dataclass(frozen=True, slots=True)
class Link(Record):
    sent_bytes: int
    batches: int
    stalls: int
    commands: int
    damaged_commands: int
    discarded_bytes: int


@dataclass(frozen=True, slots=True)
class Slice(Record):
    cpu_us: int
    wall_us: int
    wait_us: int
    heap_change: int
    task: int
    flags: int


@dataclass(frozen=True, slots=True)
class TextChunk(Record):
    kind: int
    index: int
    count: int
    ref: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Metric(Record):
    name: str
    value: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Blackout(Record):
    kind: str
    length_us: int
    freed: int
    live: int


@dataclass(frozen=True, slots=True)
class Breach(Record):
    cause: str
    by: int  # the instance that caused it; 0 and 1 are the board and the agent
    length_us: int
    missing_us: int
    count: int
    min_us: int
    min_period_us: int


@dataclass(frozen=True, slots=True)
class Wakeups(Record):
    """Counts modulo 2**16, by how long a wake-up waited."""

    below_128_us: int
    below_256_us: int
    below_512_us: int
    below_1024_us: int
    below_2048_us: int
    below_4096_us: int
    below_8192_us: int
    below_16384_us: int
    below_32768_us: int
    below_65536_us: int
    below_131072_us: int
    longer: int

    @property
    def counts(self) -> tuple[int, ...]:
        """All of them, the shortest waits first."""
        own = fields(self)[len(fields(Record)) :]
        return tuple(getattr(self, one.name) for one in own)


@dataclass(frozen=True, slots=True)
class HeapCheck(Record):
    checks: int
    failed: int
    owners: int
    used: int
    strays: int


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a body: name, reading, its place among the values that struct unpacks, and its
    byte offset in the record and struct code there."""

    name: str
    kind: Kind
    place: int
    offset: int
    code: str


@dataclass(frozen=True, slots=True)
class Layout:
    """One record type: its Python type, the body's struct format, and its fields in order."""

    record: type[Record]
    body: Struct
    fields: tuple[Field, ...]


def _layout(record: type[Record], body: str, kinds: str) -> Layout:
    """Lay the record's own fields over the body's struct codes, one word of ``kinds`` a field."""
    own = iter([f.name for f in fields(record)][len(fields(Record)) :])
    codes = _CODE.findall(body)
    laid: list[Field] = []
    place = 0
    for word in kinds.split():
        kind = Kind(word)
        if kind is not Kind.PAD:
            offset = wire.RECORD_HEADER_SIZE + calcsize("<" + "".join(codes[:place]))
            laid.append(Field(next(own), kind, place, offset, codes[place]))
        place += 2 if kind is Kind.TIME else 1
    if place != len(codes) or next(own, None) is not None:
        raise ValueError(f"{record.__name__}: {kinds!r} does not cover {body!r}")
    return Layout(record, Struct(body), tuple(laid))


_CODE = re.compile(r"[0-9]*[a-zA-Z]")

LAYOUTS: Mapping[int, Layout] = {
    wire.RECORD_BOOT: _layout(Boot, wire.BODY_BOOT, "plain " * 9),
    wire.RECORD_INSTANCE: _layout(
        Instance,
        wire.BODY_INSTANCE,
        "plain plain state plain plain restart reason pad hex name",
    ),
    wire.RECORD_CPU_QUOTA: _layout(
        CpuQuota, wire.BODY_CPU_QUOTA, "limit plain limit plain limit plain plain"
    ),
    wire.RECORD_MEM_QUOTA: _layout(
        MemQuota, wire.BODY_MEM_QUOTA, "limit limit limit limit limit plain plain"
    ),
    wire.RECORD_STATE: _layout(
        State, wire.BODY_STATE, "state state reason plain plain plain plain plain plain"
    ),
    wire.RECORD_CPU: _layout(Cpu, wire.BODY_CPU, "time time plain share state reason"),
    wire.RECORD_MEM: _layout(Mem, wire.BODY_MEM, "plain plain limit plain plain plain plain"),
    wire.RECORD_COUNTS: _layout(Counts, wire.BODY_COUNTS, "plain " * 6),
    wire.RECORD_HEAP: _layout(Heap, wire.BODY_HEAP, "plain " * 6),
    wire.RECORD_TIME: _layout(Time, wire.BODY_TIME, "time time time"),
    wire.RECORD_TIME_MORE: _layout(TimeMore, wire.BODY_TIME_MORE, "time time time"),
    wire.RECORD_LINK: _layout(Link, wire.BODY_LINK, "plain " * 6),
    wire.RECORD_SLICE: _layout(Slice, wire.BODY_SLICE, "plain plain plain plain plain plain pad"),
    wire.RECORD_TEXT: _layout(TextChunk, wire.BODY_TEXT, "plain plain plain plain bytes"),
    wire.RECORD_METRIC: _layout(Metric, wire.BODY_METRIC, "name plain plain"),
    wire.RECORD_BLACKOUT: _layout(
        Blackout, wire.BODY_BLACKOUT, "blackout pad pad plain plain plain pad pad"
    ),
    wire.RECORD_BREACH: _layout(
        Breach, wire.BODY_BREACH, "blackout plain pad plain plain plain plain plain"
    ),
    wire.RECORD_WAKEUPS: _layout(Wakeups, wire.BODY_WAKEUPS, "plain " * 12),
    wire.RECORD_HEAP_CHECK: _layout(
        HeapCheck, wire.BODY_HEAP_CHECK, "plain plain plain plain plain pad"
    ),
}


def text_of(data: bytes) -> str:
    """A zero-padded UTF-8 field as text; a byte that is not UTF-8 becomes U+FFFD."""
    return data.rstrip(b"\0").decode("utf-8", "replace")


_READ: Mapping[Kind, Callable[[Any], Any]] = {
    Kind.LIMIT: lambda value: None if value == wire.NONE else value,
    Kind.SHARE: lambda value: value / 10_000,
    Kind.STATE: names.state_name,
    Kind.REASON: names.reason_name,
    Kind.RESTART: names.restart_name,
    Kind.BLACKOUT: names.blackout_name,
    Kind.NAME: text_of,
    Kind.HEX: bytes.hex,
}

_HEADER = Struct(wire.RECORD_HEADER)


def decode_record(data: bytes, offset: int = 0) -> Record:
    """The record that starts at ``offset`` of ``data``, typed; Unknown where the type is new."""
    kind, instance, second, us = _HEADER.unpack_from(data, offset)
    layout = LAYOUTS.get(kind)
    start = offset + wire.RECORD_HEADER_SIZE
    if layout is None:
        return Unknown(instance, second, us, kind, data[start : start + wire.BODY_SIZE])
    raw = layout.body.unpack_from(data, start)
    values: list[Any] = []
    for field in layout.fields:
        value = raw[field.place]
        if field.kind is Kind.TIME:
            value = value * 1_000_000 + raw[field.place + 1]
        elif (read := _READ.get(field.kind)) is not None:
            value = read(value)
        values.append(value)
    return layout.record(instance, second, us, *values)
