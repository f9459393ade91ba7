"""What ``bench`` prints: the same tables for a terminal and to paste."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guesthouse.bench.dispatch import Dispatch
    from guesthouse.bench.quotas import Quotas


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under heads; the first ``left`` columns are words, the others numbers."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1

    def text(self) -> str:
        """In columns."""
        lines = [self.heads, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.heads))]
        told = [f"{self.title}", ""]
        for line in lines:
            cells = [
                cell.ljust(width) if i < self.left else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ]
            told.append("  " + "  ".join(cells).rstrip())
        return "\n".join(told) + "\n"

    def markdown(self) -> str:
        """To paste."""
        rule = ["---" if i < self.left else "---:" for i in range(len(self.heads))]
        lines = [self.heads, rule, *self.rows]
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        return f"{self.title}\n\n{table}\n"


def dispatch_words(result: Dispatch) -> str:
    lines = [
        f"dispatch on {result.board}, {result.firmware}; us of CPU time for one switch",
        "",
        f"  the house, all quotas and telemetry on   {result.ours_us:8.2f}",
        f"  plain asyncio                            {result.asyncio_us:8.2f}",
        f"  a bare generator                         {result.generator_us:8.2f}",
        f"  the house over plain asyncio             {result.ratio:8.2f} x",
        "",
        "  guests  tasks of each  us",
    ]
    lines += [f"  {one.guests:6}  {one.tasks:13}  {one.us:.2f}" for one in result.by_tasks]
    return "\n".join(lines) + "\n"


def dispatch_share(result: Dispatch) -> str:
    lines = [
        f"| dispatch, {result.firmware} | us |",
        "|---|---:|",
        f"| the house, all quotas and telemetry on | {result.ours_us:.2f} |",
        f"| plain asyncio | {result.asyncio_us:.2f} |",
        f"| bare generator | {result.generator_us:.2f} |",
        f"| the house over plain asyncio | {result.ratio:.2f} x |",
    ]
    lines += [
        f"| {one.guests} guests of {one.tasks} tasks | {one.us:.2f} |" for one in result.by_tasks
    ]
    return "\n".join(lines) + "\n"


def quotas_tables(result: Quotas) -> list[Table]:
    """Shares, kills and wake-ups, the worst first in each."""
    return [
        Table(
            "CPU time in % of one CPU, over 10 periods: the window furthest off",
            ("mix", "guest", "requested", "delivered", "error", "overall", "windows"),
            [
                (
                    one.mix,
                    one.guest,
                    f"{one.requested:.2%}",
                    f"{one.delivered:.2%}",
                    f"{100 * one.error:+.2f}",
                    f"{100 * one.overall:+.2f}",
                    str(one.windows),
                )
                for one in result.shares
            ],
            left=2,
        ),
        Table(
            "Kills: us from slice_max to being off the CPU",
            ("kind", "n", "p50", "p99", "max", "survived", "otherwise"),
            [
                (
                    one.kind,
                    *map(str, (one.n, one.p50_us, one.p99_us, one.max_us)),
                    *map(str, (one.survived, one.otherwise)),
                )
                for one in result.kills
            ],
        ),
        Table(
            f"Wake-ups of a control loop, every {result.loop_us // 1000} ms: us from release to "
            "begin",
            ("setup", "releases", "missed", "p50", "p99", "max"),
            [
                (
                    one.setup,
                    *map(str, (one.releases, one.missed, one.p50_us, one.p99_us, one.max_us)),
                )
                for one in result.wakeups
            ],
        ),
    ]


def quotas_words(result: Quotas, share: bool) -> str:
    head = f"Quotas on {result.board}, {result.firmware}"
    if result.steal >= 0.001:
        head += f"; the machine gave {result.steal:.0%} of the time to others"
    tables = quotas_tables(result)
    return "\n".join([head + "\n", *(one.markdown() if share else one.text() for one in tables)])
