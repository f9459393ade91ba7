"""Every test function in on_board/ holds on a real MicroPython."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
RUNNER = HERE / "runner.py"
ON_BOARD = HERE / "on_board"

HEAP = "4m"
"""The heap that a Unix-port board has."""

TIME_LIMIT_S = 120


def _tests() -> list[tuple[Path, str]]:
    return [
        (path, node.name)
        for path in sorted(ON_BOARD.glob("test_*.py"))
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]


@pytest.mark.parametrize(
    ("path", "name"), _tests(), ids=[f"{path.stem}-{name}" for path, name in _tests()]
)
def test_on_board(micropython: list[str], path: Path, name: str) -> None:
    """Each test has a process of its own: no heap, module or signal is left over from another."""
    command = [*micropython, "-X", f"heapsize={HEAP}", str(RUNNER), str(path), name]
    try:
        run = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIME_LIMIT_S,
        )
    except subprocess.TimeoutExpired as error:
        said = (error.stdout or b"").decode(errors="replace")
        pytest.fail(f"{name} did not end within {TIME_LIMIT_S} s\n{said}", pytrace=False)
    said = run.stdout.decode(errors="replace")
    # The line as well as the status: a test that calls sys.exit(0) has not passed.
    if run.returncode or f"ok {name}" not in said.splitlines():
        pytest.fail(f"exit status {run.returncode}\n{said}", pytrace=False)
