"""``bench memory`` in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guesthouse.bench.memory import Memory


def memory_words(result: Memory) -> str:
    """For a terminal."""
    kind = "exact to the block" if result.exact else "estimated"
    lines = [
        f"memory on {result.board}, {result.firmware}; {kind}; bytes",
        "",
        "  pattern               live     alone   error",
    ]
    lines += [
        f"  {one.pattern:16} {one.live_bytes:9} {one.solo_bytes:9} {one.error_bytes:7}"
        for one in result.accuracy
    ]
    lines += ["", "  beyond its limit      held     limit   ended by"]
    lines += [
        f"  {one.pattern:16} {one.peak_bytes or '-':>9} {one.max_bytes:9}   {one.ended_by}"
        for one in result.overshoot
    ]
    lines += ["", f"  lost over {result.leak.kills} kills: {result.leak.bytes_lost}"]
    return "\n".join(lines) + "\n"


def memory_share(result: Memory) -> str:
    """To paste."""
    lines = [
        f"| memory, {result.firmware}, bytes | the house | alone | error |",
        "|---|---:|---:|---:|",
    ]
    lines += [
        f"| {one.pattern} | {one.live_bytes} | {one.solo_bytes} | {one.error_bytes} |"
        for one in result.accuracy
    ]
    lines += ["", "| beyond its limit | held | limit | ended by |", "|---|---:|---:|---|"]
    lines += [
        f"| {one.pattern} | {one.peak_bytes or '-'} | {one.max_bytes} | {one.ended_by} |"
        for one in result.overshoot
    ]
    lines += ["", f"Lost over {result.leak.kills} kills: {result.leak.bytes_lost} bytes."]
    return "\n".join(lines) + "\n"
