"""Records to columns without a loop over records.

A record is eight u32 words. A block of records is read as one array of words, every eighth of
which makes a column; fields are cut out of the words by shifts. What each field means comes from
core.records.LAYOUTS, the table that the one-at-a-time decoder follows as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import partial

import polars as pl

from guesthouse.core import names, wire
from guesthouse.core.records import LAYOUTS, Field, Kind, Layout, text_of
from guesthouse.core.session import LATE_S

_WORDS = wire.RECORD_SIZE // 4
_SECONDS = 1 << 16

# The columns that every table has before those of its record type.
COMMON = {
    "run": pl.UInt16,  # boots in the recording, from 0
    "number": pl.UInt32,  # of the record, modulo 2**32
    "instance": pl.UInt8,
    "time_us": pl.Int64,  # since boot
    "batch": pl.UInt32,  # the row in the table of batches of the one that brought it
}

_NO_BATCHES = pl.DataFrame(
    schema={
        "run": pl.UInt16,
        "batch": pl.UInt32,
        "first": pl.UInt32,
        "sent_us": pl.Int64,
        "count": pl.UInt32,
    }
)

_NAMED: Mapping[Kind, tuple[str, Mapping[int, str]]] = {
    Kind.STATE: ("state", names.STATES),
    Kind.REASON: ("reason", names.REASONS),
    Kind.RESTART: ("restart", names.RESTARTS),
    Kind.BLACKOUT: ("blackout", names.BLACKOUTS),
}


def batch_headers(headers: bytes) -> pl.DataFrame:
    """The headers of batches, end to end, as a table; what the fields are stands in the wire."""
    words = _words(headers, wire.BATCH_HEADER_SIZE // 4)
    counts = pl.col("word4")
    dropped = (f"dropped_{name}" for name in names.CLASSES.values())
    return words.select(
        pl.col("word0").alias("boot_id"),
        pl.col("word1").alias("first"),
        (pl.col("word2").cast(pl.Int64) * 1_000_000 + pl.col("word3")).alias("sent_us"),
        _bits(counts, 0, 16).alias("count"),
        (_bits(counts, 16, 16) % (2 * wire.BATCH_TRACE) // wire.BATCH_TRACE == 1).alias("trace"),
        *(pl.col(f"word{5 + place}").alias(name) for place, name in enumerate(dropped)),
    )


def decode_block(records: bytes, batches: pl.DataFrame) -> dict[int, pl.DataFrame]:
    """All records of a block, as one table for each record type of the wire.

    ``records`` is the batches' records end to end. ``batches`` has one row a batch, in order:
    ``run``, ``batch`` (its row in the table of all), ``first`` (number of its first record),
    ``sent_us`` and ``count``. A type that does not occur has no table (see empty_tables).
    """
    words = _words(records, _WORDS).with_row_index("row")
    raw = pl.concat([words, _by_record(batches)], how="horizontal")
    kind_of = _bits(pl.col("word0"), 0, 8)
    present = set(raw.select(kind_of.unique()).to_series())
    return {
        kind: _table(layout, raw.filter(kind_of == kind), records)
        for kind, layout in LAYOUTS.items()
        if kind in present
    }


def empty_tables() -> dict[int, pl.DataFrame]:
    """A table without rows for each record type of the wire."""
    raw = pl.concat(
        [_words(b"", _WORDS).with_row_index("row"), _by_record(_NO_BATCHES)], how="horizontal"
    )
    return {kind: _table(layout, raw, b"") for kind, layout in LAYOUTS.items()}


def _table(layout: Layout, raw: pl.DataFrame, records: bytes) -> pl.DataFrame:
    own = (_column(field, records).alias(field.name) for field in layout.fields)
    return raw.select(*_common(), *own)


def unknown_types(records: bytes) -> dict[int, int]:
    """How many records there are of each type that this version does not know."""
    kinds = Counter(records[:: wire.RECORD_SIZE])  # the first byte of each
    return {kind: count for kind, count in kinds.items() if kind not in LAYOUTS}


def _words(data: bytes, width: int) -> pl.DataFrame:
    """The u32 words of structures of ``width`` words, end to end: a column for each word."""
    size = len(data) // 4
    # One row of bytes, read as one array: polars' own way from raw bytes to numbers, with no
    # object for each record and no other library.
    flat = pl.Series("words", [data], dtype=pl.Binary)
    if size:
        words = flat.bin.reinterpret(dtype=pl.Array(pl.UInt32, size)).explode()
    else:
        words = pl.Series("words", [], dtype=pl.UInt32)
    return pl.DataFrame({f"word{n}": words.gather_every(width, n) for n in range(width)})


def _by_record(batches: pl.DataFrame) -> pl.DataFrame:
    """What a record needs of its batch, with a row for each record."""
    batches = batches.filter(pl.col("count") > 0)
    begins = pl.col("count").cast(pl.Int64).cum_sum() - pl.col("count")
    rows = batches.select(
        "run",
        "batch",
        (pl.col("first").cast(pl.Int64) - begins).alias("shift"),  # from row to record number
        (pl.col("sent_us") // 1_000_000).alias("sent_s"),
        pl.int_range(pl.len(), dtype=pl.UInt32).alias("place"),
        "count",
    )
    owner = rows.select(pl.col("place").repeat_by("count").explode())
    return rows.drop("place", "count")[owner["place"]]


def _common() -> list[pl.Expr]:
    """The columns of COMMON, from a record's words and its batch."""
    head = pl.col("word0")
    sent = pl.col("sent_s")
    # session.record_second, by column.
    ago = (sent - _bits(head, 16, 16).cast(pl.Int64)) % _SECONDS
    ago = pl.when(ago < _SECONDS - LATE_S).then(ago).otherwise(ago - _SECONDS)
    columns = {
        "run": pl.col("run"),
        "number": (pl.col("shift") + pl.col("row")) % (1 << 32),
        "instance": _bits(head, 8, 8),
        "time_us": (sent - ago) * 1_000_000 + pl.col("word1"),
        "batch": pl.col("batch"),
    }
    return [columns[name].cast(dtype).alias(name) for name, dtype in COMMON.items()]


