"""Who had the CPU, and was it what the quota says?"""

from __future__ import annotations

import polars as pl

from guesthouse.analysis.guests import GUEST, only_guests, with_guest

# Shorter than this between two summaries is a repeated announcement, not a measurement.
SHORTEST_US = 200_000


def intervals(cpu: pl.LazyFrame, quotas: pl.LazyFrame, instances: pl.LazyFrame) -> pl.LazyFrame:
    """One row for each guest and each time between two of its CPU records.

    run, instance, guest, time_us (its end), span_us, used_us, throttled_us, slices, ``share`` of
    one CPU, ``pressure`` (0 to 1), and the quota then: ``cpu_max`` and ``cpu_min`` as fractions of
    one CPU, null where not set, and ``slice_max_us``.
    """
    quota = quotas.select(
        "run",
        "instance",
        "time_us",
        (pl.col("max_us") / pl.col("max_period_us")).alias("cpu_max"),
        # A reservation that is not set may have no period either.
        pl.when(pl.col("min_period_us") > 0)
        .then(pl.col("min_us") / pl.col("min_period_us"))
        .alias("cpu_min"),
        "slice_max_us",
    ).sort("time_us")
    told = with_guest(only_guests(cpu), instances)
    before = {name: pl.col(name).shift().over(GUEST) for name in ("time_us", "cpu_us")}
    more = {name: pl.col(name).cast(pl.Int64).diff().over(GUEST) for name in _COUNTERS}
    return (
        told.with_columns((pl.col("time_us") - before["time_us"]).alias("span_us"))
        # The first record has nothing before it: it stays, and so does the base for the next.
        .filter(pl.col("span_us").is_null() | (pl.col("span_us") >= SHORTEST_US))
        .with_columns(
            (pl.col("time_us") - before["time_us"]).alias("span_us"),
            more["cpu_us"].alias("used_us"),
            more["throttled_us"].alias("throttled_us"),
            more["slices"].alias("slices"),
        )
        # Counters cumulate over restarts; one that fell is of an instance that was made anew.
        .filter(pl.col("used_us") >= 0)
        .with_columns((pl.col("used_us") / pl.col("span_us")).alias("share"))
        .sort("time_us")
        .join_asof(quota, on="time_us", by=["run", "instance"], check_sortedness=False)
        .select(
            *GUEST,
            "time_us",
            "span_us",
            "used_us",
            "throttled_us",
            "slices",
            "share",
            "pressure",
            "cpu_max",
            "cpu_min",
            "slice_max_us",
        )
    )


def shares(intervals: pl.LazyFrame) -> pl.LazyFrame:
    """One row a guest: the share it had over all its intervals beside its quota.

    run, instance, guest, span_us, used_us, share, peak_share (of the busiest interval),
    throttled_us, throttled (share of the time), slices, pressure (mean), pressure_max, cpu_max and
    cpu_min (means over the time, should they have changed), quota_changed.
    """
    weight = pl.col("span_us")
    total = weight.sum()
    return (
        intervals.group_by(GUEST, maintain_order=True)
        .agg(
            total.alias("span_us"),
            pl.col("used_us").sum(),
            (pl.col("used_us").sum() / total).alias("share"),
            pl.col("share").max().alias("peak_share"),
            pl.col("throttled_us").sum(),
            (pl.col("throttled_us").sum() / total).alias("throttled"),
            pl.col("slices").sum(),
            ((pl.col("pressure") * weight).sum() / total).alias("pressure"),
            pl.col("pressure").max().alias("pressure_max"),
            _mean_quota("cpu_max"),
            _mean_quota("cpu_min"),
            # A summary may come before the announcement that tells the quotas.
            (
                pl.struct("cpu_max", "cpu_min").filter(pl.col("slice_max_us").is_not_null())
                .n_unique() > 1
            ).alias("quota_changed"),
        )
        .sort("run", "instance", "guest")
    )


_COUNTERS = ("cpu_us", "throttled_us", "slices")


def _mean_quota(name: str) -> pl.Expr:
    """The quota's mean over the time, null where it was never set. Where it is the same all the
    time it is that number to the last digit, which a mean is not."""
    quota = pl.col(name)
    set_us = pl.col("span_us").filter(quota.is_not_null()).sum()
    mean = (quota * pl.col("span_us")).sum() / set_us
    return (
        pl.when(quota.drop_nulls().n_unique() == 1)
        .then(quota.drop_nulls().first())
        .when(quota.is_not_null().any())
        .then(mean)
        .alias(name)
    )
