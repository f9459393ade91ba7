"""A guest's manifest: ``guest.toml``, or the options of ``run``, made into what the board reads.

The board never parses TOML. The host checks everything here, once, with errors that name the
file, the key and what is allowed, and sends the outcome as ``guest.json``.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from guesthouse.core import units
from guesthouse.guests.sections import (
    OPTIONS,
    SLICE_RANGE_US,
    ManifestError,
    Options,
    Reader,
    Section,
)

__all__ = [
    "OPTIONS",
    "Capacity",
    "Manifest",
    "ManifestError",
    "Options",
    "check_name",
    "load_manifest",
    "manifest_from_options",
    "normalize",
    "valid_name",
]

NAME_MAX = 12  # wire.NAME_SIZE; an image's name travels in one record
NAME_PATTERN = re.compile(r"[a-z][a-z0-9_-]{0,11}")
RESERVED_NAMES = ("agent", "board")  # instances 0 and 1 of every board


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a board can give: CPU as a fraction of one CPU, heap in bytes (None: not known)."""

    cpu: float = 1.0
    heap: int | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """A guest's quotas and policies, checked. Times in us, sizes in bytes, None is no limit."""

    name: str
    version: str = "0"
    entry: str = "async"
    kind: str = "task"
    autostart: bool = True
    criticality: int = 5
    trust: str = "own"
    cpu_max_us: int | None = None
    cpu_period_us: int = 100_000
    cpu_min_us: int | None = None
    cpu_min_period_us: int | None = None
    weight: int = 100
    slice_max_us: int = 5_000
    on_overrun: str = "kill"
    mem_min: int | None = None
    mem_high: int | None = None
    mem_max: int | None = None
    mem_buffer: int | None = None
    storage_max: int | None = None
    restart: str = "on-failure"
    backoff_min_s: int = 1
    backoff_max_s: int = 60
    load_max_us: int | None = None
    devices: Mapping[str, str] = field(default_factory=dict)

    def unenforced(self) -> list[str]:
        """What the manifest asks for and no agent does yet, in words."""
        asked = {
            "storage.max": self.storage_max is not None,
            "devices": bool(self.devices),
        }
        return [f"{key} is not enforced yet" for key, given in asked.items() if given]

    def to_json_dict(self) -> dict[str, Any]:
        """The object the board reads as ``guest.json``; ``mem_buffer`` only where there is one."""
        told = asdict(self)
        if self.mem_buffer is None:
            del told["mem_buffer"]
        return told


def valid_name(text: str) -> str:
    """``text`` (a file's stem, a folder's name) bent into a name that an image may have."""
    name = re.sub(r"[^a-z0-9_-]+", "_", text.lower()).lstrip("0123456789_-")[:NAME_MAX]
    name = name.rstrip("_-") or "guest"
    return name if name not in RESERVED_NAMES else name + "_"


def check_name(name: object, where: str) -> str:
    """``name`` if an image may be called that, else an error that says what is allowed."""
    if isinstance(name, str) and NAME_PATTERN.fullmatch(name) and name not in RESERVED_NAMES:
        return name
    if isinstance(name, str) and name in RESERVED_NAMES:
        raise ManifestError(
            f"{where}: {name!r} is taken by the board itself", f"try {valid_name(name)!r}"
        )
    hint = f"; try {valid_name(name)!r}" if isinstance(name, str) else ""
    raise ManifestError(
        f"{where}: {name!r} cannot name a guest",
        f"a name is 1 to {NAME_MAX} characters: a lower-case letter, then lower-case letters, "
        f"digits, '_' or '-'{hint}",
    )