def _column(field: Field, records: bytes) -> pl.Expr:
    """One field of a record type, from the words of the record."""
    if field.kind in (Kind.NAME, Kind.HEX, Kind.BYTES):
        return pl.col("row").map_batches(
            partial(_bytes_column, field, records), return_dtype=_text_type(field)
        )
    value = _integer(field)
    if field.kind is Kind.TIME:
        more = pl.col(f"word{field.offset // 4 + 1}")
        return value.cast(pl.Int64) * 1_000_000 + more
    if field.kind is Kind.LIMIT:
        return pl.when(value != wire.NONE).then(value)
    if field.kind is Kind.SHARE:
        return value / 10_000
    if field.kind in _NAMED:
        prefix, known = _NAMED[field.kind]
        unknown = pl.format(prefix + "-{}", value)
        return value.replace_strict(known, default=unknown, return_dtype=pl.String)
    return value


def _integer(field: Field) -> pl.Expr:
    word = pl.col(f"word{field.offset // 4}")
    match field.code:
        case "I":
            return word
        case "i":
            return word.reinterpret(dtype=pl.Int32)
        case "H":
            return _bits(word, 8 * (field.offset % 4), 16).cast(pl.UInt16)
        case "B":
            return _bits(word, 8 * (field.offset % 4), 8).cast(pl.UInt8)
        case "q":
            high = pl.col(f"word{field.offset // 4 + 1}").cast(pl.UInt64)
            return (high * (1 << 32) + word).reinterpret(dtype=pl.Int64)
    raise ValueError(f"no column is made of struct code {field.code!r} ({field.name})")


def _bits(word: pl.Expr, at: int, size: int) -> pl.Expr:
    """``size`` bits of an unsigned word from bit ``at`` (polars has no shift)."""
    above = word // (1 << at) if at else word
    return above if at + size == 32 else above % (1 << size)


def _text_type(field: Field) -> type[pl.DataType]:
    return pl.Binary if field.kind is Kind.BYTES else pl.String


def _bytes_column(field: Field, records: bytes, rows: pl.Series) -> pl.Series:
    """Bytes have no column among the words. They are rare: names, and the text of log lines."""
    size = int(field.code.removesuffix("s"))
    starts = (int(row) * wire.RECORD_SIZE + field.offset for row in rows)
    pieces = (records[start : start + size] for start in starts)
    match field.kind:
        case Kind.NAME:
            values: list[str] | list[bytes] = [text_of(piece) for piece in pieces]
        case Kind.HEX:
            values = [piece.hex() for piece in pieces]
        case _:
            values = list(pieces)
    return pl.Series(rows.name, values, dtype=_text_type(field))
