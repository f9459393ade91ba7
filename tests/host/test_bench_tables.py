"""What ``bench`` prints: the same figures for a terminal and to paste."""

from __future__ import annotations

import pytest

from guesthouse.bench.dispatch import ByTasks, Dispatch
from guesthouse.bench.memory import Accuracy, Leak, Memory, Overshoot
from guesthouse.cli.bench_tables import dispatch_words, memory_words

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