def load_manifest(
    path: Path,
    *,
    default_name: str | None = None,
    overrides: Options | None = None,
    capacity: Capacity | None = None,
) -> Manifest:
    """Read ``guest.toml`` at ``path``; ``overrides`` (see `OPTIONS`) win over what it says.

    Raises ManifestError, also where the file cannot be read or is no TOML.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: is not UTF-8 text (byte {error.start})") from error
    except tomllib.TOMLDecodeError as error:
        raise ManifestError(
            f"{path}: is not TOML: {error}", 'text stands in quotes, as in max = "20%"'
        ) from error
    return normalize(
        raw, str(path), default_name=default_name, overrides=overrides, capacity=capacity
    )


def manifest_from_options(
    name: str,
    options: Options,
    *,
    capacity: Capacity | None = None,
) -> Manifest:
    """The manifest of a program that has none: defaults, and the options given to ``run``."""
    return normalize({"name": name}, "command line", overrides=options, capacity=capacity)


def normalize(
    raw: Mapping[str, Any],
    source: str,
    *,
    default_name: str | None = None,
    overrides: Options | None = None,
    capacity: Capacity | None = None,
) -> Manifest:
    """Check the tables of a manifest and fill in the defaults.

    ``source`` names them in errors. ``overrides`` are options by (section, key), as text;
    errors about those name the option. ``capacity`` is asked where the board is known.
    """
    reader = Reader(raw, source, overrides or {})
    top, cpu, memory = reader.section(""), reader.section("cpu"), reader.section("memory")
    period_us = cpu.period("period", 100_000)
    max_us, max_period_us = cpu.share("max", period_us)
    if max_period_us is not None and max_period_us != period_us:
        if cpu.given("period"):
            cpu.fail(
                "max",
                f"names a period of {units.fmt_us(max_period_us)}, and period says "
                f"{units.fmt_us(period_us)}",
                "give the period once",
            )
        period_us = max_period_us
    min_us, min_period_us = cpu.share("min", period_us)
    low = min_us / min_period_us if min_us is not None and min_period_us is not None else 0.0
    if max_us is not None and low > max_us / period_us:
        cpu.fail(
            "min",
            f"({units.fmt_share(low)}) is above max ({units.fmt_share(max_us / period_us)})",
            "a reservation lies within the limit",
        )
    slice_us = cpu.time("slice_max", min(5_000, period_us), *SLICE_RANGE_US)
    if slice_us > period_us:
        cpu.fail(
            "slice_max",
            f"({units.fmt_us(slice_us)}) is longer than the period ({units.fmt_us(period_us)})",
            "a slice is part of a period",
        )
    sizes = {key: memory.size(key) for key in ("min", "high", "max", "buffer")}
    if sizes["min"] is None and sizes["buffer"]:
        sizes["min"] = sizes["buffer"]  # it is there all the time, so it is promised
    _check_order(memory, sizes)
    trust = top.choice("trust", ("own", "confined"), "own")
    if trust == "confined":
        top.fail(
            "trust",
            'is "confined"',
            "no agent confines a guest yet; leave it out, and run only programs that you trust",
        )
    restart = reader.section("restart")
    backoff = restart.backoff("backoff", (1, 60))
    manifest = Manifest(
        name=check_name(top.values.get("name", default_name), f"{source}: name"),
        version=top.version("version", "0"),
        kind=top.choice("kind", ("task",), "task"),
        autostart=top.boolean("autostart", True),
        criticality=top.integer("criticality", 5, 0, 10),
        trust=trust,
        cpu_max_us=max_us,
        cpu_period_us=period_us,
        cpu_min_us=min_us,
        cpu_min_period_us=min_period_us,
        weight=cpu.integer("weight", 100, 1, 10_000),
        slice_max_us=slice_us,
        on_overrun=cpu.choice("on_overrun", ("kill", "suspend"), "kill"),
        mem_min=sizes["min"],
        mem_high=sizes["high"],
        mem_max=sizes["max"],
        mem_buffer=sizes["buffer"] or None,
        storage_max=reader.section("storage").size("max"),
        restart=restart.choice("policy", ("never", "on-failure", "always"), "on-failure"),
        backoff_min_s=backoff[0],
        backoff_max_s=backoff[1],
        load_max_us=cpu.time("load_max", None, 1_000, 60_000_000),
        devices=reader.section("devices").devices(),
    )
    if capacity is not None:
        _check_capacity(manifest, cpu, memory, capacity)
    return manifest


def _check_order(memory: Section, sizes: Mapping[str, int | None]) -> None:
    for low, high in (("buffer", "min"), ("min", "max"), ("min", "high"), ("high", "max")):
        below, above = sizes[low], sizes[high]
        if below is not None and above is not None and below > above:
            memory.fail(
                low,
                f"({units.fmt_bytes(below)}) is above {high} ({units.fmt_bytes(above)})",
                "it is buffer <= min <= high <= max",
            )
    if sizes["max"] == 0:
        memory.fail("max", "is 0, and no program runs in that", 'a size, as in max = "32k"')


def _check_capacity(manifest: Manifest, cpu: Section, memory: Section, capacity: Capacity) -> None:
    for key, us, period in (
        ("max", manifest.cpu_max_us, manifest.cpu_period_us),
        ("min", manifest.cpu_min_us, manifest.cpu_min_period_us),
    ):
        if us is not None and period and us / period > capacity.cpu:
            cpu.fail(
                key,
                f"({us / period:.0%}) is above what this board has for guests ({capacity.cpu:.0%})",
                "ask for less, or leave it out: no limit",
            )
    if capacity.heap is None:
        return
    for key, size in (("max", manifest.mem_max), ("min", manifest.mem_min)):
        if size is not None and size > capacity.heap:
            memory.fail(
                key,
                f"({units.fmt_bytes(size)}) is above this board's heap "
                f"({units.fmt_bytes(capacity.heap)})",
                "ask for less",
            )
