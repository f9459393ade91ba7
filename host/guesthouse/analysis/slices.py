"""How long do guests keep the CPU in one go?"""

from __future__ import annotations

import polars as pl

from guesthouse.analysis.guests import GUEST, only_guests, with_guest


def from_trace(slices: pl.LazyFrame, instances: pl.LazyFrame) -> pl.LazyFrame:
    """One row a guest from its SLICE records (trace level), in microseconds of CPU:
    run, instance, guest, count, mean_us, p50_us, p95_us, p99_us, max_us, wait_p99_us (from
    runnable to running). A percentile is a slice that really was, not one between two."""
    cpu_us = pl.col("cpu_us")
    return (
        with_guest(only_guests(slices), instances)
        .group_by(GUEST, maintain_order=True)
        .agg(
            pl.len().cast(pl.Int64).alias("count"),
            cpu_us.mean().alias("mean_us"),
            *(
                cpu_us.quantile(percent / 100, "higher").cast(pl.Int64).alias(f"p{percent}_us")
                for percent in (50, 95, 99)
            ),
            cpu_us.max().cast(pl.Int64).alias("max_us"),
            pl.col("wait_us").quantile(0.99, "higher").cast(pl.Int64).alias("wait_p99_us"),
        )
        .sort("run", "instance", "guest")
    )


def from_counters(
    shares: pl.LazyFrame, counts: pl.LazyFrame, instances: pl.LazyFrame
) -> pl.LazyFrame:
    """What the summaries alone say: run, instance, guest, count, mean_us, max_us.

    ``shares`` as of cpu.shares. ``max_us`` is the longest slice since boot, which may have been
    before the recording began.
    """
    longest = (
        with_guest(only_guests(counts), instances)
        .group_by(GUEST)
        .agg(pl.col("longest_slice_us").max().cast(pl.Int64).alias("max_us"))
    )
    mean = pl.when(pl.col("slices") > 0).then(pl.col("used_us") / pl.col("slices"))
    return (
        shares.select(*GUEST, pl.col("slices").alias("count"), mean.alias("mean_us"))
        .join(longest, on=GUEST, how="full", coalesce=True)
        .sort("run", "instance", "guest")
    )
