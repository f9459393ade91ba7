"""Board profiles: those that travel with the package, and wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from guesthouse.board.profiles import Device, list_profiles, load_profile
from guesthouse.core.assets import boards_dir
from guesthouse.core.errors import ExitCode, GuesthouseError
from guesthouse.guests.manifest import normalize

GOOD = """
name = "mine"
title = "My board"
port = "rp2"
[link]
kind = "uart"
bps = 115200
[memory]
heap = "192k"
agent = "40k"
flash = "1.5M"
[limits]
load_max = "250ms"
[pins]
gp25 = ["gpio", "pwm"]
[devices.bus]
kind = "i2c"
address = "0"
"""


@pytest.mark.parametrize("name", list_profiles())
def test_every_profile_of_the_package_loads(name: str) -> None:
    assert load_profile(name).name == name


def test_the_unix_board_has_a_heap_of_four_mebibytes_and_no_devices() -> None:
    unix = load_profile("unix")
    assert (unix.heap, unix.flash, unix.link_bps) == (4 << 20, None, None)
    assert not unix.pins
    assert not unix.devices


def test_the_picos_differ_where_the_boards_do() -> None:
    pico, wifi, second = map(load_profile, ("rpi_pico", "rpi_pico_w", "rpi_pico2"))
    assert pico.flash == 1408 * 1024
    assert (wifi.flash or 0) < pico.flash < (second.flash or 0)
    assert wifi.heap < pico.heap < second.heap
    # On the W the radio has the pin that is the light elsewhere.
    assert "gp25" in pico.pins
    assert "gp25" not in wifi.pins
    assert (pico.devices["led"].request, wifi.devices["led"].request) == ("gpio:25", "gpio:LED")
    assert ("pio2" in pico.devices, "pio2" in second.devices) == (False, True)
    assert [name for name, uses in pico.pins.items() if "adc" in uses] == ["gp26", "gp27", "gp28"]


@pytest.mark.parametrize("name", list_profiles())
def test_every_device_of_a_profile_can_stand_in_a_manifest(name: str) -> None:
    profile = load_profile(name)
    asked = {device: one.request for device, one in profile.devices.items()}
    asked |= {pin: f"gpio:{pin.removeprefix('gp')}" for pin in profile.pins}
    assert dict(normalize({"name": "all", "devices": asked}, "test").devices) == asked


@pytest.mark.parametrize("name", list_profiles())
def test_a_profile_says_what_has_been_run_there(name: str) -> None:
    readme = (boards_dir() / name / "README.md").read_text(encoding="utf-8")
    assert "## What has been run here" in readme


def load(folder: Path, text: str, name: str = "mine") -> object:
    (folder / name).mkdir()
    (folder / name / "board.toml").write_text(text)
    return load_profile(name, folder)


def test_a_profile_says_what_the_board_has(tmp_path: Path) -> None:
    load(tmp_path, GOOD)
    mine = load_profile("mine", tmp_path)
    assert (mine.heap, mine.agent, mine.flash) == (192 * 1024, 40 * 1024, 3 << 19)
    assert mine.load_max_us == 250_000
    assert (mine.link_kind, mine.link_bps) == ("uart", 115_200)
    assert mine.pins == {"gp25": ("gpio", "pwm")}
    assert mine.devices == {"bus": Device("i2c", "0")}
    assert mine.devices["bus"].request == "i2c:0"


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
        ('["gpio", "pwm"]', '"gpio"', "pins.gp25 must be a list out of adc, gpio, pwm"),
        ('["gpio", "pwm"]', '["gipo"]', "pins.gp25 must be a list out of adc, gpio, pwm"),
        ("[devices.bus]", "[device.bus]", "unknown key device"),
        ('"i2c"', '"i3c"', "devices.bus.kind must be one of adc, gpio"),
        ('address = "0"', "", "devices.bus.address is missing"),
        ('address = "0"', 'address = "0"\nadress = "1"', "unknown key devices.bus.adress"),
        ('port = "rp2"', 'port = "rp2"\nstubs = "some stubs"', "stubs must be a package"),
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
