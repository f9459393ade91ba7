"""A promise that is broken in the agent's code on purpose makes its test fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.soak

ROOT = Path(__file__).resolve().parents[3]
POLICY = "tests/host/policy/test_policy.py::test_"
ADMISSION = "tests/agent/test_on_micropython.py::test_on_board[test_admission-test_"


@dataclass(frozen=True, slots=True)
class Mutation:
    """``old`` becomes ``new`` in ``file`` of the agent; ``test`` is to see it."""

    name: str
    file: str
    old: str
    new: str
    test: str


MUTATIONS = [
    Mutation(
        "the-debt-of-a-limit-is-forgiven",
        "meter.py",
        "        left -= used\n        m[_LEFT] = left\n",
        "        left -= used\n        m[_LEFT] = left if left > 0 else 0\n",
        f"{POLICY}they_hold_while_guests_overrun_and_are_killed",
    ),
    Mutation(
        "the-bucket-of-a-limit-is-twice-as-deep",
        "meter.py",
        "            if left >= most:\n                left = most\n",
        "            if left >= 2 * most:\n                left = 2 * most\n",
        f"{POLICY}they_hold_while_a_guest_that_overruns_is_suspended",
    ),
    Mutation(
        "a-reservation-does-not-come-before-others",
        "schedule.py",
        "self.enqueue(instance, self.reserved, reservation.deadline)",
        "self.enqueue(instance, self.runnable, words[meter.VTIME])",
        f"{POLICY}the_promises_hold_for_every_mix_that_is_admitted",
    ),
    Mutation(
        "reservations-are-not-served-by-deadline",
        "schedule.py",
        "self.enqueue(instance, self.reserved, reservation.deadline)",
        "self.enqueue(instance, self.reserved, now)",
        f"{POLICY}they_hold_while_guests_overrun_and_are_killed",
    ),
    Mutation(
        "the-debt-of-a-reservation-is-forgiven",
        "cpu.py",
        "self.words[_MIN_LEFT] = min(least, left + (periods + 1) * least)",
        "self.words[_MIN_LEFT] = least",
        f"{POLICY}the_promises_hold_for_every_mix_that_is_admitted",
    ),
    Mutation(
        "a-load-leaves-debt",
        "kernel.py",
        "            instance.reservation.forfeit()\n",
        "            pass\n",
        f"{POLICY}a_load_leaves_no_debt",
    ),
    Mutation(
        "admission-forgets-the-kill",
        "admission.py",
        'kill = board["kill_us"] if longest else 0',
        "kill = 0",
        f"{ADMISSION}a_wake_up_waits_for_the_longest_slice_its_end_and_the_agent]",
    ),
    Mutation(
        "admission-forgets-the-longest-slice",
        "admission.py",
        "return longest + kill + section_us(specs, board), longest, name",
        "return kill + section_us(specs, board), longest, name",
        f"{ADMISSION}a_wake_up_waits_for_the_longest_slice_its_end_and_the_agent]",
    ),
    Mutation(
        "admission-forgets-overdrafts",
        "admission.py",
        'overdrafts = slices - victim["slice_max_us"]',
        "overdrafts = 0",
        f"{ADMISSION}what_other_reservations_overdraw_is_waiting_too]",
    ),
    Mutation(
        "weights-do-not-count",
        "meter.py",
        "vtime = int(m[VTIME]) + parts // weight",
        "vtime = int(m[VTIME]) + parts // 100",
        f"{POLICY}what_is_left_is_shared_by_weight",
    ),
    Mutation(
        "one-that-slept-is-owed",
        "schedule.py",
        "        if waking and last > words[meter.VTIME]:\n",
        "        if False:\n",
        f"{POLICY}one_that_slept_for_long_is_neither_starved_nor_owed",
    ),
    Mutation(
        "virtual-time-leaves-its-words",
        "schedule.py",
        "            if last:\n                waits",
        "            if False:\n                waits",
        f"{POLICY}virtual_time_never_leaves_its_words",
    ),
    Mutation(
        "one-with-a-budget-is-left-idle",
        "cpu.py",
        "return ticks_add(now, ms + lack * period // most)",
        "return ticks_add(now, ms + 20 + lack * period // most)",
        f"{POLICY}a_limited_guest_alone_gets_what_it_may",
    ),
    Mutation(
        "a-new-budget-is-not-seen",
        "schedule.py",
        "        if reservation.min_us and not instance.refilling:\n",
        "        if False:\n",
        f"{POLICY}the_promises_hold_for_every_mix_that_is_admitted",
    ),
    Mutation(
        "a-breach-is-not-recorded",
        "cpu.py",
        "            if not self.idle:\n                self.judge(",
        "            if False:\n                self.judge(",
        f"{POLICY}a_breach_tells_what_was_in_the_way_and_for_how_long",
    ),
    Mutation(
        "a-breach-has-no-cause",
        "schedule.py",
        "                instance.reservation.darken(us, kind, by, now)",
        "                pass",
        f"{POLICY}a_breach_tells_what_was_in_the_way_and_for_how_long",
    ),
    Mutation(
        "a-part-of-a-suspended-slice-is-free",
        "suspension.py",
        "meter.charge(instance.meter, billing.shared, table.counts, billing.guest())",
        "billing.guest()",
        f"{POLICY}they_hold_while_a_guest_that_overruns_is_suspended",
    ),
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.name)
def test_a_broken_promise_is_seen(mutation: Mutation, tmp_path: Path) -> None:
    for part in ("agent", "host", "boards", "tests"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    file = tmp_path / "agent" / "house" / mutation.file
    source = file.read_text("utf-8")
    assert source.count(mutation.old) == 1, "the code has changed: mutate it anew"
    file.write_text(source.replace(mutation.old, mutation.new), "utf-8")
    options = ["-n0", "-x", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, mutation.test],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": "host"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout[-2_000:]
