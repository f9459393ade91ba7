"""Makes .venv: the environment of the checkout, with everything that demo and tests need.

Run by the Makefile through tools/setup.sh, with the system's Python and nothing installed yet.
Does nothing when .venv already fits pyproject.toml. Works without python3-venv, too, as on a
fresh Debian 12: then pip comes from Debian's own package of it, unpacked and not installed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
VENV = TOP / ".venv"
READY = VENV / ".ready"
TYPINGS = VENV / "typings"

sys.path.insert(0, str(TOP / "host"))
sys.dont_write_bytecode = True

from guesthouse.board import apt  # noqa: E402  (from this checkout, not installed yet)
from guesthouse.core.errors import GuesthouseError  # noqa: E402


def main() -> int:
    try:
        if READY.is_file() and _python_works() and READY.read_text(encoding="utf-8") == _key():
            READY.touch()
            return 0
        READY.unlink(missing_ok=True)
        if not _python_works():
            _make_venv()
        _install()
        READY.write_text(_key(), encoding="utf-8")
    except GuesthouseError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"error: {' '.join(map(str, error.cmd))} failed", file=sys.stderr)
        print("hint: pip says why above; it needs the network once", file=sys.stderr)
        return 1
    return 0


def _key() -> str:
    """Changes whenever the environment has to be brought up to date."""
    digest = hashlib.sha256(str(TOP).encode())  # an editable install knows where it is
    for file in (TOP / "pyproject.toml", Path(__file__), *_profiles()):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _python() -> Path:
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _python_works() -> bool:
    """True when .venv has a Python of a supported version and a pip, and was made here.

    The programs in a copied or moved environment name the place where it was made.
    """
    pip = _python().with_name("pip")
    if os.name == "posix" and (not pip.is_file() or str(VENV) not in pip.read_text()):
        return False
    check = "import sys, pip; sys.exit(sys.version_info < (3, 11))"
    try:
        done = subprocess.run([_python(), "-c", check], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


def _make_venv() -> None:
    if VENV.is_symlink() or (VENV.exists() and not (VENV / "pyvenv.cfg").is_file()):
        # Left half made by an earlier run, or somebody else's: only the first is ours to delete.
        if VENV.is_symlink() or any(VENV.iterdir()):
            raise GuesthouseError(
                f"{VENV} is in the way: it is not a Python environment", "move it away"
            )
    elif VENV.exists():
        shutil.rmtree(VENV)
    _say(f"making .venv with Python {sys.version.split()[0]}")
    if importlib.util.find_spec("venv") is None:
        raise GuesthouseError(f"{sys.executable} has no venv module", _venv_hint())
    if importlib.util.find_spec("ensurepip") is not None:
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        return
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", VENV], check=True)
    with tempfile.TemporaryDirectory(prefix="guesthouse-pip-") as folder:
        wheel = _pip_wheel(Path(folder))
        # A wheel is a zip file that Python can run from: pip installs itself.
        _pip("install", "--no-index", wheel, program=[_python(), f"{wheel}/pip"])


def _pip_wheel(folder: Path) -> Path:
    """Debian's wheel of pip: the installed package's, or downloaded and unpacked."""
    installed = sorted(Path("/usr/share/python-wheels").glob("pip-*.whl"))
    if installed:
        return installed[-1]
    codename = apt.os_release().get("VERSION_CODENAME", "")
    archive = None if apt.missing_tools() else apt.find_archive(codename)
    if archive is None:
        raise GuesthouseError(f"{sys.executable} has no ensurepip", _venv_hint())
    _say("python3-venv is not installed: fetching pip as a package, without installing it")
    try:
        private = apt.PrivateApt(folder / "apt", codename, archive)
        private.update()
        for package in private.download(["python3-pip-whl"], folder / "deb"):
            apt.unpack(package, folder / "root")
    except GuesthouseError as error:
        raise GuesthouseError(error.message, _venv_hint()) from error
    return next((folder / "root/usr/share/python-wheels").glob("pip-*.whl"))


def _venv_hint() -> str:
    if shutil.which("apt-get"):
        return f"sudo apt install python3.{sys.version_info.minor}-venv (or python3-venv)"
    return "install the package that gives this Python its venv and pip"


def _install() -> None:
    _say("installing Guesthouse and its tools into .venv (about 70 MB the first time)")
    _pip("install", "--editable", f"{TOP}[dev]")
    # The types of each board's MicroPython replace the standard library's in the agent's check:
    # they must not be importable beside the host's.
    shutil.rmtree(TYPINGS, ignore_errors=True)
    for profile in _profiles():
        stubs = tomllib.loads(profile.read_text(encoding="utf-8"))["stubs"]
        _pip("install", "--no-compile", "--target", TYPINGS / profile.parent.name, stubs)


def _profiles() -> list[Path]:
    return sorted(TOP.glob("boards/*/board.toml"))


def _pip(*arguments: str | Path, program: list[str | Path] | None = None) -> None:
    pip = program or [_python(), "-m", "pip"]
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input"]
    environment = {**os.environ, "PIP_ROOT_USER_ACTION": "ignore"}
    subprocess.run([*pip, *quiet, *arguments], check=True, env=environment, cwd=TOP)


def _say(text: str) -> None:
    print(f"set-up: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
