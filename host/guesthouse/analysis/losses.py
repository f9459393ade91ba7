"""What is missing from the recording: lost on the line, or dropped on the board?"""

from __future__ import annotations

import polars as pl

from guesthouse.core import names

CLASSES = tuple(names.CLASSES.values())


def losses(batches: pl.LazyFrame) -> pl.LazyFrame:
    """One row a boot: run, boot_id, batches, records (received), missed (sent, lost on the line),
    gaps (how often), and dropped_CLASS: records that the board dropped while this was recorded.

    The board counts from its boot; what it dropped before the first batch here is taken off,
    unless the recording saw the boot.
    """
    dropped = []
    for name in CLASSES:
        column = pl.col(f"dropped_{name}").cast(pl.Int64)
        since_boot = pl.col("first").first() - pl.col("missed").first() == 0
        before = pl.when(since_boot).then(0).otherwise(column.first())
        dropped.append((column.last() - before).alias(f"dropped_{name}"))
    return (
        batches.group_by("run", maintain_order=True)
        .agg(
            pl.col("boot_id").first(),
            pl.len().cast(pl.Int64).alias("batches"),
            pl.col("count").cast(pl.Int64).sum().alias("records"),
            pl.col("missed").cast(pl.Int64).sum(),
            (pl.col("missed") > 0).cast(pl.Int64).sum().alias("gaps"),
            *dropped,
        )
        .sort("run")
    )


def gaps(batches: pl.LazyFrame) -> pl.LazyFrame:
    """Every place where records were lost on the line: run, sent_us (the next good batch),
    missed."""
    return batches.filter(pl.col("missed") > 0).select("run", "sent_us", "missed")


def link(links: pl.LazyFrame) -> pl.LazyFrame:
    """One row a boot, the board's own view as of its last summary: run, stalls (times that the
    host did not read), commands, damaged_commands, discarded_bytes."""
    return (
        links.sort("run", "time_us")
        .group_by("run", maintain_order=True)
        .agg(
            pl.col(name).last().cast(pl.Int64)
            for name in ("stalls", "commands", "damaged_commands", "discarded_bytes")
        )
        .sort("run")
    )
