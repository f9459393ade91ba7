"""All questions at once: what ``guesthouse analyze FILE`` prints, as text or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from guesthouse.analysis import board, breaches, cpu, faults, losses, memory, slices
from guesthouse.analysis.guests import GUEST
from guesthouse.analysis.load import Recorded, load
from guesthouse.analysis.text import render

_TRACE_LOSSES = ("missed", "dropped_trace")


@dataclass(frozen=True, slots=True)
class Report:
    """The answers. ``data`` is JSON-ready: ``recording``, ``boots`` and ``notes``.

    A boot has ``run, boot_id, board, firmware, agent, from_us, to_us, wall_from_ns, wall_to_ns,
    time, heap, blackouts, losses, link, guests, faults, breaches``; a guest ``name, instance,
    cpu_share, cpu_peak_share, cpu_max, cpu_min, cpu_us, throttled_us, pressure, slices, memory``
    and its counters. Times are us, sizes bytes, shares fractions of one CPU; null is not known or
    not set.
    """

    data: Mapping[str, Any]

    def to_json(self) -> str:
        """The data as JSON text, indented."""
        return json.dumps(self.data, indent=2, ensure_ascii=False)

    def to_text(self) -> str:
        """The data as a page of text."""
        return render(self.data)


def analyze(path: Path | str) -> Report:
    """Load a recording and ask it everything. Raises GuesthouseError as load does."""
    return report(load(path))


def report(recorded: Recorded) -> Report:
    """The report of a recording that is already loaded."""
    table = recorded.table
    instances = table("instance")
    intervals = cpu.intervals(table("cpu"), table("cpu-quota"), instances).collect().lazy()
    shares = cpu.shares(intervals).collect().lazy()
    told = faults.events(table("state"), recorded.texts, instances)
    guests, lines, missed, time, heap, blackouts, lost, link, spans, texts = pl.collect_all(
        [
            _guests(recorded, shares, intervals),
            faults.by_line(faults.faults(told)),
            breaches.breaches(table("breach"), instances),
            board.time(table("time"), table("time-more")),
            board.heap(table("heap")),
            board.blackouts(table("blackout")),
            losses.losses(recorded.batches),
            losses.link(table("link")),
            _spans(recorded.batches),
            recorded.texts.filter(pl.col("kind").is_in(["board", "firmware", "agent"])),
        ]
    )
    boots = []
    for span in spans.to_dicts():
        of_boot = pl.col("run") == span["run"]
        said = texts.filter(of_boot).rows_by_key("kind", named=True)
        boots.append(
            {
                **span,
                **{kind: _last_text(said.get(kind, [])) for kind in ("board", "firmware", "agent")},
                "time": _one(time.filter(of_boot)),
                "heap": _one(heap.filter(of_boot)),
                "blackouts": _rows(blackouts.filter(of_boot)),
                "losses": _one(lost.filter(of_boot)),
                "link": _one(link.filter(of_boot)),
                "guests": [_guest(row) for row in guests.filter(of_boot).to_dicts()],
                "faults": _rows(lines.filter(of_boot)),
                "breaches": _rows(missed.filter(of_boot)),
            }
        )
    data = {"recording": _recording(recorded, boots), "boots": boots, "notes": []}
    data["notes"] = _notes(recorded, boots)
    return Report(data)


def _spans(batches: pl.LazyFrame) -> pl.LazyFrame:
    return (
        batches.group_by("run", maintain_order=True)
        .agg(
            pl.col("boot_id").first(),
            pl.col("sent_us").first().alias("from_us"),
            pl.col("sent_us").last().alias("to_us"),
            pl.col("wall_ns").first().alias("wall_from_ns"),
            pl.col("wall_ns").last().alias("wall_to_ns"),
            pl.col("trace").any(),
        )
        .sort("run")
    )


def _guests(recorded: Recorded, shares: pl.LazyFrame, intervals: pl.LazyFrame) -> pl.LazyFrame:
    """All that is known of each guest in one row: the answers of the modules side by side."""
    instances = recorded.table("instance")
    counts = recorded.table("counts")
    limit = intervals.group_by(GUEST).agg(pl.col("slice_max_us").drop_nulls().last())
    parts = (
        shares,
        limit,
        slices.from_trace(recorded.table("slice"), instances).rename(_prefixed("trace")),
        slices.from_counters(shares, counts, instances).rename(_prefixed("counter")),
        memory.summary(recorded.table("mem"), instances, recorded.table("state")),
        faults.counters(counts, instances),
    )
    joined = parts[0]
    for part in parts[1:]:
        joined = joined.join(part, on=GUEST, how="full", coalesce=True)
    return joined.sort("run", "instance", "guest")


def _prefixed(prefix: str) -> Any:
    return lambda name: name if name in GUEST else f"{prefix}_{name}"


def _guest(row: Mapping[str, Any]) -> dict[str, Any]:
    """A guest's row as the report has it."""
    trace = row["trace_count"] is not None
    source = "trace" if trace else "counter"
    return {
        "name": row["guest"],
        "instance": row["instance"],
        "cpu_share": row["share"],
        "cpu_peak_share": row["peak_share"],
        "cpu_max": row["cpu_max"],
        "cpu_min": row["cpu_min"],
        "quota_changed": row["quota_changed"],
        "cpu_us": row["used_us"],
        "span_us": row["span_us"],
        "throttled_us": row["throttled_us"],
        "throttled_share": row["throttled"],
        "pressure": row["pressure"],
        "slices": {
            "source": "trace" if trace else "counters",
            "count": row[f"{source}_count"],
            "mean_us": row[f"{source}_mean_us"],
            "p50_us": row["trace_p50_us"],
            "p95_us": row["trace_p95_us"],
            "p99_us": row["trace_p99_us"],
            "max_us": row[f"{source}_max_us"],
            "slice_max_us": row["slice_max_us"],
        },
        "memory": {
            name: row[name]
            for name in (
                "live_first",
                "live_mean",
                "live_last",
                "peak",
                "mem_max",
                "exact",
                "growth_per_min",
            )
        },
        **{
            name: row[name] for name in ("overruns", "kills", "restarts", "failures", "log_dropped")
        },
    }


