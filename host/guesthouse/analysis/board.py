"""Where did the board's time go, what did its heap hold, how long was nothing dispatched?"""

from __future__ import annotations

import polars as pl

ACCOUNTS = ("agent_us", "guests_us", "idle_us", "steal_us")


def time(times: pl.LazyFrame, more: pl.LazyFrame) -> pl.LazyFrame:
    """One row a boot, us of the recorded part: run, elapsed_us, the ACCOUNTS, unaccounted_us
    (what is left), and telemetry_us, which is a part of agent_us.

    The two records of a summary are made at the same moment and paired by it; a pair of which one
    was lost is left out. The recorded part is from the first pair to the last, or from the boot to
    the last where there is one only.
    """
    pairs = (
        times.select("run", "time_us", "agent_us", "idle_us", "steal_us")
        .sort("run", "time_us")
        .join_asof(
            more.select("run", "time_us", "elapsed_us", "guests_us", "telemetry_us").sort(
                "run", "time_us"
            ),
            on="time_us",
            by="run",
            strategy="nearest",
            tolerance=100_000,
            check_sortedness=False,
        )
        .drop_nulls("elapsed_us")
    )
    columns = ("elapsed_us", *ACCOUNTS, "telemetry_us")
    spent = (
        pl.when(pl.len() > 1)
        .then(pl.col(name).last() - pl.col(name).first())
        .otherwise(pl.col(name).last())
        .alias(name)
        for name in columns
    )
    return (
        pairs.group_by("run", maintain_order=True)
        .agg(spent)
        .with_columns((pl.col("elapsed_us") - pl.sum_horizontal(ACCOUNTS)).alias("unaccounted_us"))
        .sort("run")
    )


def heap(heaps: pl.LazyFrame) -> pl.LazyFrame:
    """One row a boot, in bytes: run, pool, used_max, agent_max, least_largest_free, collections,
    longest_collection_us."""
    return (
        heaps.group_by("run")
        .agg(
            pl.col("pool").last(),
            pl.col("used").max().alias("used_max"),
            pl.col("agent").max().alias("agent_max"),
            pl.col("largest_free").min().alias("least_largest_free"),
            pl.col("collections").last(),
            pl.col("longest_collection_us").max(),
        )
        .sort("run")
    )


def blackouts(blackouts: pl.LazyFrame) -> pl.LazyFrame:
    """One row for each boot and kind (collect, load, flash): run, kind, count, total_us, max_us."""
    return (
        blackouts.group_by("run", "kind")
        .agg(
            pl.len().cast(pl.Int64).alias("count"),
            pl.col("length_us").cast(pl.Int64).sum().alias("total_us"),
            pl.col("length_us").max().cast(pl.Int64).alias("max_us"),
        )
        .sort("run", "kind")
    )
