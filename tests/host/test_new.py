"""A new guest's folder: whole, right for its board, and known to a type checker."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import asdict
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from guesthouse.board.profiles import list_profiles, load_profile
from guesthouse.cli.main import main
from guesthouse.core.errors import ExitCode
from guesthouse.guests.image import load_image
from guesthouse.guests.manifest import normalize
from guesthouse.guests.sections import SECTIONS
from guesthouse.guests.stubs import guest_stub, make_stub

ROOT = Path(__file__).parents[2]
TYPINGS = ROOT / ".venv" / "typings"

# Shown with an example, because their default is that there is none.
WITHOUT_DEFAULT = {
    "cpu_min_us",
    "cpu_min_period_us",
    "mem_min",
    "mem_high",
    "mem_buffer",
    "storage_max",
}


@pytest.fixture(params=list_profiles())
def guest(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The folder of a new guest, for each kind of board."""
    folder = tmp_path / "sampler"
    assert main(["new", str(folder), "--board", request.param]) == 0
    return folder


def uncommented(text: str) -> str:
    """The manifest with the keys that are shown as comments."""
    return re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE)


def test_it_becomes_an_image_without_a_remark_and_only_the_guest_is_sent(guest: Path) -> None:
    image = load_image(guest)
    assert (image.name, image.manifest.entry, image.warnings) == ("sampler", "async", ())
    assert [file.path for file in image.files] == ["guest.json", "main.py"]
    assert (image.manifest.cpu_max_us, image.manifest.mem_max) == (20_000, 32 * 1024)


def test_the_manifest_shows_every_key_with_its_meaning(guest: Path) -> None:
    text = (guest / "guest.toml").read_text()
    told = tomllib.loads(uncommented(text))
    for section, keys in SECTIONS.items():
        assert set(keys) <= set(told[section] if section else told), section
    for line in uncommented(text).splitlines():
        if " = " in line and not line.startswith("#") and "[devices]" not in line:
            assert " # " in line or ":" in line, line  # devices may speak for themselves


def test_what_is_commented_out_is_the_default(guest: Path) -> None:
    text = (guest / "guest.toml").read_text()
    shown = asdict(normalize(tomllib.loads(uncommented(text)), "shown"))
    plain = asdict(normalize(tomllib.loads(text), "plain"))
    profile = load_profile(board_of(guest))
    assert shown.pop("load_max_us") == profile.load_max_us
    assert set(shown.pop("devices")) >= set(profile.devices)
    for key in (*WITHOUT_DEFAULT, "load_max_us", "devices"):
        plain.pop(key, None)
        assert shown.pop(key, True)
    assert shown == plain


def board_of(guest: Path) -> str:
    """The profile whose stubs the guest names."""
    asked = (guest / "requirements-dev.txt").read_text().splitlines()[-1]
    return next(name for name in list_profiles() if load_profile(name).stubs == asked)


def test_the_stubs_are_those_of_the_board_and_pinned_to_one_version(guest: Path) -> None:
    wanted = Requirement((guest / "requirements-dev.txt").read_text().splitlines()[-1])
    port = load_profile(board_of(guest)).port
    assert wanted.name.startswith(f"micropython-{port}-")
    assert wanted.specifier.contains("1.29.0.post1")
    assert not wanted.specifier.contains("1.28.0.post1")
    assert not wanted.specifier.contains("1.30.0")


def check(tool: str, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", tool, *words], cwd=folder, capture_output=True, text=True
    )


@pytest.mark.skipif(not TYPINGS.is_dir(), reason="the stub package comes with `make setup`")
@pytest.mark.parametrize("board", list_profiles())
def test_the_program_passes_a_strict_type_checker_that_knows_the_board(
    tmp_path: Path, board: str
) -> None:
    folder = tmp_path / "sampler"
    assert main(["new", str(folder), "--board", board]) == 0
    for part in (TYPINGS / board).iterdir():  # as pip puts it there
        (folder / "typings" / part.name).symlink_to(part)
    done = check("mypy", folder, "--strict")
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "main.py").write_text(
        "import dataclasses\n"  # no board has it: these are not CPython's types
        "import asyncio\n"
        "from house import guest\n\n\n"
        "async def main() -> None:\n"
        "    guest.publish(3)\n"
        "    await asyncio.sleep_ms(1)\n"  # only MicroPython has it
        "    async for release in guest.every(10):\n"
        "        print(release.late)\n"
    )
    said = check("mypy", folder).stdout
    assert re.findall(r"main.py:(\d+): error", said) == ["1", "7", "7", "10"], said


def test_the_folder_passes_ruff_as_it_is(guest: Path) -> None:
    for words in (["check"], ["check", "--isolated"], ["format", "--isolated", "--check"]):
        done = check("ruff", guest, *words, "--no-cache")
        assert done.returncode == 0, done.stdout


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "main.py").write_text("precious")
    assert main(["new", str(folder)]) == ExitCode.USAGE
    assert "is there already" in capsys.readouterr().err
    assert [(file.name, file.read_text()) for file in folder.iterdir()] == [("main.py", "precious")]
    shutil.rmtree(folder)
    folder.write_text("a file")
    assert main(["new", str(folder)]) == ExitCode.USAGE
    assert folder.read_text() == "a file"


@pytest.mark.parametrize("name", ["Sampler", "9lives", "a.b", "agent", "a_name_too_long_", ".."])
def test_a_name_that_no_guest_may_have_is_refused_and_nothing_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert main(["new", str(tmp_path / name)]) == ExitCode.USAGE
    assert repr(name) in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_board_is_answered_with_those_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", str(tmp_path / "a"), "--board", "rpi_pica"]) == ExitCode.USAGE
    assert "rpi_pico_w" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_written_it_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["new", str(tmp_path / "file" / "a")]) == ExitCode.FAILURE
    assert "cannot be written" in capsys.readouterr().err


def test_as_data_it_names_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "a"
    assert main(["new", str(folder), "--board", "rpi_pico", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["name"], told["board"]) == ("a", "rpi_pico")
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert told["files"] == sorted(path.relative_to(folder).as_posix() for path in written)


def test_the_stub_has_all_that_a_guest_may_use_and_every_type() -> None:
    stub = guest_stub()
    assert "def publish(name: str, value: int) -> None:" in stub
    assert "def __init__(self, period_ms: int) -> None: ..." in stub
    assert "async def __anext__(self) -> int: ..." in stub
    assert "def __aiter__(self) -> every: ..." in stub
    assert "missed: int" in stub
    assert "nowhere" not in stub
    assert stub.count("def ") == stub.count(" -> ")


def test_a_stub_follows_its_source() -> None:
    source = (
        "# The module.\n\nfrom x import y\n_HIDDEN = 1\n\n"
        "# Adds.\n# Twice.\ndef add(a: int, b: int = 2) -> int:\n    return a + b\n\n"
        "def _own():\n    pass\n\ndef base(a: str) -> None:\n    pass\n\n# By another name.\n"
        "other = base\n"
    )
    assert make_stub(source) == (
        '"""The module."""\n\n'
        'def other(a: str) -> None:\n    """By another name."""\n\n'
        'def add(a: int, b: int=2) -> int:\n    """Adds.\n    Twice.\n    """\n'
    )