def _recording(recorded: Recorded, boots: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    lost = [boot["losses"] for boot in boots]
    return {
        "file": str(recorded.path),
        "meta": recorded.meta,
        "records": recorded.records,
        "line_bytes": recorded.line_bytes,
        "console_bytes": recorded.console_bytes,
        "missed": sum(one["missed"] for one in lost),
        "dropped": sum(one[f"dropped_{name}"] for one in lost for name in losses.CLASSES),
        "broken_frames": recorded.damage,
        "malformed_batches": recorded.malformed,
        "unknown_records": {str(kind): count for kind, count in recorded.unknown.items()},
        "damaged_chunks": recorded.damaged_chunks,
        "skipped_bytes": recorded.skipped_bytes,
        "tail_bytes": recorded.tail_bytes,
    }


def _notes(recorded: Recorded, boots: Iterable[Mapping[str, Any]]) -> list[str]:
    """What a reader has to know to trust the figures."""
    notes = []
    for boot in boots:
        where = f"boot {boot['run'] + 1}: "
        if any(guest["slices"]["source"] == "counters" for guest in boot["guests"]):
            notes.append(
                where + "slice percentiles need the trace level; without it the mean and the "
                "longest since boot are shown (guesthouse record --trace)"
            )
        elif any(boot["losses"][name] for name in _TRACE_LOSSES):
            notes.append(where + "slice percentiles are of the slices whose records arrived")
        if any(guest["cpu_share"] is None for guest in boot["guests"]):
            notes.append(where + "a share needs two summaries of a guest: record for longer")
        if any(guest["quota_changed"] for guest in boot["guests"]):
            notes.append(where + "quotas were changed; the mean over the time is shown")
        if any(guest["memory"]["exact"] is False for guest in boot["guests"]):
            notes.append(where + "memory marked ~ is estimated, not counted to the block")
        if any(guest["name"].startswith("#") for guest in boot["guests"]):
            notes.append(where + "#N is a guest whose name was not in the recording")
    if recorded.damaged_chunks or recorded.skipped_bytes:
        notes.append(
            f"the file is damaged: {recorded.damaged_chunks} chunks "
            f"({recorded.skipped_bytes} bytes) could not be read"
        )
    if recorded.tail_bytes:
        notes.append(
            f"the last {recorded.tail_bytes} bytes of the file are no whole chunk: it was cut "
            "short, or is still being written"
        )
    if recorded.unknown:
        notes.append(
            f"{sum(recorded.unknown.values())} records are of types that a newer agent sends"
        )
    return notes


def _last_text(said: list[dict[str, Any]]) -> str:
    return str(said[-1]["text"]) if said else ""


def _rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    return frame.drop("run").to_dicts()


def _one(frame: pl.DataFrame) -> dict[str, Any] | None:
    rows = _rows(frame)
    return rows[0] if rows else None
