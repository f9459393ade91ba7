"""The demo's guests fit the board that they come to, and what is different is said."""

from __future__ import annotations

import pytest

from guesthouse.core.admission import board_figures
from guesthouse.demo.fit import fit
from guesthouse.demo.folders import CONTROL, NAMES, images
from guesthouse.guests.plan import plan

KIB = 1024


def figures(port: str, heap: int, **changes: int) -> dict[str, int]:
    return {**board_figures(port, 0), "heap": heap, **changes}


def test_on_the_unix_port_they_are_as_their_manifests_say() -> None:
    asked = images()
    fitted = fit(asked, figures("unix", 3 * KIB * KIB))
    assert fitted.remarks == ()
    assert [one.digest for one in fitted.images] == [one.digest for one in asked]


@pytest.mark.parametrize("section_us", [4_000, 15_000, 22_000])
def test_a_busier_agent_gives_the_loop_its_share_in_a_longer_period(section_us: int) -> None:
    board = figures("rp2", 128 * KIB, section_us=section_us, section_guest_us=2_000)
    fitted = fit(images(), board)
    assert [one.name for one in fitted.images] == list(NAMES)
    manifests = [one.manifest for one in fitted.images]
    assert plan(manifests, board).fits
    control = next(one for one in manifests if one.name == CONTROL)
    assert control.cpu_min_us and control.cpu_min_period_us
    assert control.cpu_min_us * 10 == control.cpu_min_period_us > 10_000
    (remark,) = fitted.remarks
    assert remark.startswith("control has a reservation of ")
    assert "and not of 1ms/10ms" in remark


def test_guests_without_room_stay_away_and_that_is_said() -> None:
    board = figures("rp2", 64 * KIB)
    fitted = fit(images(), board)
    names = [one.name for one in fitted.images]
    assert 0 < len(names) < len(NAMES)
    assert plan([one.manifest for one in fitted.images], board).fits
    for name in set(NAMES) - set(names):
        assert any(line.startswith(f"{name} stays away: ") for line in fitted.remarks)
