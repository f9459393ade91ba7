"""Flashing an emulated Pico: real firmware, the real REPL, cables pulled and power cut.

The pieces that are cut belong to a small package: what is tried is how it gets there, and the
board's real main.py. The agent itself is flashed once, and mended once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import serial

from guesthouse.board import picosim, uf2
from guesthouse.board.firmware import Firmware
from guesthouse.cli.main import main
from guesthouse.core.assets import agent_dir
from guesthouse.core.errors import ExitCode, GuesthouseError
from guesthouse.install.board import ReplBoard
from guesthouse.install.filesystem import flash_image
from guesthouse.install.flash import Flashed, flash_board, unflash_board
from guesthouse.install.package import BoardFile, Package, build_package
from guesthouse.install.repl import BoardError, Repl
from guesthouse.install.target import target_of_family
from guesthouse.link.ports import PortSpec
from guesthouse.link.transport import PortLost
from tests.support.agent_pico import region_of
from tests.support.pico import PATIENCE_S, run

pytestmark = pytest.mark.skipif(platform.system() != "Linux", reason="these boards need Linux")

USERS = b"print('mine')\n"
SEED = 20


def small(folder: Path, version: str, firmware: Firmware) -> Package:
    """A package that prints the version of each of its two modules."""
    house = folder / version / "house"
    (house / "ports").mkdir(parents=True)
    (house / "__init__.py").write_text("")
    (house / "boot.py").write_text(f'VERSION = "{version}"\n')
    (house / "more.py").write_text(f'VERSION = "{version}"\n')
    source = "from house import boot, more\nprint('whole', boot.VERSION, more.VERSION)\n"
    (house.parent / "main.py").write_text(source)
    shutil.copy(agent_dir() / "board_main.py", house.parent)
    target = target_of_family(firmware.family)
    assert target is not None
    return build_package(target, house.parent)


@pytest.fixture(scope="module")
def old(firmware: Firmware, tmp_path_factory: pytest.TempPathFactory) -> Package:
    return small(tmp_path_factory.mktemp("old"), "1.0", firmware)


@pytest.fixture(scope="module")
def new(firmware: Firmware, tmp_path_factory: pytest.TempPathFactory) -> Package:
    return small(tmp_path_factory.mktemp("new"), "2.0", firmware)


def port(board: picosim.SimBoard) -> PortSpec:
    return PortSpec(board.path, "pico-sim", "pico-sim", 10.0)


def flash(
    board: picosim.SimBoard, what: Package, after: Callable[[Repl], None] | None = None
) -> tuple[Flashed, str]:
    """Flash ``what`` and start it; what the board prints then.

    ``after`` is called with every piece that is on the board.
    """
    with Repl(port(board)) as repl:
        seen = (lambda *_: after(repl)) if after else (lambda *_: None)
        done = flash_board(ReplBoard(repl), seen, lambda _: what)
        repl.restart()
    return done, said(board)


def started(board: picosim.SimBoard) -> str:
    """What the board prints when it starts anew."""
    with Repl(port(board)) as repl:
        repl.restart()
    return said(board)


def said(board: picosim.SimBoard) -> str:
    with serial.Serial(board.path, timeout=PATIENCE_S, exclusive=True) as line:
        return str(line.read_until(b">>> ").decode())


def image(firmware: Firmware, *packages: Package, files: tuple[BoardFile, ...] = ()) -> bytes:
    everything = [file for one in packages for file in one.everything()]
    return flash_image(firmware, [*everything, *files], picosim.FLASH_SIZE)


@pytest.fixture(scope="module")
def board(firmware: Firmware, old: Package) -> Iterator[picosim.SimBoard]:
    """A board with the old package and a file of the user's."""
    flashed = image(firmware, old, files=(BoardFile("notes.txt", b"n"),))
    with picosim.private_board(firmware=firmware, flash=flashed) as one:
        yield one


def test_a_board_gets_what_changed_and_is_given_back(
    firmware: Firmware, old: Package, new: Package
) -> None:
    mine = image(firmware, files=(BoardFile("main.py", USERS),))
    with picosim.private_board(firmware=firmware, flash=mine) as board:
        done, printed = flash(board, old)
        assert (len(done.sent), done.kept) == (5, ("main.py.before-guesthouse",))
        assert "whole 1.0 1.0" in printed
        done, printed = flash(board, new)
        assert set(done.sent) == {"lib/house/boot.mpy", "lib/house/more.mpy"}
        assert "whole 2.0 2.0" in printed
        with Repl(port(board)) as repl:
            assert flash_board(ReplBoard(repl), lambda *_: None, lambda _: new).sent == ()
            unflash_board(ReplBoard(repl), keep_guests=False, may_remove=lambda: None)
            repl.restart()
        assert "mine" in said(board)
        assert run(board.path, "import os; print(os.listdir())") == "['main.py']"


