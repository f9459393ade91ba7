"""plan: what the board would say, without a board."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from guesthouse.board.profiles import list_profiles
from guesthouse.cli.main import main
from guesthouse.core.admission import board_figures
from guesthouse.core.errors import ExitCode
from guesthouse.demo.folders import folders as demo_folders
from guesthouse.guests.manifest import normalize
from guesthouse.guests.plan import plan

Guest = Callable[[str, str], Path]

CONTROL = '[cpu]\nmin = "1ms/50ms"\nslice_max = "1ms"\n'


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    """Writes a guest's folder."""

    def write(name: str, manifest: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "main.py").write_text("async def main():\n    pass\n")
        (folder / "guest.toml").write_text(manifest)
        return folder

    return write


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    code = main(["plan", *map(str, words)])
    return code, capsys.readouterr().out


def data(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, Any]:
    code, out = run(capsys, *words, "--json")
    return code, json.loads(out)


def test_guests_that_fit_are_told_their_worst_case_with_its_parts(
    guest: Guest, capsys: pytest.CaptureFixture[str]
) -> None:
    control = guest("control", CONTROL)
    logger = guest("logger", '[cpu]\nmax = "10%"\nslice_max = "4ms"\n[memory]\nmax = "32k"\n')
    code, said = data(capsys, control, logger, "--board", "unix")
    board = board_figures("unix", 4 << 20)
    assert code == ExitCode.OK and said["fits"]
    assert (said["cpu_reserved"], said["cpu_limits"], said["mem_max"]) == (0.02, 0.1, 32768)
    first, second = said["guests"]
    assert (first["blocking_guest"], first["blocking_slice_us"]) == ("logger", 4_000)
    assert first["kill_us"] == board["kill_us"]
    assert first["section_us"] == board["section_us"] + 2 * board["section_guest_us"]
    assert first["blocking_us"] == 4_000 + first["kill_us"] + first["section_us"]
    assert first["wakeup_us"] == first["blocking_us"]
    assert first["exhausted_us"] == 50_000
    assert second["wakeup_us"] is None
    code, out = run(capsys, control, logger)
    assert code == ExitCode.OK and out.splitlines()[1].startswith("control  1ms/50ms")
    for words in ("a slice of logger 4 ms", "no bound", "They fit.", "blackouts", "20 ms a step"):
        assert words in out, words


def test_what_does_not_fit_is_refused_with_what_would(
    guest: Guest, capsys: pytest.CaptureFixture[str]
) -> None:
    control = guest("control", CONTROL)
    hog = guest("hog", '[cpu]\nslice_max = "60ms"\n')
    code, said = data(capsys, control, hog)
    assert code == ExitCode.REFUSED and not said["fits"]
    assert [one["fits"] for one in said["guests"]] == [True, False]
    assert "control could miss its cpu.min of 1ms/50ms" in said["guests"][1]["error"]
    # the other way round it is the reservation that comes too late
    code, said = data(capsys, hog, control)
    assert code == ExitCode.REFUSED
    assert [one["fits"] for one in said["guests"]] == [True, False]
    assert "for hog" in said["guests"][1]["hint"]
    code, out = run(capsys, control, hog)
    assert code == ExitCode.REFUSED
    assert "hog is refused: control" in out and "what fits: a slice_max of " in out
    assert "They do not fit." in out


def test_the_oversubscription_can_be_another_one(
    guest: Guest, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [guest(f"g{number}", '[cpu]\nmax = "100%"\n') for number in range(3)]
    assert data(capsys, *folders)[0] == ExitCode.REFUSED
    code, said = data(capsys, *folders, "--oversubscription", "cpu=3")
    assert code == ExitCode.OK
    assert (said["cpu_limits"], said["oversubscription_cpu"]) == (3.0, 3.0)


def test_memory_that_cannot_be_promised_is_refused_with_what_can(
    guest: Guest, capsys: pytest.CaptureFixture[str]
) -> None:
    """Limits share what the agent leaves now and then, reservations what it leaves always."""
    most = guest("most", '[memory]\nmin = "140k"\n')
    more = guest("more", '[memory]\nmin = "10k"\n')
    code, said = data(capsys, most, more, "--board", "rpi_pico")
    assert code == ExitCode.REFUSED
    assert (said["mem_reservable"], said["mem_min"]) == ((228 - 2 * 16 - 48) << 10, 140 << 10)
    assert [one["fits"] for one in said["guests"]] == [True, False]
    assert "8192 are free to reserve" in said["guests"][1]["error"]
    code, out = run(capsys, most, "--board", "rpi_pico")
    assert code == ExitCode.OK and "memory reserved 140k of 148k, limits 0 of 424k" in out


def test_a_guest_of_the_same_name_replaces_the_first_as_a_deploy_does() -> None:
    whole = normalize({"name": "g", "cpu": {"max": "100%"}}, "here")
    planned = plan([whole, whole, whole], board_figures("unix", 4 << 20))
    assert planned.fits and planned.limits_ppm == 1_000_000


@pytest.mark.parametrize("board", list_profiles())
def test_every_profile_can_be_planned_for(
    board: str, guest: Guest, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = data(capsys, guest("g", ""), "--board", board)
    assert code == ExitCode.OK
    assert said["board"] == board and said["heap"] > 0


def test_the_guests_of_the_demo_fit_the_board_that_it_starts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, said = data(capsys, *demo_folders())
    assert code == ExitCode.OK, [one["error"] for one in said["guests"]]
