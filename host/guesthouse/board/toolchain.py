"""A C compiler for the Pico out of Debian packages: unpacked into a folder, never installed.

No root and no compiler of the system's own is needed. What the packages hold for other
processors is left out, which makes 190 MB of 1.8 GB.
"""

from __future__ import annotations

import shlex
import subprocess
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from guesthouse.core.errors import GuesthouseError

SUITE = "bookworm"  # the compiler that the firmware is known to build with; runs on newer systems
PACKAGES = (
    "gcc-arm-none-eabi",
    "binutils-arm-none-eabi",
    "libnewlib-arm-none-eabi",
    "libnewlib-dev",
    # What the compiler links to, without the C library itself: that one is the system's.
    "libgcc-s1",
    "libgmp10",
    "libisl23",
    "libmpc3",
    "libmpfr6",
    "libstdc++6",
    "libzstd1",
    "zlib1g",
)

_PREFIX = "arm-none-eabi-"
_MULTILIB = "thumb/v6-m/nofp"  # the Cortex-M0+ of the RP2040
_NEWLIB = "usr/lib/arm-none-eabi/newlib"
_HEADERS = "usr/include/newlib"
# Debian's package of the C++ library is 313 MB and the firmware has no C++ in it, but its
# linker is called as for C++ and asks for these.
_EMPTY_ARCHIVES = ("libstdc++.a", "libstdc++_nano.a", "libsupc++.a", "libsupc++_nano.a")
_EMPTY_ARCHIVE = b"!<arch>\n"


def unpack(packages: Iterable[Path], folder: Path, sources: Path) -> Path:
    """Put the compiler of the ``.deb`` files ``packages`` into ``folder``; gives its ``bin``.

    ``sources`` is the folder that the compiler leaves out of the paths it writes into programs:
    two builds of the same sources are equal, wherever they were built.
    """
    root = folder / "root"
    for package in packages:
        _unpack_some(package, root)
    specs = root / _NEWLIB / "nano.specs"
    if not specs.is_file():
        raise GuesthouseError(f"the packages of the compiler lack {_NEWLIB}/nano.specs")
    specs.write_text(
        specs.read_text(encoding="utf-8").replace("/usr/include/", f"{root}/usr/include/"),
        encoding="utf-8",
    )
    empty = folder / "empty"
    empty.mkdir(parents=True)
    for name in _EMPTY_ARCHIVES:
        (empty / name).write_bytes(_EMPTY_ARCHIVE)
    return _wrap(folder, root, empty, sources)


def _wrap(folder: Path, root: Path, empty: Path, sources: Path) -> Path:
    """Scripts under the compiler's usual names that start it where it is.

    The compiler finds most things relative to itself; the C library it looks for below /usr.
    The C library's headers come last (idirafter): so they do in an installed compiler, and the
    Pico's SDK relies on the compiler's own stdatomic.h being found first.
    """
    libraries = ":".join(
        str(path) for path in sorted([*root.glob("usr/lib/*-linux-*"), *root.glob("lib/*-linux-*")])
    )
    options = [
        f"-B{root / _NEWLIB}/",
        "-idirafter",
        str(root / _HEADERS),
        f"-ffile-prefix-map={sources}=.",
        f"-L{empty}",
    ]
    scripts = folder / "bin"
    scripts.mkdir()
    for program in sorted(root.glob(f"usr/bin/{_PREFIX}*")):
        compiles = program.name.removeprefix(_PREFIX) in ("gcc", "g++", "cpp")
        command = shlex.join([str(program), *(options if compiles else [])])
        script = scripts / program.name
        script.write_text(
            f'#!/bin/sh\nLD_LIBRARY_PATH={shlex.quote(libraries)} exec {command} "$@"\n',
            encoding="utf-8",
        )
        script.chmod(0o755)
    return scripts


def _unpack_some(package: Path, root: Path) -> None:
    """``dpkg -x`` without the parts that are not wanted: they are the most by far."""
    command: Sequence[str] = ["dpkg-deb", "--fsys-tarfile", str(package)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                for member in archive:
                    if _wanted(member.name.removeprefix("./")):
                        archive.extract(member, root, set_attrs=member.isfile())
        except (tarfile.TarError, OSError) as error:
            raise GuesthouseError(f"unpacking {package.name} failed: {error}") from error
        words = process.stderr.read().decode(errors="replace").strip()
    if process.returncode:
        raise GuesthouseError(f"unpacking {package.name} failed: {words}")


def _wanted(name: str) -> bool:
    if name.startswith("usr/share/"):
        return False
    parts = name.split("/")
    for instruction_set in ("arm", "thumb"):
        if instruction_set in parts:
            variant = "/".join(parts[parts.index(instruction_set) :])
            return _MULTILIB.startswith(variant) or variant.startswith(_MULTILIB)
    return True