def pull_the_cable(
    board: picosim.SimBoard, old: Package, new: Package, times: int, seed: int = SEED
) -> None:
    """Each time while the other one of the two is on the board."""
    chance = random.Random(seed)
    for _ in range(times):
        left = chance.randrange(1, 8)

        def pull(repl: Repl) -> None:
            nonlocal left
            left -= 1
            if not left:
                repl._transport.serial.close()

        with contextlib.suppress(PortLost):
            flash(board, new, pull)
        assert "whole 1.0 1.0" in (printed := started(board)) or "whole 2.0 2.0" in printed
        assert f"whole {new.version} {new.version}" in flash(board, new)[1]
        old, new = new, old


def test_a_pulled_cable_leaves_the_old_agent_and_the_next_flash_goes_on(
    board: picosim.SimBoard, old: Package, new: Package
) -> None:
    pull_the_cable(board, old, new, 3)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1, 6))
def test_a_pulled_cable_ten_times(
    firmware: Firmware, old: Package, new: Package, seed: int
) -> None:
    with picosim.private_board(firmware=firmware, flash=image(firmware, old)) as board:
        pull_the_cable(board, old, new, 10, seed)


def cuts(number: int) -> list[int]:
    """At which write to the flash the power is cut."""
    chance = random.Random(SEED)
    writes: list[int] = []
    while len(writes) < number:
        writes += chance.sample(range(1, WRITES + 1), WRITES)
    return writes[:number]


WRITES = 12  # that a flash of the new package makes, at least


def cut_the_power(firmware: Firmware, old: Package, new: Package, cut_at: int) -> None:
    flashed = image(firmware, old)
    with picosim.private_board(firmware=firmware, flash=flashed, cut_at=cut_at) as victim:
        with contextlib.suppress(GuesthouseError):
            flash(victim, new)
        now = picosim.refresh(victim)
        assert now is not None
        assert now.last_end == "exit status 75", "the power was not cut: WRITES is too many"
        flashed = (victim.root / picosim.FLASH_FILE).read_bytes()
    with picosim.private_board(firmware=firmware, flash=flashed) as board:
        assert "whole 1.0 1.0" in (printed := said(board)) or "whole 2.0 2.0" in printed
        assert "whole 2.0 2.0" in flash(board, new)[1]


@pytest.mark.parametrize("cut_at", cuts(3))
def test_power_cut_during_a_flash_leaves_one_agent_whole(
    firmware: Firmware, old: Package, new: Package, cut_at: int
) -> None:
    cut_the_power(firmware, old, new, cut_at)


@pytest.mark.soak
@pytest.mark.parametrize("cut_at", cuts(50))
def test_power_cut_during_a_flash_fifty_times(
    firmware: Firmware, old: Package, new: Package, cut_at: int
) -> None:
    cut_the_power(firmware, old, new, cut_at)


def test_a_flash_that_fills_up_under_way_says_so(board: picosim.SimBoard, old: Package) -> None:
    with Repl(port(board)) as repl, pytest.raises(BoardError, match="is full") as caught:
        on_board = ReplBoard(repl)
        on_board.stage([BoardFile("a", b"1")], lambda *_: None)
        repl.run("def digest(path): raise OSError(28)")  # ENOSPC, whenever it comes
        on_board.stage([BoardFile("b", b"1")], lambda *_: None)
    assert caught.value.code == ExitCode.REFUSED
    assert run(board.path, "import os; print('b' in os.listdir())") == "False"
    assert "whole" in started(board)


