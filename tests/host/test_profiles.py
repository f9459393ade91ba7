"""Board profiles: those that travel with the package, and wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from guesthouse.board.profiles import list_profiles, load_profile
from guesthouse.core.errors import ExitCode, GuesthouseError

GOOD = """
name = "mine"
title = "My board"
port = "rp2"
[link]
kind = "uart"
bps = 115200
[memory]
heap = "192k"
flash = "1.5M"
[limits]
load_max = "250ms"
[pins]
gp25 = ["gpio", "pwm"]
[devices.bus]
kind = "i2c"
"""


@pytest.mark.parametrize("name", list_profiles())
def test_every_profile_of_the_package_loads(name: str) -> None:
    assert load_profile(name).name == name


def test_the_unix_board_has_a_heap_of_four_mebibytes_and_no_devices() -> None:
    unix = load_profile("unix")
    assert (unix.heap, unix.flash, unix.link_bps) == (4 << 20, None, None)
    assert not unix.pins
    assert not unix.devices


def load(folder: Path, text: str, name: str = "mine") -> object:
    (folder / name).mkdir()
    (folder / name / "board.toml").write_text(text)
    return load_profile(name, folder)


def test_a_profile_says_what_the_board_has(tmp_path: Path) -> None:
    load(tmp_path, GOOD)
    mine = load_profile("mine", tmp_path)
    assert (mine.heap, mine.flash, mine.load_max_us) == (192 * 1024, 3 << 19, 250_000)
    assert (mine.link_kind, mine.link_bps) == ("uart", 115_200)
    assert mine.pins == {"gp25": ("gpio", "pwm")}
    assert mine.devices == {"bus": {"kind": "i2c"}}


@pytest.mark.parametrize(
    ("good", "wrong", "says"),
    [
        ('port = "rp2"', "", "port is missing"),
        ('port = "rp2"', "port = 2", "port must be a text, not 2"),
        ('"mine"', '"yours"', "must be that of its folder"),
        ('"uart"', '"radio"', "link.kind must be one of pty, usb-cdc, uart, not 'radio'"),
        ("bps = 115200", "bps = -1", "link.bps must be a whole number"),
        ("bps = 115200", "bsp = 1", "unknown key link.bsp"),
        ('heap = "192k"', 'heap = "much"', "memory.heap: 'much'"),
        ('heap = "192k"', "", "memory.heap is missing"),
        ('load_max = "250ms"', "load_max = 250", "limits.load_max"),
        ('["gpio", "pwm"]', '"gpio"', "pins.gp25 must be a list of texts"),
        ("[devices.bus]", "[device.bus]", "unknown key device"),
        ("[link]\n", "link = 1\n[x]\n", "link must be a table"),
        ("[link]", "[link", "board.toml: "),
    ],
)
def test_a_wrong_profile_names_the_file_and_the_key(
    tmp_path: Path, good: str, wrong: str, says: str
) -> None:
    assert good in GOOD
    with pytest.raises(GuesthouseError) as caught:
        load(tmp_path, GOOD.replace(good, wrong))
    assert str(tmp_path / "mine" / "board.toml") in caught.value.message
    assert says in caught.value.message


def test_a_profile_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path) -> None:
    load(tmp_path, GOOD)
    with pytest.raises(GuesthouseError, match="'pico'") as caught:
        load_profile("pico", tmp_path)
    assert caught.value.hint == "the profiles are: mine"
    assert caught.value.code == ExitCode.USAGE
