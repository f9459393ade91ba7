"""How much memory does each guest hold, and does it grow?"""

from __future__ import annotations

import polars as pl

from guesthouse.analysis.guests import GUEST, only_guests, with_guest
from guesthouse.core import names, wire

GROWTH_SUMMARIES = 10  # of one life; a few seconds say nothing about a minute
GROWTH_SIGMAS = 4

# A life of a guest begins with its load and lasts until it holds no memory any more.
_BEGIN = names.STATES[wire.STATE_LOADING]
_ENDS = [
    names.STATES[state]
    for state in (
        wire.STATE_STOPPED,
        wire.STATE_EXITED,
        wire.STATE_FAILED,
        wire.STATE_KILLED,
        wire.STATE_BACKOFF,
        wire.STATE_QUARANTINED,
    )
]


def over_time(mem: pl.LazyFrame, instances: pl.LazyFrame, every_us: int) -> pl.LazyFrame:
    """One row for each guest and each ``every_us`` of board time with a summary in it:
    run, instance, guest, time_us (where the bucket begins), live (mean), live_max, mem_max."""
    return (
        with_guest(only_guests(mem), instances)
        .with_columns(pl.col("time_us") // every_us * every_us)
        .group_by(*GUEST, "time_us")
        .agg(
            pl.col("live").mean(),
            pl.col("live").max().alias("live_max"),
            pl.col("max").last().alias("mem_max"),
        )
        .sort("run", "instance", "guest", "time_us")
    )


def summary(mem: pl.LazyFrame, instances: pl.LazyFrame, states: pl.LazyFrame) -> pl.LazyFrame:
    """One row a guest, in bytes: run, instance, guest, live_first, live_mean, live_last, peak,
    mem_max (null: no limit), exact (false: estimated), collections, and growth_per_min.

    A guest that leaks is killed and begins again at nothing, so growth is the slope of live over
    time within a life of the guest, of its longest life in the recording: ``states`` tells the
    lives apart. Null where none has GROWTH_SUMMARIES; 0 where the slope is within the noise of
    what a guest takes and gives back from one summary to the next.
    """
    live = pl.col("live")
    told = with_guest(only_guests(mem), instances)
    per_guest = told.group_by(GUEST, maintain_order=True).agg(
        live.first().cast(pl.Int64).alias("live_first"),
        live.mean().alias("live_mean"),
        live.last().cast(pl.Int64).alias("live_last"),
        pl.max_horizontal(pl.col("peak").max(), live.max()).cast(pl.Int64).alias("peak"),
        pl.col("max").last().cast(pl.Int64).alias("mem_max"),
        (pl.col("flags") // wire.MEM_EXACT % 2 == 1).all().alias("exact"),
        pl.col("collections").last().cast(pl.Int64),
    )
    joined = per_guest.join(_growth(told, states), on=GUEST, how="left", maintain_order="left")
    return joined.sort("run", "instance", "guest")


def _growth(told: pl.LazyFrame, states: pl.LazyFrame) -> pl.LazyFrame:
    """run, instance, guest, growth_per_min (bytes), for guests with a life that is long enough."""
    lives = (
        states.filter(pl.col("new").is_in(_ENDS) | (pl.col("new") == _BEGIN))
        .sort("time_us")
        .select(
            "run",
            "instance",
            "time_us",
            pl.int_range(pl.len()).over("run", "instance").alias("life"),
            (pl.col("new") == _BEGIN).alias("alive"),
        )
    )
    minutes = pl.col("time_us") / 60e6
    live = pl.col("live").cast(pl.Float64)
    explained = pl.corr(live, minutes) ** 2  # NaN where live never changed
    # Student's t of the slope, squared, against GROWTH_SIGMAS squared.
    sure = explained * (pl.len() - 2) > GROWTH_SIGMAS**2 * (1 - explained)
    slope = pl.cov(live, minutes) / minutes.var()
    return (
        told.sort("time_us")
        .join_asof(lives, on="time_us", by=["run", "instance"], check_sortedness=False)
        # Before its first change of state in the recording a guest is taken to be alive.
        .filter(pl.col("alive").fill_null(True))
        .group_by(*GUEST, pl.col("life").fill_null(-1), maintain_order=True)
        .agg(
            pl.len().alias("summaries"),
            pl.when(explained.is_not_nan() & sure)
            .then(slope)
            .otherwise(0.0)
            .alias("growth_per_min"),
        )
        .filter(pl.col("summaries") >= GROWTH_SUMMARIES)
        .sort("summaries", maintain_order=True)
        .group_by(GUEST)
        .agg(pl.col("growth_per_min").last())
    )
