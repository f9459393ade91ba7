"""The folder of a new guest: manifest, program, and what an editor needs to know of the board."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from guesthouse.board.profiles import Profile
from guesthouse.core.errors import ExitCode, GuesthouseError
from guesthouse.guests.manifest import check_name
from guesthouse.guests.stubs import guest_stub

# Keys that are commented out stand at their defaults, or say that there is none.
_MANIFEST = """\
# The quotas of {name}, for {title}. Lines that begin with '#' show the defaults.

name = "{name}" # 1 to 12 of a-z 0-9 _ -, a letter first
# version = "0" # for people; never compared
# kind = "task" # the only kind there is today
# autostart = true # start with the board
# criticality = 5 # 0 to 10; shown, nothing acts on it yet
# trust = "own" # a program of your own, under quotas

[cpu]
max = "20%" # CPU time at most: a share of each period, or "1ms/10ms"; default: none
# min = "1%" # CPU time reserved, served before everybody else; default: none
# period = "100ms" # of max, and of min where that names none
# weight = 100 # 1 to 10000: its part of what is left, against the others'
# slice_max = "5ms" # the longest it may run without giving way
# load_max = "{load_max}" # CPU time for each step of loading, or slice_max if that is longer
# on_overrun = "kill" # or "suspend": where a slice is longer, the others run and it goes on later

[memory]
max = "32k" # above this, after a collection, it is killed; default: none
# min = "8k" # kept free for it; default: none
# high = "24k" # warned above this; default: none
# buffer = "4k" # of that min in one piece, there at every start: guest.buffer(); default: none

[storage]
# max = "16k" # of the board's flash; not enforced yet; default: none

[restart]
# policy = "on-failure" # "never", "on-failure" or "always"
# backoff = "1s..60s" # the first and the longest wait, in whole seconds

[devices]
# A name of your own = "kind:address". Taken and checked; devices are not shared yet.
{devices}"""

_MAIN = """\
# {name}: counts the seconds, prints a line every ten, and publishes the count
#
# Replace the body of the loop. Whatever waits, waits with `await`, so that others can run: a slice
# that is longer than slice_max in guest.toml ends the guest.

import asyncio

from house import guest


async def main() -> None:
    seconds = 0
    while True:
        if seconds % 10 == 0:
            print("up for", seconds, "s")
        guest.publish("seconds", seconds)  # shows in the telemetry and in recordings
        await asyncio.sleep(1)
        seconds += 1
"""

_PYPROJECT = """\
# For the editor (pyright, Pylance) and for mypy; guesthouse does not send it to the board.
# typings/ gets the types of this board's MicroPython from requirements-dev.txt.

[tool.pyright]
include = ["."]
exclude = ["typings"]
stubPath = "typings"
typeshedPath = "typings"
reportMissingModuleSource = "none" # there are only types, the modules are on the board

[tool.ruff]
extend-exclude = ["typings"] # not yours to lint

[tool.mypy]
files = ["main.py"]
mypy_path = "typings"
custom_typeshed_dir = "typings"

[[tool.mypy.overrides]]
module = "_mpy_shed.*" # the stub package's own loose ends
ignore_errors = true
"""

_REQUIREMENTS = """\
# The types of MicroPython for {title}. Into typings/, beside the house's own:
#   pip install --upgrade --target typings -r requirements-dev.txt
{stubs}
"""

_GITIGNORE = """\
/typings/*
!/typings/house/
"""


def scaffold(name: str, profile: Profile) -> dict[str, str]:
    """The files of a new guest, text by path with '/'. Raises ManifestError for a wrong name."""
    check_name(name, "new")
    if not profile.stubs:
        raise GuesthouseError(
            f"the board profile {profile.name} names no stub package", "choose another with --board"
        )
    words = {
        "name": name,
        "title": profile.title,
        "stubs": profile.stubs,
        "load_max": _time(profile.load_max_us),
        "devices": _devices(profile),
    }
    return {
        "guest.toml": _MANIFEST.format(**words),
        "main.py": _MAIN.format(**words),
        "pyproject.toml": _PYPROJECT,
        "requirements-dev.txt": _REQUIREMENTS.format(**words),
        ".gitignore": _GITIGNORE,
        "typings/house/__init__.pyi": "",
        "typings/house/guest.pyi": guest_stub(),
    }


def write_folder(folder: Path, files: Mapping[str, str]) -> None:
    """Write the files into a folder that is not there yet; nothing is left where that fails."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise GuesthouseError(
            f"{folder} is there already", "choose another name, or remove it first", ExitCode.USAGE
        ) from None
    except OSError as error:
        raise _cannot(folder, error) from error
    try:
        for path, text in files.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise _cannot(folder, error) from error


def _cannot(folder: Path, error: OSError) -> GuesthouseError:
    return GuesthouseError(
        f"{folder} cannot be written: {error.strerror or error}",
        "choose a place where you may write and that has room",
    )


def _time(us: int) -> str:
    """Whole seconds or milliseconds, as a manifest takes them."""
    return f"{us // 1_000_000}s" if us % 1_000_000 == 0 else f"{us // 1_000}ms"


def _devices(profile: Profile) -> str:
    lines = []
    if profile.pins:
        pin = next(iter(profile.pins)).removeprefix("gp")
        lines.append(f'# button = "gpio:{pin}" # any pin: {_ranges(profile)}')
    lines += [
        f'# {name} = "{device.request}"' + (f" # {device.note}" if device.note else "")
        for name, device in profile.devices.items()
    ]
    return "".join(f"{line}\n" for line in lines) or "# This board has none.\n"


def _ranges(profile: Profile) -> str:
    """The pins by their numbers: ``0 to 22, 25 to 28``."""
    numbers = sorted(int(pin[2:]) for pin in profile.pins if pin[2:].isdigit())
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)
