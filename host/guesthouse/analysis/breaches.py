"""Which reservations were missed, and what was in the way?"""

from __future__ import annotations

import polars as pl

from guesthouse.analysis.guests import GUEST, with_guest


def breaches(records: pl.LazyFrame, instances: pl.LazyFrame) -> pl.LazyFrame:
    """One row for each guest and cause (none, collect, load, flash, command, stolen): run,
    instance, guest, cause, records, missing_max_us, length_max_us (of the blackout), and count,
    the deadlines that the guest has missed since the boot by all causes."""
    told = with_guest(records, instances)
    # Each record counts all deadlines so far; one of another cause may have the last word.
    count = pl.col("count").max().over(GUEST).cast(pl.Int64).alias("count")
    return (
        told.with_columns(count)
        .group_by(*GUEST, "cause", maintain_order=True)
        .agg(
            pl.len().cast(pl.Int64).alias("records"),
            pl.col("missing_us").max().cast(pl.Int64).alias("missing_max_us"),
            pl.col("length_us").max().cast(pl.Int64).alias("length_max_us"),
            pl.col("count").last(),
        )
        .sort("run", "missing_max_us", descending=[False, True])
    )
