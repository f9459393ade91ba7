"""``bench memory`` on a simulated board: its contract, and that the quotas hold."""

from __future__ import annotations

import json
import platform
from typing import Any

import pytest

from guesthouse.bench.memory import ALLOWED_BYTES, HOARDERS, KILLS, PATTERNS, source
from tests.system.test_bench import bench

pytestmark = pytest.mark.skipif(platform.system() != "Linux", reason="these boards need Linux")


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    done = bench(tmp_path_factory.mktemp("bench"), "memory", "--json")
    assert done.returncode == 0, done.stderr
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


def test_the_object_has_the_keys_of_the_contract(memory: dict[str, Any]) -> None:
    assert {"board", "firmware", "accuracy", "overshoot", "leak"} <= set(memory)
    assert memory["mem_exact"] is True
    for row in memory["accuracy"]:
        assert set(row) == {"pattern", "live_bytes", "solo_bytes", "error_bytes"}
    for row in memory["overshoot"]:
        assert set(row) == {"pattern", "max_bytes", "peak_bytes", "ended_by"}
    assert set(memory["leak"]) == {"kills", "bytes_lost"}


def test_guests_are_charged_what_their_programs_take_alone(memory: dict[str, Any]) -> None:
    """Twelve patterns or more, and most of them without any error at all."""
    rows = memory["accuracy"]
    assert [row["pattern"] for row in rows] == list(PATTERNS) and len(rows) >= 12
    assert all(row["solo_bytes"] > 0 for row in rows)
    errors = {row["pattern"]: row["error_bytes"] for row in rows}
    assert all(abs(error) <= ALLOWED_BYTES for error in errors.values()), errors
    assert sum(error == 0 for error in errors.values()) >= 10, errors


def test_every_hoarder_is_ended_and_who_makes_garbage_is_not(memory: dict[str, Any]) -> None:
    rows = {row["pattern"]: row for row in memory["overshoot"]}
    assert list(rows) == list(HOARDERS)
    assert rows.pop("garbage")["ended_by"] == "none"
    assert {row["ended_by"] for row in rows.values()} == {"oom"}
    for name in ("small_objects", "buffers", "retry"):
        # what they take in one slice, and what a list grows by
        assert rows[name]["max_bytes"] < rows[name]["peak_bytes"] < rows[name]["max_bytes"] + 4096


def test_one_slice_gets_no_further_than_the_slack(memory: dict[str, Any]) -> None:
    """256 KiB on these boards, and what a list grows by."""
    row = next(row for row in memory["overshoot"] if row["pattern"] == "one_slice")
    assert row["peak_bytes"] <= row["max_bytes"] + (256 + 64) * 1024, row


def test_many_kills_lose_nothing(memory: dict[str, Any]) -> None:
    assert memory["leak"]["kills"] == KILLS
    assert abs(memory["leak"]["bytes_lost"]) <= 1024


def test_both_sides_run_the_same_text_with_nothing_of_the_others_in_it() -> None:
    text = source("patterns.py", "lists", 7)
    assert "STEPS = 7" in text and "PATTERN = lists" in text and "async def lists" in text
    assert "async def dicts" not in text and "async def main" in text
