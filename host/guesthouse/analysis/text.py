"""The report as a page of text. It reads the report's data and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from guesthouse.core.sentences import in_the_way
from guesthouse.core.units import fmt_bytes, fmt_share, fmt_us

Data = Mapping[str, Any]


def render(data: Data) -> str:
    """The page: the recording, each boot in it, and what has to be known to trust the figures."""
    lines = _recording(data["recording"], data["boots"])
    for boot in data["boots"]:
        lines += ["", *_boot(boot, len(data["boots"]))]
    if data["notes"]:
        lines += ["", "Notes", *(f"  {note}" for note in data["notes"])]
    return "\n".join(lines) + "\n"


def _recording(recording: Data, boots: Sequence[Data]) -> list[str]:
    begin = datetime.fromtimestamp(boots[0]["wall_from_ns"] / 1e9, UTC)
    span_us = (boots[-1]["wall_to_ns"] - boots[0]["wall_from_ns"]) / 1e3
    port = recording["meta"].get("port", "an unknown port")
    size = fmt_bytes(recording["line_bytes"])
    lost = (
        f"{recording['missed']:,} lost on the line, {recording['dropped']:,} dropped on the board"
    )
    return [
        f"{recording['file']}: {fmt_us(span_us)} from {port}, {begin:%Y-%m-%d %H:%M:%S} UTC",
        f"{recording['records']:,} records in {size}; {lost}",
    ]


def _boot(boot: Data, boots: int) -> list[str]:
    which = f"Boot {boot['run'] + 1} of {boots}" if boots > 1 else "Boot"
    said = ", ".join(text for text in (boot["board"], boot["firmware"]) if text)
    said = said or "a board that has not said its name"
    span = f"{fmt_us(boot['to_us'] - boot['from_us'])} up to {fmt_us(boot['to_us'])} after boot"
    lines = [f"{which} {boot['boot_id']:08x}: {said}; {span}"]
    if boot["time"] and boot["time"]["elapsed_us"]:
        lines.append("  time    " + _time(boot["time"]))
    if heap := boot["heap"]:
        lines.append(
            f"  heap    {fmt_bytes(heap['used_max'])} of {fmt_bytes(heap['pool'])} at most, agent "
            f"{fmt_bytes(heap['agent_max'])}, longest collection "
            f"{fmt_us(heap['longest_collection_us'])}"
        )
    lines += [
        f"  {one['kind']:7} {one['count']:,} blackouts, {fmt_us(one['total_us'])} in all, "
        f"longest {fmt_us(one['max_us'])}"
        for one in boot["blackouts"]
    ]
    lines += ["", *_cpu(boot["guests"]), "", *_slices(boot["guests"])]
    lines += ["", *_memory(boot["guests"]), "", *_faults(boot["faults"], boot["guests"])]
    lines += _breaches(boot["breaches"])
    return [*lines, "", *_losses(boot["losses"], boot["link"])]


def _time(time: Data) -> str:
    def share(name: str) -> str:
        return fmt_share(time[name] / time["elapsed_us"])

    return (
        f"guests {share('guests_us')}, agent {share('agent_us')} (telemetry "
        f"{share('telemetry_us')}), idle {share('idle_us')}, stolen {share('steal_us')}, "
        f"unaccounted {share('unaccounted_us')}"
    )


def _cpu(guests: Iterable[Data]) -> list[str]:
    rows = [
        (
            guest["name"],
            fmt_share(guest["cpu_share"]),
            fmt_share(guest["cpu_peak_share"]),
            fmt_share(guest["cpu_max"]),
            fmt_share(guest["cpu_min"]),
            fmt_us(guest["throttled_us"]),
            fmt_share(guest["pressure"]),
        )
        for guest in guests
    ]
    return table("CPU", ("share", "peak", "max", "min", "throttled", "pressure"), rows)


def _slices(guests: Iterable[Data]) -> list[str]:
    rows = [
        (
            guest["name"],
            _count(one["count"]),
            fmt_us(one["mean_us"]),
            fmt_us(one["p50_us"]),
            fmt_us(one["p95_us"]),
            fmt_us(one["p99_us"]),
            fmt_us(one["max_us"]),
            fmt_us(one["slice_max_us"]),
        )
        for guest in guests
        if (one := guest["slices"])
    ]
    return table("Slices", ("count", "mean", "p50", "p95", "p99", "longest", "slice_max"), rows)


def _memory(guests: Iterable[Data]) -> list[str]:
    rows = [
        (
            guest["name"],
            ("~" if one["exact"] is False else "") + fmt_bytes(one["live_last"]),
            fmt_bytes(one["peak"]),
            fmt_bytes(one["mem_max"]),
            "-" if one["growth_per_min"] is None else _growth(one["growth_per_min"]),
        )
        for guest in guests
        if (one := guest["memory"])
    ]
    return table("Memory", ("live", "peak", "max", "growth"), rows)


def _growth(per_minute: float) -> str:
    if abs(per_minute) < 0.5:
        return "none"
    return f"{'+' if per_minute > 0 else '-'}{fmt_bytes(abs(per_minute))}/min"


def _faults(faults: Sequence[Data], guests: Iterable[Data]) -> list[str]:
    counted = [
        f"  {guest['name']}: {guest['overruns']} overruns, {guest['kills']} kills, "
        f"{guest['failures']} failures, {guest['restarts']} restarts since boot"
        for guest in guests
        if guest["overruns"] or guest["kills"] or guest["failures"] or guest["restarts"]
    ]
    if not faults and not counted:
        return ["No overruns, kills or crashes"]
    lines = ["Overruns, kills and crashes"]
    for fault in faults:
        times = "once" if fault["count"] == 1 else f"{fault['count']} times"
        at = f" at {fault['line']}" if fault["line"] else ""
        lines.append(f"  {fault['guest']}: {fault['reason']} {times}{at}")
        if " < " in fault["where"]:
            lines.append(f"      {fault['where']}")
        if fault["what"]:
            lines.append(f"      {fault['what']}")
    return lines + counted


def _breaches(breaches: Sequence[Data]) -> list[str]:
    if not breaches:
        return []
    lines = ["", "Reservations that were missed"]
    for one in breaches:
        way = "with no blackout in the way"
        if one["cause"] != "none":
            way = f"for {in_the_way(one['cause'], one['length_max_us'])} at most"
        lines.append(
            f"  {one['guest']}: by {fmt_us(one['missing_max_us'])} at most, {way}; "
            f"{one['count']:,} deadlines since boot"
        )
    return lines


def _losses(losses: Data, link: Data | None) -> list[str]:
    dropped = {
        name.removeprefix("dropped_"): count
        for name, count in losses.items()
        if name.startswith("dropped_") and count
    }
    lines = [
        f"Lost on the line: {losses['missed']:,} records in {losses['gaps']:,} gaps"
        if losses["missed"]
        else "Lost on the line: nothing",
        "Dropped on the board: "
        + (", ".join(f"{count:,} {name}" for name, count in dropped.items()) or "nothing"),
    ]
    if link and (link["stalls"] or link["damaged_commands"] or link["discarded_bytes"]):
        lines.append(
            f"The board counted {link['stalls']:,} stalls of the host, "
            f"{link['damaged_commands']:,} damaged commands and "
            f"{link['discarded_bytes']:,} discarded bytes"
        )
    return lines


def table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows under their heads: the first column to the left, under the title, others right."""
    if not rows:
        return [f"{title}: no guest"]
    widths = [
        max(len(row[place]) for row in [(title, *heads), *rows]) for place in range(len(heads) + 1)
    ]

    def line(cells: Sequence[str]) -> str:
        first = cells[0].ljust(widths[0])
        rest = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
        return "  ".join([first, *rest]).rstrip()

    return [line((title, *heads)), *(line(row) for row in rows)]


def _count(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"
