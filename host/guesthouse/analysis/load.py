"""A recording as tables: one LazyFrame for each record type, one of batches, one of texts."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct
from typing import Any

import polars as pl

from guesthouse.analysis.columns import batch_headers, decode_block, empty_tables, unknown_types
from guesthouse.core import names, wire
from guesthouse.core.errors import ExitCode, GuesthouseError
from guesthouse.core.frames import Console, Frame, FrameDecoder, Item
from guesthouse.core.recording import RecordingReader
from guesthouse.core.records import LAYOUTS, TextChunk
from guesthouse.core.session import Numbering
from guesthouse.core.texts import Text, TextAssembler

_HEADER = Struct(wire.BATCH_HEADER)
_BLOCK = 8 << 20  # bytes of records turned into columns at a time
_READ = 1 << 20  # bytes of chunks fed to the decoder at a time
_TEXTS = {
    "run": pl.UInt16,
    "instance": pl.UInt8,
    "time_us": pl.Int64,
    "kind": pl.String,
    "ref": pl.UInt8,
    "text": pl.String,
    "complete": pl.Boolean,
}


@dataclass(frozen=True, slots=True)
class Recorded:
    """A decoded recording. ``run`` counts the boots in it, from 0; times are us since boot.

    ``batches``: one row a batch: run, batch (its row), boot_id, first, sent_us, count, trace,
    missed (records lost on the line just before it), offset (in the line's bytes), wall_ns and
    monotonic_ns of the host, and dropped_CLASS (cumulative since boot).
    ``texts``: run, instance, time_us, kind (``log``, ``where``, ...), ref, text, complete.
    """

    path: Path
    meta: dict[str, Any]
    batches: pl.LazyFrame
    texts: pl.LazyFrame
    records: int
    line_bytes: int  # bytes of the line, console text and all
    console_bytes: int
    damage: int  # places where frames were broken on the line
    malformed: int  # batches with a good checksum that this version cannot read
    unknown: dict[int, int]  # records by type number, of types that this version does not know
    damaged_chunks: int  # of the file
    skipped_bytes: int  # of the file
    tail_bytes: int  # of the file, behind the last whole chunk
    _tables: dict[str, pl.LazyFrame]

    def table(self, name: str) -> pl.LazyFrame:
        """The records of one type by its name (names.RECORDS), in the order of arrival: the
        columns of columns.COMMON, then the fields of the type. KeyError for another name."""
        return self._tables[name]


def load(path: Path | str) -> Recorded:
    """Decode a recording, also one that is damaged or still grows.

    Raises GuesthouseError where the file is none, and where no agent's frame is in it.
    """
    with RecordingReader(path) as reader, ThreadPoolExecutor(1) as pool, _no_collections():
        scan = _Scan(pool)
        for items in scan.items(reader):
            scan.take(items)
        scan.flush()
        if not scan.batch_count:
            raise _nothing(reader, scan)
        batches = scan.batch_table()
        blocks = [empty_tables(), *(block.result() for block in scan.blocks)]
        tables = {
            names.RECORDS[kind]: pl.concat([block[kind] for block in blocks if kind in block])
            for kind in LAYOUTS
        }
        return Recorded(
            path=reader.path,
            meta=reader.meta,
            batches=batches.lazy(),
            texts=texts(tables["text"], batches).lazy(),
            records=scan.record_count,
            line_bytes=scan.line_bytes,
            console_bytes=scan.console_bytes,
            damage=scan.damage,
            malformed=scan.malformed,
            unknown=scan.unknown,
            damaged_chunks=reader.damaged_chunks,
            skipped_bytes=reader.skipped_bytes,
            tail_bytes=reader.tail_bytes,
            _tables={name: table.lazy() for name, table in tables.items()},
        )


@contextmanager
def _no_collections() -> Iterator[None]:
    """A pause of Python's collector: among 10**5 frames that all live on it finds nothing to free,
    and looking for it takes a sixth of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@dataclass(slots=True)
class _Scan:
    """One pass over a recording: batches are collected until they fill a block. Polars decodes
    the block in ``pool``, beside the search for the next batches, which Python does."""

    pool: Executor
    numbering: Numbering = field(default_factory=Numbering)
    pieces: list[bytes] = field(default_factory=list)
    headers: list[bytes] = field(default_factory=list)
    runs: list[int] = field(default_factory=list)
    missed: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    blocks: list[Future[dict[int, pl.DataFrame]]] = field(default_factory=list)
    batch_tables: list[pl.DataFrame] = field(default_factory=list)
    chunk_ends: list[tuple[int, int, int]] = field(default_factory=list)
    unknown: dict[int, int] = field(default_factory=dict)
    waiting: int = 0  # bytes in pieces
    batch_count: int = 0
    record_count: int = 0
    line_bytes: int = 0
    console_bytes: int = 0
    damage: int = 0
    malformed: int = 0
    first_console: bytes = b""

    def items(self, reader: RecordingReader) -> Iterator[list[Item]]:
        decoder = FrameDecoder()
        pending: list[bytes] = []
        size = 0
        for chunk in reader.chunks():
            pending.append(chunk.data)
            size += len(chunk.data)
            self.line_bytes += len(chunk.data)
            self.chunk_ends.append((self.line_bytes, chunk.wall_ns, chunk.monotonic_ns))
            if size >= _READ:
                yield decoder.feed(b"".join(pending))
                pending.clear()
                size = 0
        yield decoder.feed(b"".join(pending))
        yield decoder.flush()

    def take(self, items: list[Item]) -> None:
        header_size = wire.BATCH_HEADER_SIZE
        for item in items:
            if type(item) is Frame:
                if item.kind != wire.FRAME_BATCH:
                    continue
                payload = item.payload
                if item.version != wire.VERSION or len(payload) < header_size:
                    self.malformed += 1
                    continue
                boot_id, first, _, _, count, *_ = _HEADER.unpack_from(payload)
                if len(payload) != header_size + count * wire.RECORD_SIZE:
                    self.malformed += 1
                    continue
                self.missed.append(self.numbering.accept(boot_id, first, count))
                self.runs.append(self.numbering.run)
                self.offsets.append(item.offset)
                self.headers.append(payload[:header_size])
                self.pieces.append(payload[header_size:])
                self.waiting += len(payload)
                if self.waiting >= _BLOCK:
                    self.flush()
            elif type(item) is Console:
                self.console_bytes += len(item.data)
                if len(self.first_console) < 200:
                    self.first_console += item.data[:200]
            else:
                self.damage += 1

    def flush(self) -> None:
        """Turn what is collected into columns."""
        batches = batch_headers(b"".join(self.headers)).select(
            pl.Series("run", self.runs, dtype=pl.UInt16),
            pl.int_range(self.batch_count, self.batch_count + pl.len(), dtype=pl.UInt32).alias(
                "batch"
            ),
            pl.all(),
            pl.Series("missed", self.missed, dtype=pl.UInt32),
            pl.Series("offset", self.offsets, dtype=pl.Int64),
        )
        records = b"".join(self.pieces)
        for collected in (self.runs, self.missed, self.offsets, self.headers, self.pieces):
            collected.clear()
        self.waiting = 0
        self.batch_count += batches.height
        self.record_count += len(records) // wire.RECORD_SIZE
        self.batch_tables.append(batches)
        self.blocks.append(self.pool.submit(self._decode, records, batches))

    def _decode(self, records: bytes, batches: pl.DataFrame) -> dict[int, pl.DataFrame]:
        tables = decode_block(records, batches)
        if sum(table.height for table in tables.values()) * wire.RECORD_SIZE != len(records):
            for kind, count in unknown_types(records).items():
                self.unknown[kind] = self.unknown.get(kind, 0) + count
        return tables

    def batch_table(self) -> pl.DataFrame:
        """All batches with the host's times: of the chunk in which each batch's frame begins."""
        ends = {"end": pl.Int64, "wall_ns": pl.Int64, "monotonic_ns": pl.Int64}
        chunks = pl.DataFrame(self.chunk_ends, schema=ends, orient="row")
        batches = pl.concat(self.batch_tables).with_columns(
            # A chunk's end is the offset of the byte behind it.
            (pl.col("offset") + 1).alias("end")
        )
        joined = batches.set_sorted("end").join_asof(
            chunks.set_sorted("end"), on="end", strategy="forward"
        )
        return joined.drop("end")


def texts(chunks: pl.DataFrame, batches: pl.DataFrame) -> pl.DataFrame:
    """The TEXT records' table joined to whole texts, in the order in which they came to an end."""
    rows: list[tuple[object, ...]] = []
    assembler = TextAssembler()
    current = 0

    def done(found: list[Text]) -> None:
        rows.extend(
            (
                current,
                text.instance,
                text.time_us,
                names.TEXTS.get(text.kind, f"text-{text.kind}"),
                text.ref,
                text.text,
                text.complete,
            )
            for text in found
        )

    ordered = chunks.select(
        "run",
        "instance",
        "time_us",
        batches["sent_us"].gather(chunks["batch"]),
        "kind",
        "index",
        "count",
        "ref",
        "data",
    )
    for run, instance, time_us, sent_us, kind, index, count, ref, data in ordered.iter_rows():
        if run != current:
            done(assembler.flush())
            current = run
        chunk = TextChunk(instance, 0, 0, kind, index, count, ref, data)
        done(assembler.add(time_us, chunk, sent_us))
    done(assembler.flush())
    return pl.DataFrame(rows, schema=_TEXTS, orient="row")


def _nothing(reader: RecordingReader, scan: _Scan) -> GuesthouseError:
    if not scan.line_bytes:
        return GuesthouseError(
            f"{reader.path} holds nothing: the line was silent, or the recording ended at once",
            "see whether the board speaks: guesthouse devs",
            ExitCode.DAMAGED,
        )
    if scan.malformed:
        return GuesthouseError(
            f"{reader.path} holds {scan.malformed} batches of another version of the protocol",
            f"this guesthouse reads version {wire.VERSION}: use the one that recorded it",
            ExitCode.DAMAGED,
        )
    printed = scan.first_console.decode("utf-8", "replace").strip()
    return GuesthouseError(
        f"{reader.path} holds {scan.line_bytes} bytes, but no telemetry of an agent",
        f"the board printed: {printed[:80]!r}; is the agent on it and running?"
        if printed
        else "was the agent running, and the line speed right?",
        ExitCode.DAMAGED,
    )
