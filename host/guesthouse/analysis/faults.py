"""Who was stopped or fell, why, and on which line?"""

from __future__ import annotations

import polars as pl

from guesthouse.analysis.guests import GUEST, with_guest
from guesthouse.core.joining import JOIN_US
from guesthouse.core.names import FAULTS, SUSPENDED

NUMBERS = ("a", "b", "c", "d", "e")  # what they mean stands with each reason in the wire


def events(states: pl.LazyFrame, texts: pl.LazyFrame, instances: pl.LazyFrame) -> pl.LazyFrame:
    """Every change of state, in the order of time: run, instance, guest, time_us, old, new,
    reason, where, what, and the numbers a to e. where and what are empty where none came."""
    told = with_guest(states, instances)
    for kind in ("where", "what"):
        of_kind = (
            texts.filter(pl.col("kind") == kind)
            .select("run", "instance", "ref", "time_us", pl.col("text").alias(kind))
            .sort("time_us")
        )
        told = told.join_asof(
            of_kind,
            on="time_us",
            by=["run", "instance", "ref"],
            strategy="nearest",
            tolerance=JOIN_US,
            check_sortedness=False,
        )
    # An event without texts has no reference; texts of reference 0 belong to none.
    texts_of_event = (
        pl.when(pl.col("ref") != 0).then(pl.col(kind)).fill_null("").alias(kind)
        for kind in ("where", "what")
    )
    return (
        told.with_columns(texts_of_event)
        .select(*GUEST, "time_us", "old", "new", "reason", "where", "what", *NUMBERS)
        .sort("run", "time_us", maintain_order=True)
    )


def faults(events: pl.LazyFrame) -> pl.LazyFrame:
    """The events that are overruns, kills and crashes (names.FAULTS). A guest that was suspended
    for an overrun goes on: that is none."""
    return events.filter(pl.col("reason").is_in(sorted(FAULTS)), pl.col("new") != SUSPENDED)


def by_line(faults: pl.LazyFrame) -> pl.LazyFrame:
    """One row for each guest, reason and line: run, instance, guest, reason, line (innermost),
    count, first_us, last_us, and where, what of the last. Most frequent first."""
    line = pl.col("where").str.split(" < ").list.first().fill_null("").alias("line")
    return (
        faults.with_columns(line)
        .group_by(*GUEST, "reason", "line", maintain_order=True)
        .agg(
            pl.len().cast(pl.Int64).alias("count"),
            pl.col("time_us").min().alias("first_us"),
            pl.col("time_us").max().alias("last_us"),
            pl.col("where").last(),
            pl.col("what").last(),
        )
        .sort("run", "count", "first_us", descending=[False, True, False])
    )


def counters(counts: pl.LazyFrame, instances: pl.LazyFrame) -> pl.LazyFrame:
    """What the board itself counted since boot, as of each guest's last summary: run, instance,
    guest, overruns, kills, restarts, failures, log_dropped. No event can be lost from it."""
    names = ("overruns", "kills", "restarts", "failures", "log_dropped")
    return (
        with_guest(counts, instances)
        .group_by(GUEST, maintain_order=True)
        .agg(pl.col(name).last().cast(pl.Int64) for name in names)
        .sort("run", "instance", "guest")
    )
