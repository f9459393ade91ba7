"""A look at a board with an agent on it: what it has left, how fast its line is, what is wrong."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass

from guesthouse.core import wire
from guesthouse.core.model import BoardModel, InstanceModel
from guesthouse.core.sentences import place
from guesthouse.core.units import fmt_bytes
from guesthouse.core.view.states import phrase
from guesthouse.link.client import Client
from guesthouse.link.commands import encode_command

SPAN_S = 0.4  # for each direction of the line
EXCHANGES_MIN = 5  # on a line so slow that the span is over before
_PAD = 240  # bytes that fill a command line well
_FILL = 900
_FRAME = wire.FRAME_HEADER_SIZE + wire.FRAME_CRC_SIZE + wire.REPLY_HEADER_SIZE
_SAFE_MODE = 3  # unclean boots in a row, and the agent starts no guest
_ROOM_FOR_DEPLOY = 16 * 1024  # bytes; the agent keeps 8 KiB of the flash beside an image

# What stops working where a mechanism has failed its self-test, and what helps.
_MEANS = {
    "preemption": (
        "a guest that never gives way cannot be stopped on this firmware",
        "use an official MicroPython image, or one of another version",
    ),
    "file-calls": (
        "a guest that is ended while it writes a file may leave the file system damaged",
        "use an official MicroPython image with its files on the board's own flash",
    ),
    "frame-table": (
        "memory figures are estimates, and memory.max is not exact",
        "where somebody has made a file estimate.on, remove it; else use an official MicroPython "
        "image",
    ),
    "in-place": (
        "the agent's code stays in memory: guests have some 76 kB less, nothing else is wrong",
        "a reset tries it again, on official MicroPython for the RP2040, if nothing else is in the "
        "flash below the file system",
    ),
}
_BAD_STATES = ("quarantined", "failed", "killed", "backoff")


@dataclass(frozen=True, slots=True)
class LinkSpeed:
    """What commands and answers in turn get of the line, as a deploy does: bits and us.

    ``from_board_bps`` is None where the agent does not lengthen its answers.
    """

    to_board_bps: int
    from_board_bps: int | None
    round_trip_us: int

    @property
    def slower_bps(self) -> int:
        """The slower direction."""
        return min(self.to_board_bps, self.from_board_bps or self.to_board_bps)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that looks wrong (``"problem"``) or is worth knowing (``"note"``)."""

    level: str
    what: str
    do: str


@dataclass(frozen=True, slots=True)
class Examination:
    """A board as it was found. Sizes in bytes; counts of records.

    ``dropped_before`` were dropped on the board before we listened, ``dropped`` while we did;
    ``missed`` were lost on the line meanwhile; ``damaged`` counts runs of bytes that were to be
    frames.
    """

    model: BoardModel
    wire_version: int
    flash_free: int | None
    speed: LinkSpeed
    dropped_before: int
    dropped: int
    missed: int
    damaged: int

    @property
    def ram_free(self) -> int:
        """Of the board's heap, now: garbage counts as used until it is collected."""
        return max(0, self.model.heap_bytes - self.model.heap_used)


def examine(client: Client) -> Examination:
    """Greet the agent, ask it, and measure the line. Takes about two seconds."""
    client.wait_for_agent()
    # Opening a port may cut a frame, or find a piece of an old one: no fault of the line.
    missed, damaged = client.model.missed, client.tracker.damaged
    answer = client.hello()
    model = client.wait_for_summary()
    before = sum(model.dropped.values())
    flash = client.command(wire.VERB_PING, {"flash": True}).get("flash_free")
    speed = measure_link(client)
    client.wait_for_summary()  # tells what was dropped meanwhile
    return Examination(
        model=client.model,
        wire_version=int(answer.get("wire", wire.VERSION)),
        flash_free=flash if isinstance(flash, int) else None,
        speed=speed,
        dropped_before=before,
        dropped=max(0, sum(client.model.dropped.values()) - before),
        missed=client.model.missed - missed,
        damaged=client.tracker.damaged - damaged,
    )


def measure_link(client: Client) -> LinkSpeed:
    """Long commands, then long answers, one after the other for SPAN_S seconds each."""
    empty, _ = _exchange(client, {}, 0)
    pad = {"pad": "x" * _PAD}
    line = len(encode_command(wire.VERB_PING, 0, pad))
    there, _ = _exchange(client, pad, SPAN_S)
    back, answer = _exchange(client, {"fill": _FILL}, SPAN_S)
    return LinkSpeed(
        to_board_bps=round(8 * line / there),
        from_board_bps=round(8 * answer / back) if answer > _FILL else None,
        round_trip_us=round(empty * 1e6),
    )


