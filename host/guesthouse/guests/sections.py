"""The tables of a guest.toml, read key by key: wrong values fail in words that name the key."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from guesthouse.core import units
from guesthouse.core.errors import ExitCode, GuesthouseError

PERIOD_RANGE_US = (1_000, 10_000_000)
SLICE_RANGE_US = (100, 1_000_000)
BACKOFF_MAX_S = 0xFFFF
DEVICE_KINDS = ("adc", "gpio", "i2c", "pio", "pwm", "spi", "uart")

SECTIONS: Mapping[str, tuple[str, ...]] = {
    "": ("name", "version", "kind", "autostart", "criticality", "trust"),
    "cpu": ("min", "max", "period", "weight", "slice_max", "load_max", "on_overrun"),
    "memory": ("min", "high", "max", "buffer"),
    "storage": ("max",),
    "devices": (),  # free: any name the guest likes
    "restart": ("policy", "backoff"),
}

# Values laid over a manifest, by (section, key): text as in the file, numbers, true or false.
Options = Mapping[tuple[str, str], str | int | bool]

# The options of `run` and `set` by the manifest's keys they stand for.
OPTIONS: Mapping[tuple[str, str], str] = {
    ("cpu", "max"): "--cpu",
    ("cpu", "min"): "--cpu-min",
    ("cpu", "period"): "--period",
    ("cpu", "weight"): "--weight",
    ("cpu", "slice_max"): "--slice",
    ("cpu", "on_overrun"): "--on-overrun",
    ("memory", "max"): "--mem",
    ("memory", "min"): "--mem-min",
    ("memory", "high"): "--mem-high",
    ("storage", "max"): "--storage",
    ("restart", "policy"): "--restart",
    ("", "criticality"): "--criticality",
}


class ManifestError(GuesthouseError):
    """A manifest that says something the board could not keep."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint, ExitCode.USAGE)


class Reader:
    """The tables of one manifest, with the options laid over them."""

    def __init__(self, raw: Mapping[str, Any], source: str, overrides: Options) -> None:
        self._source = source
        self._overrides = overrides
        tables: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
        for key, value in raw.items():
            if key in SECTIONS and key:
                if not isinstance(value, dict):
                    raise ManifestError(
                        f"{source}: {key} must be a table, not {_kind(value)}",
                        f"write [{key}] and its keys below it",
                    )
                tables[key] = dict(value)
            else:
                tables[""][key] = value
        for name, values in tables.items():
            self._refuse_unknown(name, values)
        for (name, key), value in overrides.items():
            tables[name][key] = value
        self._tables = tables

    def section(self, name: str) -> Section:
        return Section(name, self._tables[name], self._source, self._overrides)

    def _refuse_unknown(self, name: str, values: Mapping[str, Any]) -> None:
        known = SECTIONS[name]
        for key in values:
            if key in known or name == "devices":
                continue
            where = f"[{name}] {key}" if name else key
            if not name and isinstance(values[key], dict):
                where = f"[{key}]"
            raise ManifestError(
                f"{self._source}: {where}: there is no such key", self._suggest(name, key)
            )

    @staticmethod
    def _suggest(name: str, key: str) -> str:
        here = SECTIONS[name] + (tuple(s for s in SECTIONS if s) if not name else ())
        close = difflib.get_close_matches(key, here, 1, 0.6)
        if close:
            return f"did you mean {close[0]!r}?"
        homes = [other for other, keys in SECTIONS.items() if key in keys]
        if homes and not homes[0]:
            return f"{key} belongs at the top of the file, before the first [section]"
        if homes:
            return f"{key} belongs in [{homes[0]}]"
        place = f"[{name}]" if name else "the top of the file"
        return f"{place} takes {_listed(here)}"