@pytest.mark.soak
def test_the_agent_goes_to_a_blank_board_with_a_guest_and_comes_off_again(
    firmware: Firmware,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("GUESTHOUSE_PORT", raising=False)
    guest = tmp_path / "hello"
    guest.mkdir()
    (guest / "main.py").write_text("async def main():\n    print('hello')\n")
    try:
        words = ["-p", "pico-sim:fresh", "flash", "--json", "--guest", str(guest)]
        assert main([*words, "--firmware", str(firmware.path)]) == ExitCode.OK
        done = json.loads(capsys.readouterr().out)
        assert [one["instance"] for one in done["guests"]] == ["hello.0"]
        assert main(["-p", "pico-sim", "unflash"]) == ExitCode.USAGE
        assert "--keep-guests or --yes" in capsys.readouterr().err
        flashed = picosim.require().root / picosim.FLASH_FILE
        assert region_of(flashed.read_bytes()).strip(b"\xff")
        assert main(["-p", "pico-sim", "unflash", "--yes"]) == ExitCode.OK
        assert not region_of(flashed.read_bytes()).strip(b"\xff")
        assert run(picosim.require().path, "import os; print(os.listdir())") == "[]"
    finally:
        picosim.stop()


def drive(folder: Path, board: str) -> Path:
    folder.mkdir()
    (folder / "INFO_UF2.TXT").write_text(
        f"UF2 Bootloader v3.0\r\nModel: Raspberry Pi\r\nBoard-ID: {board}\r\n"
    )
    return folder


def test_bootsel_copies_the_image_to_the_drive_and_refuses_another_chip(
    firmware: Firmware,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from guesthouse.install import drag

    monkeypatch.setattr(drag, "_GONE_S", 0.0)
    pico, pico2 = drive(tmp_path / "pico", "RPI-RP2"), drive(tmp_path / "pico2", "RP2350")
    words = ["flash", "--bootsel", "--firmware", str(firmware.path)]
    assert main([*words, "--drive", str(pico)]) == ExitCode.USAGE  # nobody to ask
    assert "All files on the RPI-RP2" in capsys.readouterr().err
    assert main([*words, "--drive", str(pico), "--yes"]) == ExitCode.OK
    written = uf2.read(pico / "guesthouse.uf2")
    assert written.segments[0] == firmware.image().segments[0]
    assert len(written.segments) > len(firmware.image().segments)
    assert main([*words, "--drive", str(pico2), "--yes"]) == ExitCode.USAGE
    assert "is a RP2350, and the firmware is for the RP2040" in capsys.readouterr().err
    monkeypatch.setattr(drag, "_mounted", lambda: [pico, pico2, tmp_path])
    assert main([*words, "--yes"]) == ExitCode.USAGE
    assert "choose with --drive" in capsys.readouterr().err
    monkeypatch.setattr(drag, "_mounted", list)
    assert main([*words, "--yes"]) == ExitCode.NO_BOARD
    assert "hold its BOOTSEL button" in capsys.readouterr().err


def test_a_port_without_a_board_is_told_from_one_that_is_busy(
    capsys: pytest.CaptureFixture[str],
) -> None:
    master, slave = os.openpty()
    try:
        path = os.ttyname(slave)
        assert main(["-p", path, "flash"]) == ExitCode.NO_BOARD
        assert "no MicroPython answers" in capsys.readouterr().err
        with serial.Serial(path, exclusive=True):
            assert main(["-p", path, "flash"]) == ExitCode.BUSY
        assert "is held by" in capsys.readouterr().err
    finally:
        os.close(master)
        os.close(slave)


def test_the_boards_side_ends_a_cut_looks_keeps_and_removes(
    micropython: list[str], tmp_path: Path
) -> None:
    """agent/flashing.py, on a MicroPython that starts at once."""
    house = tmp_path / "lib" / "house"
    house.mkdir(parents=True)
    manifest = "guesthouse 1\nfile 0 0 lib/house/a.mpy\nfile 0 0 lib/house/b.mpy\n"
    for name, text in {
        "a.mpy": "old",
        "a.mpy.new": "new",  # b.mpy is in its place already
        "b.mpy": "new",
        "package.txt": "old",
        "package.new": manifest,
    }.items():
        (house / name).write_text(text)
    (tmp_path / "main.py").write_bytes(USERS)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "blink.ref").write_text("{}")
    calls = (
        "look(); sizes(); keep('main.py', 'main.py.kept'); remove(['images', 'none', 'main.py']);"
        "tidy(['images', 'lib'])"
    )
    program = f"{(agent_dir() / 'flashing.py').read_text()}\n{calls}\n"
    done = subprocess.run(
        [*micropython, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    seen, sizes = map(json.loads, done.stdout.splitlines())
    assert (house / "a.mpy").read_text() == "new"
    assert not list(house.glob("*.new"))
    assert (seen["manifest"], seen["images"]) == (manifest, ["blink.ref"])
    hashes = dict(seen["files"])
    assert hashes["main.py"] == hashlib.sha256(USERS).hexdigest()
    assert hashes["lib/house/a.mpy"] == hashlib.sha256(b"new").hexdigest()
    assert seen["free"] > seen["block"] > 0
    assert dict(sizes)["images/blink.ref"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lib", "main.py.kept"]
    assert (tmp_path / "main.py.kept").read_bytes() == USERS
