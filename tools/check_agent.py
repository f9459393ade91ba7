"""Checks the agent's types against every board's MicroPython: `make agent-types`.

Each profile in boards/ names the stub package of its firmware; tools/setup_env.py has put them
into .venv/typings/PROFILE. The agent is one source for all of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from guesthouse.board.profiles import list_profiles

TOP = Path(__file__).resolve().parent.parent
TYPINGS = TOP / ".venv" / "typings"


def main() -> int:
    failed = []
    for profile in list_profiles():
        typings = TYPINGS / profile
        if not typings.is_dir():
            print(f"error: the types of {profile} are not in {typings}", file=sys.stderr)
            print("hint: run: make setup", file=sys.stderr)
            return 1
        print(f"{profile}: ", end="", flush=True)
        checked = subprocess.run(
            [
                *(sys.executable, "-m", "mypy", "--config-file", "agent/mypy.ini"),
                *("--custom-typeshed-dir", str(typings)),
                *("--cache-dir", f".mypy_cache/agent-{profile}"),
            ],
            cwd=TOP,
            env={**os.environ, "MYPYPATH": str(typings)},
            check=False,
        )
        if checked.returncode:
            failed.append(profile)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
