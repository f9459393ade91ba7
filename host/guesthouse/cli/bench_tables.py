"""What ``bench`` prints: the same tables for a terminal and to paste."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guesthouse.bench.dispatch import Dispatch
    from guesthouse.bench.memory import Memory
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
        told = [self.title, ""]
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


def words(head: str, tables: Sequence[Table], *, share: bool) -> str:
    """A line that says what was measured where, and the tables; with ``share`` to paste."""
    return "\n".join([f"{head}\n", *(one.markdown() if share else one.text() for one in tables)])


def dispatch_words(result: Dispatch, *, share: bool) -> str:
    tables = [
        Table(
            "One switch: us of CPU time",
            ("side", "us"),
            [
                ("the house, all quotas and telemetry on", f"{result.ours_us:.2f}"),
                ("plain asyncio", f"{result.asyncio_us:.2f}"),
                ("a bare generator", f"{result.generator_us:.2f}"),
                ("the house over plain asyncio", f"{result.ratio:.2f} x"),
            ],
        ),
        Table(
            "The house, by guests and their tasks: us",
            ("guests", "tasks of each", "us"),
            [(str(one.guests), str(one.tasks), f"{one.us:.2f}") for one in result.by_tasks],
            left=0,
        ),
    ]
    if result.left_out:
        tables.append(
            Table(
                "Not measured",
                ("guests", "tasks of each", "why"),
                [(str(one.guests), str(one.tasks), one.why) for one in result.left_out],
                left=0,
            )
        )
    return words(f"Dispatch on {result.board}, {result.firmware}", tables, share=share)


def memory_words(result: Memory, *, share: bool) -> str:
    kind = "exact to the block" if result.exact else "estimated"
    tables = [
        Table(
            "What guests are charged, and what their programs take alone: bytes",
            ("pattern", "live", "alone", "error"),
            [
                (one.pattern, str(one.live_bytes), str(one.solo_bytes), str(one.error_bytes))
                for one in result.accuracy
            ],
        ),
        Table(
            "Beyond a limit: bytes",
            ("pattern", "ended by", "held", "limit"),
            [
                (one.pattern, one.ended_by, str(one.peak_bytes or "-"), str(one.max_bytes))
                for one in result.overshoot
            ],
            left=2,
        ),
        Table(
            "What kills lose",
            ("kills", "bytes"),
            [(str(result.leak.kills), str(result.leak.bytes_lost))],
            left=0,
        ),
    ]
    return words(f"Memory on {result.board}, {result.firmware}; {kind}", tables, share=share)


def quotas_tables(result: Quotas) -> list[Table]:
    """Shares, kills and wake-ups, the worst first in each; and what is missing."""
    rows = [(one.part, one.why) for one in result.missing]
    missing = [Table("Not measured", ("part", "why"), rows, left=2)] if rows else []
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
                    str(one.n),
                    *map(_us, (one.p50_us, one.p99_us, one.max_us)),
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
        *missing,
    ]


def _us(value: int | None) -> str:
    return "-" if value is None else str(value)


def quotas_words(result: Quotas, *, share: bool) -> str:
    head = f"Quotas on {result.board}, {result.firmware}"
    if result.steal >= 0.001:
        head += f"; the machine gave {result.steal:.0%} of the time to others"
    head = "\n".join([head, *(f"- {sentence}" for sentence in result.how)])
    return words(head, quotas_tables(result), share=share)
