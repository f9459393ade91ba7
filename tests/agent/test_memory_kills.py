"""Kills lose no memory, however many there are."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "on_board" / "kills.py"

ONCE = 1024
"""Bytes that the agent takes once in its life, some of them late."""


@pytest.mark.parametrize("kills", [300, pytest.param(10_000, marks=pytest.mark.soak)])
def test_identical_restarts_lose_nothing(micropython: list[str], kills: int) -> None:
    """Each time the guest's own count is zero, and in the end the heap is as it was."""
    run = subprocess.run(
        [*micropython, "-X", "heapsize=4m", str(PROGRAM), str(kills)],
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    found = json.loads(run.stdout)
    assert found["kills"] >= kills
    assert found["lost"] <= ONCE, found
    assert found["strays"] <= ONCE, found
    assert (found["left"], found["right"], found["exact"]) == (0, True, True)
