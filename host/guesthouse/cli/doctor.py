"""doctor: what is on a port, what of it works, what looks wrong and what to do about it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from guesthouse.cli.connect import find_port, usb_of
from guesthouse.cli.verbs import Verbs, print_json, print_text
from guesthouse.core.errors import ExitCode, GuesthouseError
from guesthouse.core.units import fmt_bytes, fmt_us
from guesthouse.core.view.states import phrase

if TYPE_CHECKING:
    from guesthouse.link.client import Client
    from guesthouse.link.examine import Examination, Finding
    from guesthouse.link.ports import PortSpec


def register(verbs: Verbs) -> None:
    """Add the verb of this module."""
    verbs.add(
        "doctor",
        doctor,
        "say what the board is, what of it works, and what looks wrong",
        json=True,
        epilog="Where no agent is heard it says what else is on the port, as far as that can be\n"
        "told by listening: nothing is sent to a port on which no agent was heard.",
    )


def doctor(args: argparse.Namespace) -> int | None:
    from guesthouse.link.client import Client, NoAgent
    from guesthouse.link.examine import examine, findings
    from guesthouse.link.serial import open_serial

    spec = find_port(args)
    with Client(open_serial(spec)) as client:
        try:
            client.wait_for_agent()
        except NoAgent as error:
            kind, told = _stranger(client, spec, error)
            if not args.json:
                raise told from None
            print_json(_nobody(spec, kind, told))
            return told.code
        seen = examine(client)
    found = findings(seen)
    if args.json:
        print_json(_data(spec, seen, found))
    else:
        print_text(_words(spec, seen, found))
    return None


def _stranger(
    client: Client, spec: PortSpec, error: GuesthouseError
) -> tuple[str, GuesthouseError]:
    """What is there in place of an agent of our version, as a kind and an error in words."""
    from guesthouse.core import wire
    from guesthouse.link.strangers import identify

    version = client.wire_version
    if version is not None:
        if version < wire.VERSION:
            return "old-agent", GuesthouseError(
                f"the agent on {spec.name} is older than this guesthouse: it speaks version "
                f"{version} of the protocol, not {wire.VERSION}",
                "put this one on the board: guesthouse flash",
                ExitCode.NO_BOARD,
            )
        return "new-agent", GuesthouseError(
            f"the agent on {spec.name} is newer than this guesthouse: it speaks version "
            f"{version} of the protocol, not {wire.VERSION}",
            "bring guesthouse up to date",
            ExitCode.NO_BOARD,
        )
    stranger = identify(client.console, usb_of(spec), client.tracker.damaged)
    return stranger.kind, GuesthouseError(
        f"no agent answers on {spec.name}; {stranger.what}", stranger.do, ExitCode.NO_BOARD
    )


def _nobody(spec: PortSpec, kind: str, told: GuesthouseError) -> dict[str, Any]:
    return {
        "port": spec.name,
        "found": kind,
        "board": None,
        "firmware": None,
        "agent": None,
        "wire": None,
        "mechanisms": {},
        "ram_free": None,
        "ram_total": None,
        "flash_free": None,
        "link_bps": None,
        "link": None,
        "dropped": {},
        "missed": 0,
        "guests": [],
        "findings": [{"level": "problem", "what": told.message, "do": told.hint}],
    }


def _data(spec: PortSpec, seen: Examination, found: list[Finding]) -> dict[str, Any]:
    model = seen.model
    return {
        "port": spec.name,
        "found": "agent",
        "board": model.board,
        "firmware": model.firmware,
        "agent": model.agent,
        "wire": seen.wire_version,
        "mechanisms": {
            name: {"ok": verdict == "ok", "reason": "" if verdict == "ok" else verdict}
            for name, verdict in model.mechanisms.items()
        },
        "ram_free": seen.ram_free,
        "ram_total": model.heap_bytes,
        "flash_free": seen.flash_free,
        "link_bps": seen.speed.slower_bps,
        "link": {
            "to_board_bps": seen.speed.to_board_bps,
            "from_board_bps": seen.speed.from_board_bps,
            "round_trip_us": seen.speed.round_trip_us,
        },
        "dropped": dict(model.dropped),
        "missed": seen.missed,
        "guests": [
            {"name": guest.name, "state": guest.state, "reason": guest.reason}
            for guest in sorted(model.instances.values(), key=lambda one: one.id)
        ],
        "findings": [{"level": one.level, "what": one.what, "do": one.do} for one in found],
    }


def _words(spec: PortSpec, seen: Examination, found: list[Finding]) -> str:
    from guesthouse.core.view.line import clean

    model, speed = seen.model, seen.speed
    back = "" if speed.from_board_bps is None else f", {_bits(speed.from_board_bps)} from it"
    flash = "not told" if seen.flash_free is None else f"{fmt_bytes(seen.flash_free)} free"
    guests = sorted(model.instances.values(), key=lambda one: one.id)
    of = f" of {model.max_guests} at most" if model.max_guests else ""
    rows = [
        ("board", f"{model.board} on {spec.name}, up {fmt_us(model.elapsed_us)}"),
        ("firmware", model.firmware),
        ("agent", f"{model.agent}, version {seen.wire_version} of the protocol"),
        *_rows("works", [f"{name}: {verdict}" for name, verdict in model.mechanisms.items()]),
        ("memory", f"{fmt_bytes(seen.ram_free)} free of {fmt_bytes(model.heap_bytes)}"),
        ("flash", flash),
        (
            "link",
            f"{_bits(speed.to_board_bps)} to the board{back}, "
            f"{fmt_us(speed.round_trip_us)} there and back",
        ),
        ("guests", f"{len(guests) or 'none'}{of}"),
        *_rows("", [f"{guest.name} is {phrase(guest.state)}" for guest in guests]),
    ]
    lines = [f"{label:<9} {clean(text)}".rstrip() for label, text in rows]
    for level, heading in (("problem", "Looks wrong"), ("note", "Worth knowing")):
        some = [one for one in found if one.level == level]
        if some or level == "problem":
            lines += ["", heading if some else "Nothing looks wrong."]
        for one in some:
            lines += [f"- {clean(one.what)}", f"  {clean(one.do)}"]
    return "\n".join(lines) + "\n"


def _rows(label: str, texts: list[str]) -> list[tuple[str, str]]:
    return [("" if index else label, text) for index, text in enumerate(texts)]


def _bits(bps: int) -> str:
    return f"{bps / 1e6:.1f} Mbit/s" if bps >= 1_000_000 else f"{bps / 1e3:.0f} kbit/s"
