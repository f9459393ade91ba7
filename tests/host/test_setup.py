"""The set-up of a checkout says what is wrong with the Python it finds."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="make and sh")


def setup(path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it with nothing but ``path`` and what every machine has on PATH."""
    for tool in ("sh", "dirname"):
        found = shutil.which(tool)
        assert found is not None
        (path / tool).symlink_to(found)
    command = [path / "sh", TOP / "tools" / "setup.sh"]
    environment = {"PATH": str(path), **environment}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def python(folder: Path, name: str, new_enough: bool, version: str) -> Path:
    """A Python that only says what it is, and that it was started."""
    script = f"""#!/bin/sh
case "$1" in
    -c) exit {0 if new_enough else 1} ;;
    --version) echo "Python {version}" ;;
    *) echo "{name} runs $1" ;;
esac
"""
    (folder / name).write_text(script)
    (folder / name).chmod(0o755)
    return folder / name


def test_the_first_python_that_is_new_enough_is_taken(tmp_path: Path) -> None:
    python(tmp_path, "python3", False, "3.9.2")
    python(tmp_path, "python3.12", True, "3.12.1")
    assert setup(tmp_path).stdout == "python3.12 runs tools/setup_env.py\n"


def test_a_python_that_is_too_old_is_a_clear_error(tmp_path: Path) -> None:
    python(tmp_path, "python3", False, "3.9.2")
    done = setup(tmp_path)
    assert done.returncode == 1
    assert "needs Python 3.11 or newer; found Python 3.9.2" in done.stderr
    assert "hint: " in done.stderr


def test_no_python_is_a_clear_error(tmp_path: Path) -> None:
    done = setup(tmp_path)
    assert done.returncode == 1
    assert "found no python3" in done.stderr


def test_the_python_that_is_named_is_taken_or_refused(tmp_path: Path) -> None:
    old = python(tmp_path, "old", False, "3.8.0")
    good = python(tmp_path, "good", True, "3.13.0")
    assert setup(tmp_path, PYTHON=str(good)).stdout == "good runs tools/setup_env.py\n"
    for tool in ("sh", "dirname"):
        (tmp_path / tool).unlink()
    done = setup(tmp_path, PYTHON=str(old))
    assert done.returncode == 1
    assert "is Python 3.8.0" in done.stderr


def test_an_environment_that_fits_is_left_alone() -> None:
    setup_env = TOP / "tools" / "setup_env.py"
    ready = TOP / ".venv" / ".ready"
    key = runpy.run_path(str(setup_env))["_key"]()
    if not ready.is_file() or ready.read_text() != key:
        pytest.skip("this environment was not made by the Makefile from this pyproject.toml")
    done = subprocess.run(
        [sys.executable, str(setup_env)], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""  # it says what it does, and it did nothing
