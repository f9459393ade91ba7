"""A folder becomes an image that a board can hold, or an error that says what to change."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from guesthouse.guests import image as image_module
from guesthouse.guests.image import ImageError, check_path, digest_of, find_entry, load_image

MAIN = "async def main():\n    pass\n"


@pytest.fixture
def guest(tmp_path: Path) -> Path:
    folder = tmp_path / "sampler"
    folder.mkdir()
    (folder / "main.py").write_text(MAIN)
    (folder / "guest.toml").write_text('name = "sampler"\nversion = "3"\n[cpu]\nmax = "20%"\n')
    return folder


def paths(folder: Path) -> list[str]:
    return [file.path for file in load_image(folder).files]


def test_a_folder_becomes_its_files_and_the_manifest_the_board_reads(guest: Path) -> None:
    (guest / "lib").mkdir()
    (guest / "lib" / "filter.py").write_text("X = 1\n")
    image = load_image(guest)
    assert (image.name, image.version) == ("sampler", "3")
    assert [file.path for file in image.files] == ["guest.json", "lib/filter.py", "main.py"]
    by_path = {file.path: file for file in image.files}
    assert by_path["main.py"].data == MAIN.encode()
    assert by_path["main.py"].sha256 == hashlib.sha256(MAIN.encode()).hexdigest()
    board = json.loads(by_path["guest.json"].data)
    assert board["cpu_max_us"] == 20_000
    assert board["entry"] == "async"
    assert image.size == sum(len(file.data) for file in image.files)


def test_the_digest_is_that_of_the_sums_by_path_and_changes_with_every_byte(guest: Path) -> None:
    image = load_image(guest)
    sums = "".join(f"{file.sha256}  {file.path}\n" for file in image.files)
    assert image.digest == hashlib.sha256(sums.encode()).hexdigest()
    assert image.digest == digest_of(reversed(image.files)) == load_image(guest).digest
    (guest / "main.py").write_text(MAIN + "#")
    changed = load_image(guest)
    assert changed.digest != image.digest
    (guest / "main.py").write_text(MAIN)
    (guest / "guest.toml").write_text('name = "sampler"\nversion = "3"\n[cpu]\nmax = "21%"\n')
    assert load_image(guest).digest not in (image.digest, changed.digest)


def test_what_editors_and_version_control_leave_stays_here(guest: Path) -> None:
    for name in (".git", "__pycache__", ".venv", ".idea"):
        (guest / name).mkdir()
        (guest / name / "big.py").write_text("x")
    for name in ("main.py~", ".main.py.swp", "#main.py#", "main.pyc", "x.bak", ".DS_Store"):
        (guest / name).write_text("junk")
    assert paths(guest) == ["guest.json", "main.py"]


def test_a_single_file_is_a_guest_named_after_it(tmp_path: Path) -> None:
    file = tmp_path / "My Sampler-2000.py"
    file.write_text(MAIN)
    image = load_image(file, options={("cpu", "max"): "20%", ("memory", "max"): "32k"})
    assert image.name == "my_sampler-2"
    assert [one.path for one in image.files] == ["guest.json", "main.py"]
    assert (image.manifest.cpu_max_us, image.manifest.mem_max) == (20_000, 32768)
    assert load_image(file, name="other").name == "other"
    with pytest.raises(Exception, match="--name"):
        load_image(file, name="Other!")


@pytest.mark.parametrize(
    ("source", "line", "word"),
    [
        ("async def main():\n    x = = 1\n", 2, "invalid syntax"),
        ("def main(:\n  pass", 1, ""),
        ("return 3\n", 1, "outside function"),
        ("x = 'unfinished\n", 1, "unterminated"),
        ("\n\nprint('\xff')\n".encode("latin-1"), 3, "UTF-8"),
        (b"x = 1\n\x00\n", 0, ""),
        ("(" * 500 + ")" * 500, 0, ""),
    ],
)
def test_python_that_does_not_compile_is_told_with_its_line_unless_forced(
    guest: Path, source: str | bytes, line: int, word: str
) -> None:
    (guest / "main.py").write_bytes(source if isinstance(source, bytes) else source.encode())
    with pytest.raises(ImageError) as caught:
        load_image(guest)
    where = f"{guest / 'main.py'}:" + (f"{line}: " if line else "")
    assert caught.value.message.startswith(where)
    assert word in caught.value.message
    assert "--force" in caught.value.hint
    forced = load_image(guest, force=True)
    assert any(remark.startswith(where) for remark in forced.warnings)
    assert "main.py" in [file.path for file in forced.files]


def test_a_module_beside_main_is_compiled_as_well(guest: Path) -> None:
    (guest / "helper.py").write_text("def f(:\n")
    with pytest.raises(ImageError, match=r"helper\.py:1"):
        load_image(guest)


@pytest.mark.parametrize(
    ("source", "entry"),
    [
        ("async def main():\n    pass", "async"),
        ("def main():\n    while True:\n        yield", "generator"),
        ("def main():\n    yield from x()", "generator"),
        ("import asyncio\nasync def main():\n    pass\nasyncio.run(main())", "run"),
        ("import asyncio\nasync def app():\n    pass\nasyncio.run(app())", "run"),
        (
            (
                "import asyncio\nasync def app():\n    pass\n"
                "loop = asyncio.get_event_loop()\nloop.create_task(app())\nloop.run_forever()"
            ),
            "run",
        ),
        (
            (
                "import asyncio\nasync def app():\n    pass\n"
                "try:\n    asyncio.run(app())\nfinally:\n    asyncio.new_event_loop()"
            ),
            "run",
        ),
        (
            (
                "import asyncio\nasync def main():\n    pass\n"
                "if __name__ == '__main__':\n    asyncio.run(main())"
            ),
            "async",
        ),
        (
            (
                "import asyncio\nasync def app():\n    pass\n"
                "if __name__ == '__main__':\n    asyncio.run(app())"
            ),
            "run",
        ),
        ("from app import main", "async"),
        ("try:\n    import x\nexcept ImportError:\n    pass\nasync def main():\n    pass", "async"),
        ("def go():\n    import asyncio\n    asyncio.run(1)\nasync def main():\n    go()", "async"),
        ("x = = 1", "async"),
    ],
)
def test_how_a_program_starts_is_read_from_its_source(source: str, entry: str) -> None:
    assert find_entry(source.encode()) == (entry, "")


def test_a_program_that_nothing_starts_is_sent_with_a_remark(guest: Path) -> None:
    (guest / "main.py").write_text("print('hello')\n")
    image = load_image(guest)
    assert image.manifest.entry == "run"
    assert any("no main()" in remark for remark in image.warnings)
    entry, remark = find_entry(b"def main():\n    print(1)\n")
    assert entry == "generator"
    assert "one slice" in remark


def test_what_is_no_guest_is_refused_in_words(tmp_path: Path, guest: Path) -> None:
    with pytest.raises(ImageError, match="no such file or folder"):
        load_image(tmp_path / "missing")
    (tmp_path / "readme.txt").write_text("hello")
    with pytest.raises(ImageError, match=r"not a \.py file"):
        load_image(tmp_path / "readme.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match=r"no main\.py"):
        load_image(tmp_path / "empty")
    (guest / "guest.json").write_text("{}")
    with pytest.raises(ImageError, match="written by guesthouse itself"):
        load_image(guest)


def test_links_that_lead_out_of_the_folder_are_refused(tmp_path: Path, guest: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    (guest / "data").symlink_to(secret)
    with pytest.raises(ImageError, match="leads out of the guest's folder"):
        load_image(guest)
    (guest / "data").unlink()
    (guest / "loop").symlink_to(guest)
    with pytest.raises(ImageError, match="link to a folder"):
        load_image(guest)


@pytest.mark.parametrize(
    "path", ["../x", "/etc/x", "a/../b", "", ".", "a//../b", "x y", "ü.py", "-x", "a" * 65, "a\nb"]
)
def test_paths_that_could_escape_or_not_be_stored_are_refused(path: str) -> None:
    with pytest.raises(ImageError):
        check_path(path, path)


def test_sizes_are_bounded(guest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (guest / "data.bin").write_bytes(b"x" * (image_module.FILE_MAX + 1))
    with pytest.raises(ImageError, match=r"data\.bin: is larger than 256 KiB"):
        load_image(guest)
    (guest / "data.bin").unlink()
    for number in range(image_module.FILES_MAX):
        (guest / f"f{number}").write_text("x")
    with pytest.raises(ImageError, match="more than 63 files"):
        load_image(guest)
    monkeypatch.setattr(image_module, "FILES_MAX", 100)
    assert len(load_image(guest).files) == 65
    monkeypatch.setattr(image_module, "IMAGE_MAX", 50)
    with pytest.raises(ImageError, match="more than 100 files or 50 B"):
        load_image(guest)


def test_names_that_differ_only_in_case_are_refused(guest: Path) -> None:
    (guest / "Data").write_text("x")
    (guest / "data").write_text("x")
    with pytest.raises(ImageError, match="differ only in case"):
        load_image(guest)
