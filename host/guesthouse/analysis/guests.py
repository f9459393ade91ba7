"""Which guest a record is about: instance numbers are used again, names are not.

Every function takes and gives the columns ``run`` (the boot), ``instance`` and ``time_us``; a
record of an instance that no INSTANCE record ever named is called ``#3`` after its number.
"""

from __future__ import annotations

import polars as pl

from guesthouse.core import wire

# What tells one guest from another in a recording; an instance number alone does not.
GUEST = ("run", "instance", "guest")


def announcements(instances: pl.LazyFrame) -> pl.LazyFrame:
    """When each instance number began to mean which guest: run, instance, time_us, guest.

    ``instances`` is the table of INSTANCE records.
    """
    name = pl.format("{}.{}", "image", "index").alias("guest")
    return instances.select("run", "instance", "time_us", name).sort("time_us")


def with_guest(records: pl.LazyFrame, instances: pl.LazyFrame) -> pl.LazyFrame:
    """``records`` sorted by time with the column ``guest``: the name that the instance had then.

    A record older than the first announcement (the recording began later) has the first name.
    """
    named = announcements(instances)
    key = ["run", "instance"]
    first = named.group_by(key, maintain_order=True).agg(pl.col("guest").first().alias("first"))
    ordered = records.sort("time_us", maintain_order=True)
    return (
        ordered.join_asof(named, on="time_us", by=key, check_sortedness=False)
        .join(first, on=key, how="left", maintain_order="left")
        .with_columns(
            pl.when(pl.col("instance") == wire.BOARD)
            .then(pl.lit("board"))
            .when(pl.col("instance") == wire.AGENT)
            .then(pl.lit("agent"))
            .otherwise(pl.coalesce("guest", "first", pl.format("#{}", "instance")))
            .alias("guest")
        )
        .drop("first")
    )


def only_guests(records: pl.LazyFrame) -> pl.LazyFrame:
    """Without what the board and the agent say of themselves."""
    return records.filter(pl.col("instance") >= wire.FIRST_GUEST)