@dataclass(frozen=True, slots=True)
class Section:
    """One table: each method takes a key out of it as one kind of value, or fails in words."""

    name: str
    values: Mapping[str, Any]
    source: str
    overrides: Options

    def given(self, key: str) -> bool:
        return key in self.values

    def fail(self, key: str, problem: str, hint: str) -> NoReturn:
        option = OPTIONS.get((self.name, key))
        if option is not None and (self.name, key) in self.overrides:
            raise ManifestError(f"{option} {problem}", hint)
        where = f"[{self.name}] {key}" if self.name else key
        raise ManifestError(f"{self.source}: {where} {problem}", hint)

    def boolean(self, key: str, default: bool) -> bool:
        value = self.values.get(key, default)
        if not isinstance(value, bool):
            self.fail(key, f"is {value!r}", "it is true or false")
        return value

    def integer(self, key: str, default: int, low: int, high: int) -> int:
        value = self.values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.fail(key, f"is {value!r}", f"it is a whole number from {low} to {high}")
        return value

    def choice(self, key: str, allowed: Sequence[str], default: str) -> str:
        value = self.values.get(key, default)
        if value not in allowed:
            text = _listed([f'"{one}"' for one in allowed], "or")
            close = difflib.get_close_matches(str(value), allowed, 1, 0.6)
            self.fail(
                key, f"is {value!r}", f"did you mean {close[0]!r}?" if close else f"it is {text}"
            )
        return str(value)

    def version(self, key: str, default: str) -> str:
        value = self.values.get(key, default)
        if not isinstance(value, str) or not re.fullmatch(r"[\x21-\x7e]{1,24}", value):
            self.fail(
                key,
                f"is {value!r}",
                'it is text of 1 to 24 characters without spaces, as in "1.2.0"',
            )
        return value

    def time(self, key: str, default: Any, low: int, high: int) -> Any:
        """Microseconds, or ``default`` (which may be None) where the key is absent."""
        if key not in self.values:
            return default
        us = self._parse(key, units.parse_time_us, '"5ms", "100us" or "1s"')
        if not low <= us <= high:
            self.fail(
                key,
                f"is {self.values[key]!r}",
                f"it lies from {units.fmt_us(low)} to {units.fmt_us(high)}",
            )
        return us

    def period(self, key: str, default: int) -> int:
        """Microseconds, of which the agent counts whole ms."""
        us = int(self.time(key, default, *PERIOD_RANGE_US))
        if us % 1_000:
            self.fail(key, f"is {self.values[key]!r}", "a period is whole milliseconds")
        return us

    def size(self, key: str) -> int | None:
        """Bytes, None where the key is absent or "none"."""
        if self.values.get(key, "none") == "none":
            return None
        return int(self._parse(key, units.parse_size, '32768, "32k" or "1M"'))

    def share(self, key: str, period_us: int) -> tuple[int | None, int | None]:
        """A share of the CPU as (us, period in us); the period is the given one unless named."""
        if self.values.get(key, "none") == "none":
            return None, None
        us, of_us = self._parse(
            key, lambda value: units.parse_cpu(value, period_us), '"20%", "1ms/10ms" or 0.2'
        )
        if not PERIOD_RANGE_US[0] <= of_us <= PERIOD_RANGE_US[1]:
            self.fail(key, f"is {self.values[key]!r}", "its period lies from 1 ms to 10 s")
        if of_us % 1_000:
            self.fail(key, f"is {self.values[key]!r}", "its period is whole milliseconds")
        return us, of_us

    def backoff(self, key: str, default: tuple[int, int]) -> tuple[int, int]:
        """Seconds before the first and the last retry."""
        if key not in self.values:
            return default
        text = self.values[key]
        example = 'it is whole seconds, first and last, as in "1s..60s"'
        if not isinstance(text, str):
            self.fail(key, f"is {text!r}", example)
        parts = [part.strip() for part in text.split("..")]
        if len(parts) not in (1, 2):
            self.fail(key, f"is {text!r}", example)
        seconds = []
        for part in parts:
            try:
                us = units.parse_time_us(part)
            except GuesthouseError:
                self.fail(key, f"is {text!r}", example)
            if us % 1_000_000 or not 1_000_000 <= us <= BACKOFF_MAX_S * 1_000_000:
                self.fail(key, f"is {text!r}", f"{example}, from 1s to {BACKOFF_MAX_S}s")
            seconds.append(us // 1_000_000)
        first, last = seconds[0], seconds[-1]
        if first > last:
            self.fail(key, f"is {text!r}", "the first wait is not longer than the last")
        return first, last

    def devices(self) -> dict[str, str]:
        for key, value in self.values.items():
            if not re.fullmatch(r"[a-z][a-z0-9_]{0,11}", key):
                self.fail(
                    key,
                    "cannot name a device",
                    "a lower-case letter, then letters, digits or '_', 12 at most",
                )
            kind, _, address = value.partition(":") if isinstance(value, str) else ("", "", "")
            if not re.fullmatch(r"[A-Za-z0-9_./-]{1,24}", address):
                self.fail(key, f"is {value!r}", 'a device is "kind:address", as in "gpio:25"')
            if kind not in DEVICE_KINDS:
                close = difflib.get_close_matches(kind, DEVICE_KINDS, 1, 0.5)
                self.fail(
                    key,
                    f"is {value!r}",
                    f"did you mean '{close[0]}:{address}'?"
                    if close
                    else f"the kinds are {_listed(DEVICE_KINDS)}",
                )
        return dict(self.values)

    def _parse(self, key: str, parse: Callable[[Any], Any], examples: str) -> Any:
        value = self.values[key]
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            self.fail(key, f"must be {examples}, not {_kind(value)}", f"write {key} = ...")
        negative = value.strip().startswith("-") if isinstance(value, str) else value < 0
        if negative:
            self.fail(key, f"is {value!r}", f"it cannot be negative; it is {examples}")
        try:
            return parse(value)
        except GuesthouseError as error:
            self.fail(key, f"is {value!r}: {error.message}", error.hint or f"it is {examples}")


def _kind(value: object) -> str:
    names = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "text",
        list: "a list",
        dict: "a table",
    }
    return names.get(type(value), type(value).__name__)


def _listed(words: Sequence[str], last: str = "and") -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"
