"""Board profiles: what a kind of board has, from ``boards/NAME/board.toml``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from guesthouse.core.assets import boards_dir
from guesthouse.core.errors import ExitCode, GuesthouseError
from guesthouse.core.units import parse_size, parse_time_us
from guesthouse.guests.sections import DEVICE_KINDS

_FILE = "board.toml"
_LINKS = ("pty", "usb-cdc", "uart")
_REQUIREMENT = re.compile(r"[a-z0-9_-]+[~=]=[0-9.a-z]+")
_USES = ("adc", "gpio", "pwm")  # what a pin can do by itself


@dataclass(frozen=True, slots=True)
class Device:
    """Something on the board that guests may ask for, as ``"kind:address"`` in guest.toml."""

    kind: str
    address: str
    note: str = ""

    @property
    def request(self) -> str:
        """What a guest writes behind the name that it gives the device."""
        return f"{self.kind}:{self.address}"


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of board.

    ``port`` is MicroPython's port, ``stubs`` a pip requirement for its types. ``link_bps`` is the
    speed of the line in bits per second, None where there is none to set. ``heap`` and ``flash``
    are bytes, ``flash`` None where files are on the host's disk; ``agent`` is what the agent takes
    of the heap. ``load_max_us`` is the CPU time a guest's module body may take. ``pins`` maps a
    name to what it can do ("gpio", "adc", "pwm"), ``devices`` the usual name of a device to what it
    is.
    """

    name: str
    title: str
    port: str
    stubs: str
    link_kind: str
    link_bps: int | None
    heap: int
    agent: int
    flash: int | None
    load_max_us: int
    pins: Mapping[str, tuple[str, ...]]
    devices: Mapping[str, Device]


def list_profiles(folder: Path | None = None) -> list[str]:
    """The names of the profiles there are."""
    folder = folder or boards_dir()
    return sorted(file.parent.name for file in folder.glob(f"*/{_FILE}"))


def load_profile(name: str, folder: Path | None = None) -> Profile:
    """The profile ``name``; GuesthouseError that names the file and the key when it is wrong."""
    folder = folder or boards_dir()
    if name not in (names := list_profiles(folder)):
        raise GuesthouseError(
            f"there is no board profile {name!r}",
            f"the profiles are: {', '.join(names) or 'none'}",
            ExitCode.USAGE,
        )
    file = folder / name / _FILE
    try:
        top = _Table(tomllib.loads(file.read_text(encoding="utf-8")), "")
        profile = _profile(top)
        if profile.name != name:
            raise _Wrong(f"name is {profile.name!r} and must be that of its folder, {name!r}")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, _Wrong) as error:
        raise GuesthouseError(
            f"{file}: {error}", f"docs and the other profiles in {folder} show how one is written"
        ) from error
    return profile


def _profile(top: _Table) -> Profile:
    link, memory, limits = top.table("link"), top.table("memory"), top.table("limits")
    pins, devices = top.table("pins"), top.table("devices")
    profile = Profile(
        name=top.text("name"),
        title=top.text("title"),
        port=top.text("port"),
        stubs=_requirement(top, "stubs"),
        link_kind=link.one_of("kind", _LINKS),
        link_bps=link.number("bps"),
        heap=memory.measure("heap", parse_size),
        agent=memory.measure("agent", parse_size),
        flash=memory.measure("flash", parse_size) if memory.has("flash") else None,
        load_max_us=limits.measure("load_max", parse_time_us),
        pins={name: pins.texts(name, _USES) for name in pins.names},
        devices={name: _device(devices.table(name)) for name in devices.names},
    )
    for table in (top, link, memory, limits):
        table.nothing_else()
    return profile


def _requirement(top: _Table, key: str) -> str:
    value = top.text(key, "")
    if value and not _REQUIREMENT.fullmatch(value):
        raise top.wrong(key, 'a package and its version, as in "micropython-unix-stubs~=1.29.0"')
    return value


def _device(table: _Table) -> Device:
    device = Device(
        kind=table.one_of("kind", DEVICE_KINDS),
        address=table.text("address"),
        note=table.text("note", ""),
    )
    table.nothing_else()
    return device


class _Wrong(Exception):
    """A value that is not what it must be; the message names the key."""


class _Table:
    """A TOML table that remembers what it was asked for, so that a misspelt key is found."""

    def __init__(self, values: Mapping[str, object], path: str) -> None:
        self.values = values
        self._path = path
        self._asked: set[str] = set()

    @property
    def names(self) -> list[str]:
        return list(self.values)

    def has(self, key: str) -> bool:
        self._asked.add(key)
        return key in self.values

    def text(self, key: str, default: str | None = None) -> str:
        value = self._get(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, "a text")
        return value

    def one_of(self, key: str, allowed: tuple[str, ...]) -> str:
        value = self.text(key)
        if value not in allowed:
            raise self.wrong(key, f"one of {', '.join(allowed)}")
        return value

    def number(self, key: str) -> int | None:
        value = self._get(key, 0)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self.wrong(key, "a whole number")
        return value or None

    def texts(self, key: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
        value = self._get(key, None)
        if not isinstance(value, list) or not all(item in allowed for item in value):
            raise self.wrong(key, f"a list out of {', '.join(allowed)}")
        return tuple(value)

    def measure(self, key: str, parse: Callable[[object], int]) -> int:
        value = self._get(key, None)
        try:
            return parse(value)
        except GuesthouseError as error:
            raise _Wrong(f"{self._path}{key}: {error.message}; {error.hint}") from error

    def table(self, key: str) -> _Table:
        value = self._get(key, {})
        if not isinstance(value, dict):
            raise self.wrong(key, "a table")
        return _Table(value, f"{self._path}{key}.")

    def nothing_else(self) -> None:
        if unknown := sorted(set(self.values) - self._asked):
            allowed = ", ".join(sorted(self._asked))
            raise _Wrong(f"unknown key {self._path}{unknown[0]}; the keys here are {allowed}")

    def _get(self, key: str, default: object) -> object:
        self._asked.add(key)
        if key not in self.values:
            if default is None:
                raise _Wrong(f"{self._path}{key} is missing")
            return default
        return self.values[key]

    def wrong(self, key: str, wanted: str) -> _Wrong:
        return _Wrong(f"{self._path}{key} must be {wanted}, not {self.values.get(key)!r}")
