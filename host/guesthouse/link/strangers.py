"""What is on a port where no agent is heard, told from what it printed and from its USB ids.

Nothing is ever sent to find out: what answers may be somebody's program, or no board at all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from guesthouse.link.ports import Candidate

# (vendor, product) on USB. Raspberry Pi's list of product ids is public.
MICROPYTHON_RP2 = (0x2E8A, 0x0005)
_PROBES = ((0x2E8A, 0x0004), (0x2E8A, 0x000C))
_PICO_SDK = ((0x2E8A, 0x0009), (0x2E8A, 0x000A))
_ADAFRUIT = 0x239A

_INSTALL = "install MicroPython {} or later on it, then the agent: guesthouse flash"
_BANNER = re.compile(r"MicroPython v?(\d+)\.(\d+)\S*")
_CIRCUIT = re.compile(r"(?:Adafruit )?CircuitPython (\d+\.\S+)")
_CANNOT_START = re.compile(r"Guesthouse's agent cannot start: ([^\r\n]*)")
_CANNOT = re.compile(r"this firmware cannot stop a guest: ([^\r\n]*)")


@dataclass(frozen=True, slots=True)
class Stranger:
    """``kind`` for programs, ``what`` it is (its subject is "it"), ``do``: what to do about it.

    The kinds: silent, noise, program, repl, micropython, old-micropython, circuitpython,
    unfit-firmware, damaged-agent, crashed-agent, debug-probe.
    """

    kind: str
    what: str
    do: str


def identify(console: bytes, usb: Candidate | None = None, damaged: int = 0) -> Stranger:
    """What printed ``console`` (the newest of it), on the port ``usb`` if that is known.

    ``damaged`` counts frames that began as an agent's and were not whole.
    """
    text = console.decode("utf-8", "replace").strip()
    stranger = _by_text(text) or _by_usb(usb)
    if stranger is not None:
        return stranger
    if damaged or text.count("\ufffd") > len(text) // 4:
        return Stranger(
            "noise",
            "what arrives is damaged: it may be an agent behind a bad line, or no board",
            "try another cable, and the board's own baud rate if it is on a UART",
        )
    if text:
        return Stranger(
            "program",
            f"it printed: {text[-200:]!r}",
            "is that a MicroPython board with the agent on it? `guesthouse devs` lists boards",
        )
    return Stranger(
        "silent",
        "it is silent",
        "reset the board, or put the agent on it with `guesthouse flash`; `guesthouse sim` starts "
        "a simulated board",
    )


def _by_text(text: str) -> Stranger | None:
    wanted = _wanted()
    install = _INSTALL.format(f"{wanted[0]}.{wanted[1]}")
    if found := _CIRCUIT.search(text):
        return Stranger(
            "circuitpython",
            f"it runs CircuitPython {found[1].rstrip(';,')}, which the agent cannot run on",
            install,
        )
    if found := _CANNOT.search(text):
        return Stranger(
            "unfit-firmware",
            f"the agent has looked at this firmware and left: it cannot stop a guest ({found[1]})",
            f"{install}: an official image, or one of another version",
        )
    if found := _CANNOT_START.search(text):
        return Stranger(
            "damaged-agent", f"its agent cannot start: {found[1]}", "run guesthouse flash again"
        )
    if "Traceback (most recent call last)" in text and "house/" in text:
        return Stranger(
            "crashed-agent",
            f"the agent ended with an error; last it said: {text.splitlines()[-1][:120]!r}",
            "reset the board; if it happens again, report it with all that the board printed",
        )
    banners = _BANNER.findall(text)
    if banners and (version := (int(banners[-1][0]), int(banners[-1][1]))) < wanted:
        return Stranger(
            "old-micropython",
            f"it runs MicroPython {version[0]}.{version[1]}, which is too old for the agent",
            install,
        )
    if text.endswith(">>>"):
        return Stranger(
            "repl",
            "the board is at its REPL (>>>)",
            "put the agent on it with: guesthouse flash",
        )
    if text.endswith(">") and "raw REPL; CTRL-B to exit" in text:
        return Stranger(
            "repl",
            "the board is at its raw REPL, where a tool has left it",
            "reset the board; guesthouse flash puts the agent on it if it has none",
        )
    if banners or "MPY: soft reboot" in text:
        return Stranger(
            "micropython",
            "it runs MicroPython, and no agent in it",
            "put the agent on it with: guesthouse flash",
        )
    return None


def _by_usb(usb: Candidate | None) -> Stranger | None:
    if usb is None or usb.vid is None:
        return None
    ids = (usb.vid, usb.pid)
    wanted = _wanted()
    if usb.vid == _ADAFRUIT or "circuitpython" in usb.description.lower():
        return Stranger(
            "circuitpython",
            "by its USB ids it runs CircuitPython or another of Adafruit's programs",
            _INSTALL.format(f"{wanted[0]}.{wanted[1]}"),
        )
    if ids in _PROBES:
        return Stranger(
            "debug-probe",
            "by its USB ids it is a debug probe, not a board with an agent",
            "name the board's own port: `guesthouse devs` lists what is there",
        )
    if ids == MICROPYTHON_RP2:
        return Stranger(
            "micropython",
            "by its USB ids it runs MicroPython, and no agent is heard: it may wait at its REPL, "
            "or a program of its own runs",
            "put the agent on it with guesthouse flash; if it is there, reset the board",
        )
    if ids in _PICO_SDK:
        return Stranger(
            "program",
            "by its USB ids it runs a program made with the Pico's C SDK, not MicroPython",
            _INSTALL.format(f"{wanted[0]}.{wanted[1]}"),
        )
    return None


def _wanted() -> tuple[int, int]:
    from guesthouse.board.micropython import MINIMUM  # only where it is needed: much hangs on it

    return MINIMUM
