"""``bench dispatch`` prints what its contract says; the figures themselves are no test's matter."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from guesthouse.bench.dispatch import BY_TASKS, image, source
from guesthouse.core.errors import ExitCode

pytestmark = pytest.mark.skipif(platform.system() != "Linux", reason="these boards need Linux")

PATIENCE_S = 300


def bench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name != "GUESTHOUSE_PORT"}
    return subprocess.run(
        [sys.executable, "-m", "guesthouse.cli.main", "bench", *arguments],
        env={**kept, "XDG_STATE_HOME": str(folder / "state")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


@pytest.fixture(scope="module")
def dispatch(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    done = bench(
        tmp_path_factory.mktemp("bench"),
        *("dispatch", "--json", "--seconds", "0.2", "--rounds", "1"),
    )
    assert done.returncode == 0, done.stderr
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


def test_the_object_has_the_keys_of_the_contract(dispatch: dict[str, Any]) -> None:
    assert set(dispatch) == {
        *("board", "firmware", "ours_us", "asyncio_us", "generator_us", "ratio", "by_tasks"),
        "left_out",
    }
    assert dispatch["left_out"] == []
    assert dispatch["firmware"].startswith("MicroPython")


def test_the_ratio_is_that_of_the_two_sides(dispatch: dict[str, Any]) -> None:
    expected = dispatch["ours_us"] / dispatch["asyncio_us"]
    assert dispatch["ratio"] == pytest.approx(expected, rel=0.01)


def test_nothing_is_cheaper_than_a_bare_generator(dispatch: dict[str, Any]) -> None:
    assert 0 < dispatch["generator_us"] < dispatch["asyncio_us"]
    assert dispatch["generator_us"] < dispatch["ours_us"]


def test_few_and_many_guests_with_few_and_many_tasks_are_measured(
    dispatch: dict[str, Any],
) -> None:
    assert [(one["guests"], one["tasks"]) for one in dispatch["by_tasks"]] == list(BY_TASKS)
    assert all(one["us"] > 0 for one in dispatch["by_tasks"])


def test_every_measured_guest_has_all_its_quotas() -> None:
    for guests, tasks in BY_TASKS:
        manifest = image(0, guests, tasks).manifest
        assert manifest.cpu_max_us is not None
        assert manifest.mem_max is not None
        # They fit one board, and do not bind: each gets the same share at most.
        share = manifest.cpu_max_us / manifest.cpu_period_us
        assert 1 / guests < share <= 2 / guests


def test_the_measured_program_differs_in_nothing_but_its_number_of_tasks() -> None:
    one, many = source(1).splitlines(), source(50).splitlines()
    assert [(a, b) for a, b in zip(one, many, strict=True) if a != b] == [
        ("TASKS = 1", "TASKS = 50")
    ]


def test_a_number_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    for arguments in (("--seconds", "0"), ("--rounds", "none"), ("--rounds", "0")):
        assert bench(tmp_path, "dispatch", *arguments).returncode == ExitCode.USAGE
