"""Live bytes per guest are exact: the truth is each guest alone, in a fresh process."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "on_board" / "accuracy.py"

STEPS = 150
"""Enough that the guests collect several times and every pattern has shrunk once."""

PATTERNS = [
    *("lists", "dicts", "strings", "bytearrays", "explicit_frees", "closures", "generators"),
    *("exceptions", "json", "big_ints", "tasks", "queues", "churn", "objects"),
]


def _measure(micropython: list[str], *arguments: str) -> dict[str, int]:
    run = subprocess.run(
        [*micropython, "-X", "heapsize=1m", str(PROGRAM), *arguments, str(STEPS)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    measured: dict[str, int] = json.loads(run.stdout)
    return measured


@pytest.fixture(scope="module")
def alone(micropython: list[str]) -> dict[str, int]:
    return {name: _measure(micropython, "solo", name)[name] for name in PATTERNS}


@pytest.mark.parametrize("twin", ["viper", "plain"])
def test_a_guest_is_charged_beside_others_what_it_takes_alone(
    micropython: list[str], alone: dict[str, int], twin: str
) -> None:
    """No error at all, for fourteen ways to use memory, with collections in between."""
    together = _measure(micropython, "together", twin)
    assert together.pop("collections") >= 1, "the run is too short to prove anything"
    assert together == alone