def _exchange(client: Client, body: Mapping[str, object], span: float) -> tuple[float, int]:
    """The middle of the seconds that an exchange takes, and the bytes of an answer.

    Not the mean: a collection on the board, or a busy machine, is not the line's slowness.
    """
    times: list[float] = []
    began = time.monotonic()
    while len(times) < EXCHANGES_MIN or time.monotonic() - began < span:
        start = time.monotonic()
        answer = client.command(wire.VERB_PING, body)
        times.append(time.monotonic() - start)
    return max(statistics.median(times), 1e-6), _FRAME + len(json.dumps(answer))


def findings(seen: Examination) -> list[Finding]:
    """What looks wrong on the board and what to do about each, problems first."""
    model = seen.model
    found = [
        *_mechanisms(model),
        *_boots(model),
        *_line(seen),
        *(_guest(guest) for guest in _by_id(model) if guest.state in _BAD_STATES),
        *_room(seen),
    ]
    return sorted(found, key=lambda one: one.level != "problem")


def _mechanisms(model: BoardModel) -> list[Finding]:
    found = []
    for name, verdict in model.mechanisms.items():
        if verdict == "ok":
            continue
        means, do = _MEANS.get(
            name, ("what rests on it does not work on this firmware", "use another firmware")
        )
        found.append(Finding("problem", f"{name} failed its self-test ({verdict}): {means}", do))
    if not model.mechanisms:
        found.append(
            Finding("problem", "the agent does not tell of its self-tests", "install it anew")
        )
    return found


def _line(seen: Examination) -> list[Finding]:
    found = []
    if seen.missed or seen.damaged:
        found.append(
            Finding(
                "problem",
                f"the line loses data: {seen.missed} records missed, "
                f"{seen.damaged} pieces damaged while we listened",
                "use a shorter cable or another port, and end programs that keep this machine busy",
            )
        )
    if seen.dropped:
        found.append(
            Finding(
                "problem",
                f"the board dropped {seen.dropped} records while we listened: there is more to "
                "tell than the line takes",
                "let guests print less; record without --trace",
            )
        )
    if seen.dropped_before:
        found.append(
            Finding(
                "note",
                f"{seen.dropped_before} records were dropped on the board before we listened",
                "nothing, if nobody was reading: a board does not wait for its reader",
            )
        )
    if seen.flash_free is None or seen.speed.from_board_bps is None:
        found.append(
            Finding(
                "problem",
                "the agent is older than this guesthouse: it leaves out what is asked of it",
                "put this one on the board: guesthouse flash",
            )
        )
    return found


def _boots(model: BoardModel) -> list[Finding]:
    if model.unclean_boots >= _SAFE_MODE:
        told = (
            f"the board went down {model.unclean_boots} times in a row: it has started no guest"
        )
        what = "guesthouse why tells what happened; guesthouse start GUEST goes on"
        return [Finding("problem", told, what)]
    if model.unclean_boots:
        told = f"the board went down before this start ({model.reset_cause})"
        return [Finding("note", told, "guesthouse why tells what happened")]
    return []


def _guest(guest: InstanceModel) -> Finding:
    fault = guest.last_fault or guest.reason
    where = f" at {place(guest.last_where)}" if guest.last_where else ""
    told = f"{guest.name} is {phrase(guest.state)}: {fault}{where}"
    name = guest.name.removesuffix(".0")
    if guest.state == "quarantined" and fault == "strays":
        return Finding(
            "problem",
            f"{told}: its runs leave names behind that MicroPython keeps",
            f"reset the board; guesthouse inspect {name} tells how much it is",
        )
    if guest.state == "quarantined":
        return Finding(
            "problem",
            told if fault == "escalated" else f"{told}, too often in a row",
            f"guesthouse why {name} tells more; guesthouse start {name} gives it another chance",
        )
    if guest.state == "backoff":
        return Finding("note", f"{told}; it is tried again", f"guesthouse why {name} tells more")
    if guest.reason == "kill":
        return Finding("note", f"{guest.name} was killed by a command", f"guesthouse start {name}")
    return Finding("problem", told, f"guesthouse why {name} tells more")


def _room(seen: Examination) -> list[Finding]:
    model, found = seen.model, []
    if model.max_guests and len(model.instances) >= model.max_guests:
        found.append(
            Finding(
                "note",
                f"the board is full: it holds {model.max_guests} guests",
                "guesthouse rm GUEST makes room for another",
            )
        )
    if seen.flash_free is not None and seen.flash_free < _ROOM_FOR_DEPLOY:
        found.append(
            Finding(
                "problem",
                f"the board's flash is full: {fmt_bytes(seen.flash_free)} are left",
                "guesthouse rm GUEST makes room",
            )
        )
    return found


def _by_id(model: BoardModel) -> list[InstanceModel]:
    return [model.instances[id] for id in sorted(model.instances)]
