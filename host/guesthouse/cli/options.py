"""The options that say a quota, shared by run, deploy and set, or what a board promises."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from guesthouse.core.errors import ExitCode, GuesthouseError
from guesthouse.guests.sections import OPTIONS

_HELP = {
    ("cpu", "max"): ("SHARE", "at most this share of the CPU: 20%%, or 1ms/10ms; or none"),
    ("cpu", "min"): ("SHARE", "this share of the CPU is reserved for it"),
    ("cpu", "period"): ("TIME", "the period of --cpu (100ms)"),
    ("cpu", "weight"): ("N", "its part of what is left, against the others' (100)"),
    ("cpu", "slice_max"): ("TIME", "the longest it may run without giving way (5ms)"),
    ("cpu", "on_overrun"): ("WHAT", "what an overrun leads to: kill or suspend"),
    ("memory", "max"): ("SIZE", "at most this much memory: 32k"),
    ("memory", "min"): ("SIZE", "this much memory is reserved for it"),
    ("memory", "high"): ("SIZE", "warned above this, and its garbage is collected sooner"),
    ("storage", "max"): ("SIZE", "at most this much of the flash (not enforced yet)"),
    ("restart", "policy"): ("WHEN", "never, on-failure or always"),
    ("", "criticality"): ("N", "0 to 10: who goes last where memory is short"),
}
_NUMBERS = (("cpu", "weight"), ("", "criticality"))


def add_quota_options(
    parser: argparse.ArgumentParser, keys: Iterable[tuple[str, str]] = tuple(OPTIONS)
) -> None:
    """Add the options for ``keys`` (section and key of a manifest)."""
    group = parser.add_argument_group("quotas")
    for key in keys:
        metavar, help = _HELP[key]
        group.add_argument(
            OPTIONS[key],
            dest=_destination(key),
            metavar=metavar,
            type=int if key in _NUMBERS else str,
            help=help,
        )


def quota_options(args: argparse.Namespace) -> dict[tuple[str, str], str | int | bool]:
    """The options that were given, by section and key."""
    return {
        key: value
        for key in OPTIONS
        if (value := getattr(args, _destination(key), None)) is not None
    }


def _destination(key: tuple[str, str]) -> str:
    return f"quota_{key[0]}_{key[1]}"


_OVERSUBSCRIPTION_MAX = 1000.0


def add_oversubscription_option(parser: argparse.ArgumentParser) -> None:
    """Add --oversubscription."""
    parser.add_argument(
        "--oversubscription",
        metavar="WHAT=N",
        action="append",
        default=[],
        help="the limits of all guests may add up to N times the board: cpu=4.0, ram=1.5",
    )


def oversubscription(args: argparse.Namespace) -> dict[str, int]:
    """What --oversubscription says: ppm, by the names of the wire. Raises GuesthouseError."""
    changes = {}
    for word in args.oversubscription:
        what, _, number = word.partition("=")
        try:
            factor = float(number)
        except ValueError:
            factor = 0.0
        if what not in ("cpu", "ram") or not 0.01 <= factor <= _OVERSUBSCRIPTION_MAX:
            raise GuesthouseError(
                f"--oversubscription does not take {word!r}",
                "write what and how often it may be promised, for example cpu=4.0 or ram=1.5",
                ExitCode.USAGE,
            )
        changes[f"oversubscription_{what}_ppm"] = round(factor * 1e6)
    return changes
