"""Puts a MicroPython of the Unix port into the user's cache, on systems of the Debian family.

Debian 12 has none, Debian 13 has: its packages are unpacked, not installed, and started through
their own loader, because they need a newer C library than Debian 12 has. Where they do not run,
the same version is built from Debian's source. What is in the cache works without a network.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from guesthouse.board import apt
from guesthouse.board.apt import debian_archive as _debian_archive
from guesthouse.board.cache import cache_folder, locked
from guesthouse.board.micropython import MicroPython, Progress, SelfTest, probe
from guesthouse.core.errors import GuesthouseError

_SUITE = "trixie"
_RECIPE = 1  # change it when what is put into the folder changes: an old folder is then not used
_PACKAGES = (
    "micropython",
    # What it links to, in the versions it was built with: only so does it run on an older system.
    "libc6",
    "libffi8",
    "libmbedcrypto16",
    "libmbedtls21",
    "libmbedx509-7",
)
_PACKAGED = ("amd64", "arm64")  # elsewhere it is built: loaders have other names there
_DOCUMENTATION = "usr/share"

_BUILD_TOOLS = {
    "gcc": "gcc",
    "make": "make",
    "pkg-config": "pkg-config",
    "dpkg-source": "dpkg-dev",
}
# Left out: what needs libraries that the agent does not use (TLS, the B-tree of Berkeley DB).
_BUILD_OPTIONS = ("MICROPY_PY_SSL=0", "MICROPY_SSL_MBEDTLS=0", "MICROPY_PY_BTREE=0")
_MANIFEST = 'include("$(MPY_DIR)/extmod/asyncio")\n'
_BUILD_TIMEOUT_S = 1200
_WAITING = "waiting for another process that is providing MicroPython"

_INSTALL_HINT = (
    "install MicroPython 1.24 or newer (Debian 13, Ubuntu 25.04: sudo apt install micropython; "
    "macOS: brew install micropython; Arch, Fedora and others: the package micropython), "
    "or set GUESTHOUSE_MICROPYTHON to a binary of the Unix port"
)


def provide(progress: Progress, *, environ: Mapping[str, str], selftest: SelfTest) -> MicroPython:
    """The MicroPython of the cache, put there first when it is not there yet.

    Safe when several processes do it at once, and when one is killed half way: the folder
    appears whole or not at all.
    """
    if sys.platform != "linux" or apt.missing_tools():
        raise GuesthouseError("there is no MicroPython on this system", _INSTALL_HINT)
    store = cache_folder("micropython", environ)
    folder = store / f"debian-{_SUITE}-{apt.architecture()}-{_RECIPE}"
    micropython = _open(folder)
    if micropython is None:
        with locked(store, progress, _WAITING):
            # Another process may have been quicker.
            micropython = _open(folder) or _provide_into(store, folder, progress)
    if reason := selftest(micropython):
        raise GuesthouseError(
            f"the MicroPython {micropython.version} in {folder} cannot host guests: {reason}",
            _INSTALL_HINT,
        )
    return micropython


def _provide_into(store: Path, folder: Path, progress: Progress) -> MicroPython:
    """Make the folder; the caller holds the lock."""
    archive = _debian_archive()
    if archive is None:
        raise GuesthouseError(
            "there is no MicroPython on this system, and its apt has no Debian archive",
            _INSTALL_HINT,
        )
    for left in store.glob(".new-*"):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    new = Path(tempfile.mkdtemp(prefix=".new-", dir=store))
    try:
        if apt.architecture() in _PACKAGED:
            _from_packages(new, archive, progress)
            try:
                _started(new)
            except GuesthouseError as error:
                progress(f"Debian's package does not run here: {error.message}")
                shutil.rmtree(new / "usr")
                _from_source(new, archive, progress)
        else:
            _from_source(new, archive, progress)
        made = _started(new)
        new.chmod(0o755)  # mkdtemp made it private; a cache may be shared
        shutil.rmtree(folder, ignore_errors=True)  # it is there only when it does not work
        new.rename(folder)
    except GuesthouseError as error:
        raise GuesthouseError(
            f"MicroPython could not be provided: {error.message}",
            f"try again when the network is there; or {_INSTALL_HINT}",
        ) from error
    except OSError as error:
        raise GuesthouseError(
            f"MicroPython could not be put into {store}: {error.strerror or error}",
            "make room there, or set XDG_CACHE_HOME to a folder elsewhere",
        ) from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
    progress(f"MicroPython {made.version} is in {folder}")
    return _started(folder)


def _from_packages(new: Path, archive: apt.Archive, progress: Progress) -> None:
    progress(f"fetching MicroPython from Debian {_SUITE} (4 MB, not installed)")
    with tempfile.TemporaryDirectory(prefix="apt-", dir=new) as work:
        private = apt.PrivateApt(Path(work, "apt"), _SUITE, archive)
        private.update()
        for package in private.download(_PACKAGES, Path(work, "deb")):
            apt.unpack(package, new)
    shutil.rmtree(new / _DOCUMENTATION, ignore_errors=True)


def _from_source(new: Path, archive: apt.Archive, progress: Progress) -> None:
    missing = [package for tool, package in _BUILD_TOOLS.items() if shutil.which(tool) is None]
    if not missing and subprocess.run(["pkg-config", "--exists", "libffi"], check=False).returncode:
        missing.append("libffi-dev")
    if missing:
        raise GuesthouseError(f"building it from source needs the packages {' '.join(missing)}")
    progress("building MicroPython from Debian's source (about two minutes)")
    with tempfile.TemporaryDirectory(prefix="build-", dir=new) as work:
        private = apt.PrivateApt(Path(work, "apt"), _SUITE, archive, sources=True)
        private.update()
        private.download_source("micropython", Path(work, "source"))
        tree = next(path for path in Path(work, "source").iterdir() if path.is_dir())
        manifest = Path(work, "manifest.py")
        manifest.write_text(_MANIFEST, encoding="utf-8")
        jobs = f"-j{os.cpu_count() or 1}"
        _make(["make", "-C", str(tree / "mpy-cross"), jobs])
        port = tree / "ports" / "unix"
        _make(["make", "-C", str(port), jobs, *_BUILD_OPTIONS, f"FROZEN_MANIFEST={manifest}"])
        (new / "usr" / "bin").mkdir(parents=True)
        shutil.copy2(port / "build-standard" / "micropython", new / "usr" / "bin" / "micropython")


def _make(command: list[str]) -> None:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_BUILD_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise GuesthouseError(f"the build took longer than {_BUILD_TIMEOUT_S} s") from error
    if done.returncode != 0:
        tail = "\n".join(done.stderr.strip().splitlines()[-8:])
        raise GuesthouseError(f"the build failed (status {done.returncode}): {tail}")


def _open(folder: Path) -> MicroPython | None:
    """What the cache holds, None when there is nothing that starts."""
    if not folder.is_dir():
        return None
    try:
        return _started(folder)
    except GuesthouseError:
        return None


def _started(folder: Path) -> MicroPython:
    binary = folder / "usr" / "bin" / "micropython"
    # usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2, usr/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1
    loader = next(iter(sorted(folder.glob("usr/lib/*/ld-linux*.so.*"))), None)
    if loader is None:
        return probe((str(binary),), "source")
    return probe((str(loader), "--library-path", str(loader.parent), str(binary)), "packages")
