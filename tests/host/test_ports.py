"""The port a command means, and every way in which it cannot be opened, in words."""

from __future__ import annotations

import errno
import os
import re
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from guesthouse.core.errors import ExitCode
from guesthouse.link import serial as serial_module
from guesthouse.link.holder import find_holder
from guesthouse.link.permission import PortAccess, permission_remedy, remedy_for
from guesthouse.link.ports import Candidate, PortError, PortSpec, resolve
from guesthouse.link.serial import open_serial

SIM = Candidate("sim", "/dev/pts/7", "sim", "simulated")
OTHER_SIM = Candidate("sim:other", "/dev/pts/8", "sim")
PICO_SIM = Candidate("pico-sim", "/dev/pts/9", "pico-sim", "emulated Pico", 0x2E8A, 0x0005)
PICO = Candidate("a0", "/dev/ttyACM0", "serial", "Board in FS mode", 0x2E8A, 0x0005)


def find(
    port: str | None,
    sims: list[Candidate] | None = None,
    ports: list[Candidate] | None = None,
    environ: dict[str, str] | None = None,
) -> PortSpec:
    return resolve(port, sims=sims or [], serial_ports=ports or [], environ=environ or {})


@pytest.fixture
def line() -> Iterator[str]:
    """A pseudo-terminal, raw, with nobody on it."""
    master, slave = os.openpty()
    tty.setraw(slave)
    yield os.ttyname(slave)
    os.close(master)
    os.close(slave)


def test_the_only_board_there_is_needs_no_name() -> None:
    assert find(None, sims=[SIM]) == PortSpec("/dev/pts/7", "sim", "sim")
    assert find(None, ports=[PICO]) == PortSpec("/dev/ttyACM0", "a0", "serial")


def test_several_boards_are_listed_with_what_to_type() -> None:
    with pytest.raises(PortError, match="2 boards, and none was named") as caught:
        find(None, sims=[SIM], ports=[PICO])
    assert caught.value.hint == "choose with -p sim (simulated), -p a0 (Board in FS mode)"


def test_no_board_says_how_to_get_one() -> None:
    with pytest.raises(PortError, match="there is no board") as caught:
        find(None)
    assert "guesthouse sim" in caught.value.hint
    assert caught.value.code is ExitCode.NO_BOARD


def test_the_environment_names_the_port_unless_the_user_does() -> None:
    environ = {"GUESTHOUSE_PORT": "sim"}
    assert find(None, sims=[SIM], ports=[PICO], environ=environ).name == "sim"
    assert find("sim:other", sims=[SIM, OTHER_SIM], environ=environ).name == "sim:other"


@pytest.mark.parametrize(("port", "path"), [("a0", "/dev/ttyACM0"), ("u12", "/dev/ttyUSB12")])
def test_short_names_are_those_of_mpremote(
    monkeypatch: pytest.MonkeyPatch, port: str, path: str
) -> None:
    with pytest.raises(PortError, match=f"there is no port {path}"):
        find(port)
    monkeypatch.setattr(Path, "exists", lambda self: True)
    assert find(port).url == path
    assert find("c3").url == "COM3"
    assert find("com4").url == "COM4"


def test_urls_go_to_pyserial_as_they_are() -> None:
    assert find("rfc2217://board.local:4000") == PortSpec(
        "rfc2217://board.local:4000", "rfc2217://board.local:4000", "url"
    )


def test_simulated_boards_are_found_by_name_or_say_how_to_start() -> None:
    assert find("sim", sims=[OTHER_SIM]).name == "sim:other"
    assert find("sim", sims=[SIM, OTHER_SIM]).name == "sim"
    with pytest.raises(PortError, match="no simulated board is running") as caught:
        find("sim")
    assert caught.value.hint == "start one with: guesthouse sim"
    with pytest.raises(PortError, match="no simulated board named lab is running") as caught:
        find("sim:lab", sims=[SIM])
    assert "guesthouse sim lab" in caught.value.hint
    with pytest.raises(PortError, match="2 simulated boards are running"):
        find("sim", sims=[OTHER_SIM, Candidate("sim:third", "/dev/pts/9", "sim")])


def test_the_emulated_pico_is_found_or_is_to_be_started() -> None:
    running = find("pico-sim", sims=[SIM, PICO_SIM])
    assert (running.url, running.name, running.kind) == ("/dev/pts/9", "pico-sim", "pico-sim")
    assert find("/dev/null", sims=[Candidate("pico-sim", "/dev/null", "pico-sim")]) == PortSpec(
        "/dev/null", "pico-sim", "pico-sim", running.patience
    )
    for port, sims in (
        ("pico-sim", [SIM]),
        ("pico-sim:fresh", [SIM]),
        ("pico-sim:fresh", [PICO_SIM]),
    ):
        assert find(port, sims=sims) == PortSpec("", port, "pico-sim", running.patience)


