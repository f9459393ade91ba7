"""flash and unflash: what is sent, in which order, what is kept, removed and refused."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from guesthouse.cli.main import main
from guesthouse.core.assets import agent_dir
from guesthouse.core.errors import ExitCode, GuesthouseError
from guesthouse.install.board import Identity, fit
from guesthouse.install.flash import flash_board, unflash_board
from guesthouse.install.package import (
    BOOT,
    MANIFEST,
    BoardFile,
    Package,
    build_package,
    parse_manifest,
)
from guesthouse.install.target import Target, target_of
from guesthouse.link.ports import PortSpec
from tests.host.fake_board import RP2040, FakeBoard, Pulled

MAIN = (agent_dir() / "board_main.py").read_bytes()
USERS = b"print('mine')\n"


def package(version: str, **modules: bytes) -> Package:
    files = [BoardFile(f"lib/house/{name}.mpy", data) for name, data in modules.items()]
    boot = BoardFile(BOOT, MAIN + f"# {version}\n".encode())
    return Package(version, RP2040, (*files, boot))


OLD = package("1.0", boot=b"boot 1", kernel=b"kernel 1", gone=b"gone 1")
NEW = package("2.0", boot=b"boot 2", kernel=b"kernel 1", extra=b"extra 2")


def on_board(one: Package, *gone: str) -> dict[str, bytes]:
    return {file.path: file.data for file in (*one.files, one.manifest(gone=gone))}


def flash(board: FakeBoard, what: Package) -> object:
    return flash_board(board, lambda *_: None, lambda _: what)


def unflash(board: FakeBoard, *, keep_guests: bool = False) -> object:
    return unflash_board(board, keep_guests=keep_guests, may_remove=lambda: None)


def test_a_blank_board_gets_every_file_and_main_py_and_the_manifest_last() -> None:
    board = FakeBoard()
    done = flash_board(board, lambda *_: None, lambda _: NEW)
    assert board.files == on_board(NEW)
    assert board.sent[-2:] == [BOOT, f"{MANIFEST}.new"]
    assert (len(done.sent), done.unchanged, done.kept) == (4, 0, ())


def test_only_what_changed_is_sent_and_what_is_no_longer_part_is_removed() -> None:
    board = FakeBoard(on_board(OLD) | {"images/blink.ref": b"{}", "notes.txt": b"n"})
    done = flash_board(board, lambda *_: None, lambda _: NEW)
    assert set(done.sent) == {"lib/house/boot.mpy", "lib/house/extra.mpy", BOOT}
    assert done.removed == ("lib/house/gone.mpy",)
    assert done.unchanged == 1
    others = {"images/blink.ref": b"{}", "notes.txt": b"n"}
    assert board.files == on_board(NEW, "lib/house/gone.mpy") | others
    board.sent.clear()
    assert not flash_board(board, lambda *_: None, lambda _: NEW).sent
    assert board.sent == []


def test_another_architecture_is_sent_anew_though_the_version_is_the_same() -> None:
    board = FakeBoard(on_board(NEW))
    other = Package(
        NEW.version,
        Target("rp2", "armv7emsp", "6.3"),
        tuple(BoardFile(file.path, file.data + b"!") for file in NEW.files),
    )
    flash(board, other)
    manifest = parse_manifest(board.files[MANIFEST].decode())
    assert manifest is not None
    assert manifest.target.arch == "armv7emsp"
    assert board.starts() == "2.0"


def test_a_damaged_file_is_mended() -> None:
    board = FakeBoard(on_board(NEW) | {"lib/house/boot.mpy": b"boot ?"})
    assert board.starts() == "repl"
    flash(board, NEW)
    assert board.sent == ["lib/house/boot.mpy.new", f"{MANIFEST}.new"]
    assert board.starts() == "2.0"


@pytest.mark.parametrize("before", [{}, {BOOT: USERS}, on_board(OLD)], ids=["blank", "own", "old"])
def test_at_every_step_the_board_is_as_before_or_has_the_new_agent_whole(
    before: dict[str, bytes],
) -> None:
    whole = FakeBoard(before)
    flash(whole, NEW)
    started_before = FakeBoard(before).starts()
    seen = set()
    for step in range(1, whole.steps + 1):
        board = FakeBoard(before)
        board.cut_at = step
        with pytest.raises(Pulled):
            flash(board, NEW)
        starts = board.starts()
        # A blank board may already have main.py, which then says that the rest is missing.
        allowed = {started_before, "2.0"} | ({"repl"} if not before else set())
        assert starts in allowed, step
        seen.add(starts)
        assert USERS in board.files.values() or BOOT not in before or started_before == "1.0"
        flash(board, NEW)
        assert board.starts() == "2.0"
        assert board.files == whole.files, step
    assert {started_before, "2.0"} <= seen


def test_a_flash_that_was_cut_goes_on_with_what_is_there() -> None:
    board = FakeBoard(on_board(OLD))
    board.cut_at = 2
    with pytest.raises(Pulled):
        flash(board, NEW)
    first = board.sent[0]
    board.cut_at = 0
    board.sent.clear()
    flash(board, NEW)
    assert first not in board.sent
    assert board.starts() == "2.0"


def test_stray_pieces_of_an_older_flash_are_swept() -> None:
    stray = {"lib/house/what.mpy.new": b"?", "main.py.new": b"?"}
    board = FakeBoard(on_board(OLD) | stray | {"mine.new": b"m"})
    flash(board, NEW)
    assert board.files == on_board(NEW, "lib/house/gone.mpy") | {"mine.new": b"m"}


def test_the_users_main_py_is_kept_and_given_back() -> None:
    before = {BOOT: USERS, "boot.py": b"pass\n", "lib/own.py": b"1\n"}
    board = FakeBoard(before)
    done = flash_board(board, lambda *_: None, lambda _: OLD)
    assert done.kept == ("main.py.before-guesthouse",)
    assert done.boot_py
    flash(board, NEW)  # a second flash keeps its own main.py of the first for nobody
    assert board.files["main.py.before-guesthouse"] == USERS
    mine = {"data/mine.csv": b"m", "journal/mine.txt": b"m"}
    board.files |= {"images/blink.ref": b"{}", "data/blink/log": b"x", "journal/events": b"e"}
    board.files |= mine
    unflash(board)
    assert board.files == before | mine


def test_unflash_can_leave_guests_and_can_be_repeated_at_every_step() -> None:
    before = {BOOT: USERS}
    flashed = FakeBoard(before)
    flash(flashed, NEW)
    flashed.files |= {"images/blink.ref": b"{}", "journal/events": b"e"}
    whole = FakeBoard(flashed.files)
    unflash(whole, keep_guests=True)
    assert whole.files == before | {"images/blink.ref": b"{}"}
    for step in range(1, whole.steps + 1):
        board = FakeBoard(flashed.files)
        board.cut_at = step
        with pytest.raises(Pulled):
            unflash(board, keep_guests=True)
        assert USERS in board.files.values()
        board.cut_at = 0
        unflash(board, keep_guests=True)
        assert board.files == whole.files, step


def test_a_main_py_that_was_written_since_stays_the_users() -> None:
    board = FakeBoard({BOOT: USERS})
    flash(board, NEW)
    board.files[BOOT] = b"print('newer')\n"
    flash(board, NEW)
    assert board.starts() == "2.0"
    assert USERS in board.files.values()
    unflash(board)
    assert board.files[BOOT] == b"print('newer')\n"
    assert USERS in board.files.values()


def test_source_that_would_be_imported_before_the_package_is_put_aside() -> None:
    board = FakeBoard({"lib/house/kernel.py": b"by hand\n"})
    flash(board, NEW)
    assert "lib/house/kernel.py" not in board.files
    unflash(board)
    assert board.files == {"lib/house/kernel.py": b"by hand\n"}


def test_guests_are_removed_only_when_that_was_allowed() -> None:
    board = FakeBoard()
    flash(board, NEW)
    board.files["images/blink.ref"] = b"{}"

    def no() -> None:
        raise GuesthouseError("no")

    with pytest.raises(GuesthouseError, match=r"^no$"):
        unflash_board(board, keep_guests=False, may_remove=no)
    assert board.starts() == "2.0"
    with pytest.raises(GuesthouseError, match="has no agent"):
        unflash(FakeBoard())


def test_a_folder_of_the_users_that_the_agent_would_sweep_is_not_touched() -> None:
    board = FakeBoard({"images/logo.bmp": b"BM"})
    with pytest.raises(GuesthouseError, match="folder /images of your own"):
        flash(board, NEW)
    assert board.steps == 0


def test_a_full_flash_is_refused_before_anything_is_written() -> None:
    board = FakeBoard({"big.csv": b"x" * 9000, "small.txt": b"x"}, free=8192)
    with pytest.raises(GuesthouseError, match=r"flash is full: .* 8 KiB are free") as caught:
        flash(board, NEW)
    assert "big.csv (8.8 KiB)" in caught.value.hint
    assert caught.value.code == ExitCode.REFUSED
    assert board.steps == 0


@pytest.mark.parametrize(
    ("name", "version", "port", "mpy", "said"),
    [
        ("circuitpython", "9.2.1", "RP2040", 0x1306, "CircuitPython 9.2.1"),
        ("micropython", "1.19.1", "rp2", 0x1206, "too old"),
        ("micropython", "1.28.0", "esp32", 0x2B06, "no agent for this board yet"),
        ("micropython", "1.28.0", "rp2", 0x0306, "no agent for this board yet"),
    ],
)
def test_a_board_that_the_agent_cannot_run_on_is_refused(
    name: str, version: str, port: str, mpy: int, said: str
) -> None:
    with pytest.raises(GuesthouseError, match=said) as caught:
        fit(Identity(name, version, "", "", target_of(port, mpy)))
    assert caught.value.code == ExitCode.REFUSED
    assert caught.value.hint


def test_the_package_holds_what_the_port_needs_compiled_for_it() -> None:
    made = build_package(RP2040)
    paths = [file.path for file in made.files]
    assert {"lib/house/main.mpy", "lib/house/ports/rp2.mpy", "lib/house/ports/rp2_heap.mpy"} <= {
        *paths
    }
    assert not [path for path in paths if "unix" in path]
    assert paths[-1] == BOOT
    assert all(b"/lib/house/" in file.data for file in made.files[:-1])  # names in tracebacks
    assert made.files != build_package(Target("rp2", "armv7emsp", "6.3")).files
    manifest = parse_manifest(made.manifest(["main.py.before-guesthouse"]).data.decode())
    assert manifest is not None
    assert manifest.files == {file.path: file.sha256 for file in made.files}
    assert manifest.kept == ("main.py.before-guesthouse",)


def test_a_compiler_that_makes_other_files_than_the_board_takes_is_refused() -> None:
    with pytest.raises(GuesthouseError, match=r"takes compiled files of version 6\.1"):
        build_package(Target("rp2", "armv6m", "6.1"))


def test_a_manifest_that_is_damaged_counts_as_none(tmp_path: Path) -> None:
    text = NEW.manifest().data.decode()
    assert parse_manifest(text) is not None
    assert parse_manifest(text.replace("guesthouse 1", "guesthouse 2")) is None
    assert parse_manifest(text.replace("file ", "fi\x00e ", 1)) is None
    assert parse_manifest("") is None


class NoRepl(contextlib.nullcontext[None]):
    """A board that lets itself be stopped."""

    def __init__(self, spec: object) -> None:
        super().__init__()


def test_ctrl_c_says_how_the_board_is_and_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("guesthouse.install.repl.Repl", NoRepl)
    monkeypatch.setattr("guesthouse.install.flash.flash_board", interrupted)
    assert main(["-p", "/dev/null", "flash"]) == ExitCode.INTERRUPTED
    said = capsys.readouterr().err
    assert "/dev/null is as it was before; guesthouse flash, run again, goes on" in said


def test_words_that_do_not_go_together_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["flash", "--uf2", str(tmp_path / "x.uf2")]) == ExitCode.USAGE
    assert "name it with --firmware" in capsys.readouterr().err
    assert main(["flash", "--drive", str(tmp_path)]) == ExitCode.USAGE
    assert "add --bootsel" in capsys.readouterr().err
    assert main(["flash", "--guest", str(tmp_path / "none")]) == ExitCode.USAGE
    assert "no such file or folder" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["flash", "unflash"])
def test_a_simulated_board_has_its_agent_already(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sim = PortSpec("/dev/pts/7", "sim", "sim")
    monkeypatch.setattr("guesthouse.cli.flashing.find_port", lambda args: sim)
    assert main(["-p", "sim", verb]) == ExitCode.USAGE
    assert "sim has the agent already" in capsys.readouterr().err
