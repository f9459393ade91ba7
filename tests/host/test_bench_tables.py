"""What ``bench`` prints: the same figures for a terminal and to paste."""

from __future__ import annotations

import pytest

from guesthouse.bench.dispatch import ByTasks, Dispatch
from guesthouse.bench.kills import Kill
from guesthouse.bench.memory import Accuracy, Leak, Memory, Overshoot
from guesthouse.bench.parts import Missing
from guesthouse.bench.quotas import Quotas
from guesthouse.bench.shares import Share
from guesthouse.bench.wakeups import Wakeup
from guesthouse.cli.bench_tables import dispatch_words, memory_words, quotas_words

DISPATCH = Dispatch("sim", "MicroPython 1.25", 5.9, 4.1, 0.29, (ByTasks(4, 1, 5.91),))
MEMORY = Memory(
    "sim",
    "MicroPython 1.25",
    False,
    (Accuracy("lists", 1_024, 960),),
    (Overshoot("buffers", 32_768, 33_000, "oom"), Overshoot("garbage", 16_384, 0, "none")),
    Leak(300, 352),
)


@pytest.mark.parametrize("share", [False, True])
def test_every_figure_of_a_bench_is_printed(share: bool) -> None:
    told = dispatch_words(DISPATCH, share=share)
    for word in ("sim", "MicroPython 1.25", "5.90", "4.10", "0.29", "1.44 x", "5.91"):
        assert word in told, word
    told = memory_words(MEMORY, share=share)
    for word in ("estimated", "1024", "960", " 64", "33000", "32768", "oom", "none", "300", "352"):
        assert word in told, word
    rows = [line for line in told.splitlines() if "garbage" in line or "buffers" in line]
    assert all(row.startswith("| ") for row in rows) is share
    assert "-" in rows[1].split()  # nobody had to look


QUOTAS = Quotas.of(
    ("sim", "MicroPython 1.25"),
    0.02,
    10_000,
    [Share("weights", "hog0", 0.05, 0.06, 0.001, 3)],
    [Kill.of("loop", [47, 48, 261], 0, 0), Kill.of("exit", [], 0, 0)],
    [Wakeup("alone", 100, 0, 5, 90, 95)],
    ["Kills: slice_max 5 ms."],
    [Missing("kills: exit", "the time was up")],
)


@pytest.mark.parametrize("share", [False, True])
def test_what_was_not_measured_is_a_row_that_says_why(share: bool) -> None:
    told = quotas_words(QUOTAS, share=share)
    for word in ("2% of the time", "+1.00", "261", "- Kills: slice_max 5 ms.", "the time was up"):
        assert word in told, word
    row = next(line for line in told.splitlines() if line.strip("| ").startswith("exit"))
    assert row.replace("|", " ").split() == ["exit", "0", "-", "-", "-", "0", "0"]


def test_no_kills_have_no_latency() -> None:
    row = QUOTAS.to_json_dict()["kills"][1]
    assert (row["n"], row["p50_us"], row["p99_us"], row["max_us"]) == (0, None, None, None)