def test_only_an_emulated_board_is_waited_for_longer() -> None:
    assert find("pico-sim").patience > 1
    assert find("pico-sim", sims=[PICO_SIM]).patience > 1
    assert find("sim", sims=[SIM]).patience == 1
    assert find(None, ports=[PICO]).patience == 1


def test_the_emulated_pico_counts_among_the_boards_but_is_no_sim() -> None:
    assert find(None, sims=[PICO_SIM]).name == "pico-sim"
    assert find("sim", sims=[OTHER_SIM, PICO_SIM]).name == "sim:other"
    with pytest.raises(PortError, match="no simulated board is running"):
        find("sim", sims=[PICO_SIM])
    with pytest.raises(PortError, match="2 boards, and none was named"):
        find(None, sims=[SIM, PICO_SIM])


def test_what_is_no_port_is_told_with_what_is(tmp_path: Path) -> None:
    with pytest.raises(PortError, match="'sampler' is no port") as caught:
        find("sampler", sims=[SIM])
    assert caught.value.code is ExitCode.USAGE
    assert "-p sim" in caught.value.hint
    with pytest.raises(PortError, match="there is no port") as caught:
        find(str(tmp_path / "tty"))
    assert caught.value.code is ExitCode.NO_BOARD
    with pytest.raises(PortError, match="'pico-sim:lab' is no port") as caught:
        find("pico-sim:lab")
    assert "pico-sim:fresh" in caught.value.hint


def test_a_port_is_owned_by_one_and_carries_every_byte(line: str) -> None:
    port = open_serial(PortSpec(line, "line"))
    with pytest.raises(PortError, match="line is held by another program") as caught:
        open_serial(PortSpec(line, "line"))
    assert caught.value.code is ExitCode.BUSY
    port.close()
    port.close()
    again = open_serial(PortSpec(line, "line"))
    again.close()


def test_nobody_holds_a_port_that_only_we_hold(line: str) -> None:
    assert find_holder(line) is None
    assert find_holder("/dev/nonexistent") is None


def test_a_port_that_vanished_or_is_no_port_says_so(tmp_path: Path) -> None:
    with pytest.raises(PortError, match="there is no such port") as caught:
        open_serial(PortSpec(str(tmp_path / "tty"), "a0"))
    assert caught.value.code is ExitCode.NO_BOARD
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(PortError, match="cannot be opened"):
        open_serial(PortSpec(str(file), "file"))
    with pytest.raises(PortError, match="cannot be opened"):
        open_serial(PortSpec("nosuch://x", "nosuch://x", "url"))


def test_a_refused_open_prints_the_remedy(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    import serial

    def refuse(*args: object, **kwargs: object) -> None:
        raise serial.SerialException(errno.EACCES, "could not open port: Permission denied")

    monkeypatch.setattr(serial, "serial_for_url", refuse)
    monkeypatch.setattr(serial_module, "permission_remedy", lambda path: "the remedy")
    with pytest.raises(PortError, match="no permission to open it") as caught:
        open_serial(PortSpec(line, "a0"))
    assert caught.value.hint == "the remedy"


def access(**changes: object) -> PortAccess:
    values: dict[str, object] = {
        "user": "ada",
        "group": "dialout",
        "group_may": True,
        "in_database": False,
        "in_session": False,
        "usb_vendor": "2e8a",
    }
    return PortAccess(**(values | changes))  # type: ignore[arg-type]


def test_the_remedy_is_the_one_command_that_is_missing() -> None:
    said = remedy_for("/dev/ttyACM0", access())
    assert "sudo usermod -aG dialout ada" in said
    assert "log out and in again" in said
    said = remedy_for("/dev/ttyACM0", access(in_database=True))
    assert "usermod" not in said
    assert "newgrp dialout" in said
    for closed in (access(group="root"), access(group_may=False)):
        said = remedy_for("/dev/ttyACM0", closed)
        assert 'ATTRS{idVendor}=="2e8a"' in said
        assert "/etc/udev/rules.d/" in said
        assert "udevadm control --reload" in said


def test_the_remedy_is_worked_out_for_a_real_port(line: str) -> None:
    assert re.search(r"group|ls -l", permission_remedy(line))
    assert "ls -l" in permission_remedy("/dev/nonexistent")
