"""One attachment to a board: what arrived, when it happened there, and how much is missing.

Times and numbers on the wire are short: a record carries its second modulo 2**16, a batch the
number of its first record modulo 2**32. Here they become whole again.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from guesthouse.core import names, wire
from guesthouse.core.frames import Frame
from guesthouse.core.records import Record, decode_record

_HEADER = Struct(wire.BATCH_HEADER)
_SECONDS = 1 << 16
_NUMBERS = 1 << 32
# A record is made before its batch is sent, but a tick may make one while the batch's header is
# already written. More than this is not lateness but a record of 18 hours ago.
LATE_S = 2


@dataclass(frozen=True, slots=True)
class BatchHeader:
    """The header of a batch. ``dropped`` is cumulative since boot, by class number."""

    boot_id: int
    first: int
    second: int
    us: int
    count: int
    flags: int
    dropped: tuple[int, ...]

    @property
    def time_us(self) -> int:
        return self.second * 1_000_000 + self.us


def batch_header(payload: bytes) -> BatchHeader | None:
    """The header of a batch frame's payload; None where it is not as long as it says."""
    if len(payload) < wire.BATCH_HEADER_SIZE:
        return None
    boot_id, first, second, us, count, flags, *dropped = _HEADER.unpack_from(payload)
    if len(payload) != wire.BATCH_HEADER_SIZE + count * wire.RECORD_SIZE:
        return None
    return BatchHeader(boot_id, first, second, us, count, flags, tuple(dropped))


def record_second(batch_second: int, second: int) -> int:
    """The whole second since boot of a record: the nearest that is not later than its batch
    (LATE_S allowed) and ends in the record's 16 bits."""
    ago = (batch_second - second) % _SECONDS
    return batch_second - ago if ago < _SECONDS - LATE_S else batch_second - ago + _SECONDS


@dataclass(slots=True)
class Numbering:
    """Follows the numbers of the records over batches and boots.

    ``run`` counts the boots seen, from 0; a recording or an attachment may span several.
    """

    run: int = -1
    boot_id: int | None = None
    expected: int = 0
    missed: int = 0  # over all runs

    def accept(self, boot_id: int, first: int, count: int) -> int:
        """Take the next batch's numbers; how many records were missed just before it.

        Before the first batch nothing is missed: what was sent before one listened does not count.
        At a reboot the new boot's records count from its first one; how many of the old boot's
        last were lost nobody can know. A number that went back without a new boot id means that
        the agent began anew: a new run.
        """
        missed = (first - self.expected) % _NUMBERS
        if self.boot_id is None:
            missed = 0
            self.run = 0
        elif boot_id != self.boot_id:
            missed = first
            self.run += 1
        elif missed >= _NUMBERS // 2:
            missed = 0
            self.run += 1
        self.boot_id = boot_id
        self.expected = (first + count) % _NUMBERS
        self.missed += missed
        return missed


@dataclass(frozen=True, slots=True)
class TimedRecord:
    """A record with its number (mod 2**32) and its time since boot in microseconds."""

    number: int
    time_us: int
    record: Record


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch, whole. ``missed`` records were lost on the line since the batch before it."""

    boot_id: int
    run: int
    rebooted: bool
    time_us: int
    trace: bool
    missed: int
    records: tuple[TimedRecord, ...]


class Session:
    """Feed it frames, get batches whose records have whole times and numbers."""

    def __init__(self) -> None:
        self._numbering = Numbering()
        self.batches = 0
        self.malformed = 0  # checksum right, contents not: an agent of another version
        self.dropped: dict[str, int] = dict.fromkeys(names.CLASSES.values(), 0)

    @property
    def boot_id(self) -> int | None:
        """The boot that the last batch came from; None before the first."""
        return self._numbering.boot_id

    @property
    def missed(self) -> int:
        """Records lost on the line since the first batch, exact as of the last good one."""
        return self._numbering.missed

    def feed(self, frame: Frame) -> Batch | None:
        """The batch in ``frame``; None where it holds none that this version can read."""
        if frame.kind != wire.FRAME_BATCH:
            return None
        header = batch_header(frame.payload) if frame.version == wire.VERSION else None
        if header is None:
            self.malformed += 1
            return None
        before = self._numbering.run
        missed = self._numbering.accept(header.boot_id, header.first, header.count)
        self.batches += 1
        for number, count in enumerate(header.dropped):
            self.dropped[names.CLASSES.get(number, f"class-{number}")] = count
        return Batch(
            boot_id=header.boot_id,
            run=self._numbering.run,
            rebooted=self._numbering.run != before and before >= 0,
            time_us=header.time_us,
            trace=bool(header.flags & wire.BATCH_TRACE),
            missed=missed,
            records=_records(frame.payload, header),
        )


def _records(payload: bytes, header: BatchHeader) -> tuple[TimedRecord, ...]:
    timed: list[TimedRecord] = []
    for index in range(header.count):
        record = decode_record(payload, wire.BATCH_HEADER_SIZE + index * wire.RECORD_SIZE)
        time_us = record_second(header.second, record.second) * 1_000_000 + record.us
        timed.append(TimedRecord((header.first + index) % _NUMBERS, time_us, record))
    return tuple(timed)
