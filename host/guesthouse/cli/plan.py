"""plan: whether guests fit a board together, without a board."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guesthouse.cli.options import add_oversubscription_option, oversubscription
from guesthouse.cli.verbs import Verbs, print_json, print_text
from guesthouse.core.errors import ExitCode
from guesthouse.core.units import fmt_us
from guesthouse.core.view.figures import short_bytes
from guesthouse.core.view.line import pad

if TYPE_CHECKING:
    from guesthouse.board.profiles import Profile
    from guesthouse.guests.plan import Plan, Planned, Wakeup

_BLACKOUTS = """\
Not in a wake-up: blackouts, in which the board can run nothing. They are loads of other guests
(up to {load} a step where the manifest says nothing), collections of garbage, and writes to the
flash. They belong into time that nobody needs; one that makes a reservation late is a breach.
"""


def register(verbs: Verbs) -> None:
    """Add the verb of this module."""
    parser = verbs.add(
        "plan",
        plan_,
        "say whether guests fit a board together, without a board",
        port=False,
        json=True,
        epilog="The guests are admitted in this order, by the code that the board itself uses.\n"
        "The exit code is 5 where one is refused.",
    )
    parser.add_argument("folders", metavar="FOLDER", type=Path, nargs="+")
    parser.add_argument(
        "--board", metavar="PROFILE", default="unix", help="the kind of board, as rpi_pico (unix)"
    )
    add_oversubscription_option(parser)


def plan_(args: argparse.Namespace) -> int:
    from guesthouse.board.profiles import load_profile
    from guesthouse.core.admission import board_figures
    from guesthouse.guests.image import load_image
    from guesthouse.guests.plan import plan

    profile = load_profile(args.board)
    board = {**board_figures(profile.port, profile.heap, profile.agent), **oversubscription(args)}
    planned = plan([load_image(folder).manifest for folder in args.folders], board)
    if args.json:
        print_json(_data(profile, board, planned))
    else:
        print_text(_text(profile, board, planned))
    return ExitCode.OK if planned.fits else ExitCode.REFUSED


def _data(profile: Profile, board: dict[str, int], planned: Plan) -> dict[str, Any]:
    """Fractions of one CPU, bytes and us; null: not set, or nothing is promised."""
    return {
        "board": profile.name,
        "fits": planned.fits,
        "cpu_capacity": 1 - board["reserve_ppm"] / 1e6,
        "cpu_reserved": planned.reserved_ppm / 1e6,
        "cpu_limits": planned.limits_ppm / 1e6,
        "oversubscription_cpu": board["oversubscription_cpu_ppm"] / 1e6,
        "oversubscription_ram": board["oversubscription_ram_ppm"] / 1e6,
        "heap": board["heap"],
        "mem_max": planned.memory,
        "mem_reservable": board["reservable"],
        "mem_min": planned.reserved_memory,
        "guests": [_guest_data(guest) for guest in planned.guests],
    }


def _guest_data(guest: Planned) -> dict[str, Any]:
    manifest, wakeup = guest.manifest, guest.wakeup
    return {
        "name": manifest.name,
        "fits": not guest.error,
        "error": guest.error,
        "hint": guest.hint,
        "cpu_min": _share(manifest.cpu_min_us, manifest.cpu_min_period_us),
        "cpu_max": _share(manifest.cpu_max_us, manifest.cpu_period_us),
        "slice_max_us": manifest.slice_max_us,
        "mem_min": manifest.mem_min,
        "mem_max": manifest.mem_max,
        "wakeup_us": wakeup and wakeup.us,
        "blocking_us": wakeup and wakeup.blocking_us,
        "blocking_slice_us": wakeup and wakeup.slice_us,
        "blocking_guest": wakeup and wakeup.of,
        "kill_us": wakeup and wakeup.kill_us,
        "section_us": wakeup and wakeup.section_us,
        "others_us": wakeup and wakeup.others_us,
        "exhausted_us": wakeup and wakeup.exhausted_us,
    }


def _share(us: int | None, period_us: int | None) -> float | None:
    return us / period_us if us is not None and period_us else None


def _text(profile: Profile, board: dict[str, int], planned: Plan) -> str:
    from guesthouse.core.admission import percent

    rows: list[tuple[str, ...]] = [("GUEST", "MIN", "LIMIT", "SLICE", "MEM", "WAKE-UP")]
    rows += [_row(guest) for guest in planned.guests]
    sizes = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            pad(text, size, column in (2, 3, 4))
            for column, (text, size) in enumerate(zip(row, sizes, strict=True))
        ).rstrip()
        for row in rows
    ]
    most = board["heap"] * board["oversubscription_ram_ppm"] // 1_000_000
    lines += [
        "",
        f"On {profile.title}: reserved {percent(planned.reserved_ppm)} of "
        f"{percent(1_000_000 - board['reserve_ppm'])}, limits {percent(planned.limits_ppm)} of "
        f"{percent(board['oversubscription_cpu_ppm'])}; memory reserved "
        f"{short_bytes(planned.reserved_memory)} of {short_bytes(board['reservable'])}, limits "
        f"{short_bytes(planned.memory)} of {short_bytes(most)}.",
    ]
    for guest in planned.guests:
        if guest.error:
            lines += [f"{guest.manifest.name} is refused: {guest.error}", f"  {guest.hint}"]
    lines += ["They do not fit." if not planned.fits else "They fit.", ""]
    lines.append(_BLACKOUTS.format(load=fmt_us(profile.load_max_us)))
    return "\n".join(lines)


def _row(guest: Planned) -> tuple[str, ...]:
    from guesthouse.core.admission import budget, percent, share_ppm

    manifest = guest.manifest
    limit = "-"
    if manifest.cpu_max_us is not None:
        limit = percent(share_ppm(manifest.cpu_max_us, manifest.cpu_period_us))
    if guest.error:
        wakeup = "refused"
    elif guest.wakeup is None:
        wakeup = "no bound: it gets what is left, by its weight"
    else:
        wakeup = _wakeup(guest.wakeup)
    return (
        manifest.name,
        "-" if manifest.cpu_min_us is None else budget(manifest.to_json_dict()),
        limit,
        fmt_us(manifest.slice_max_us),
        short_bytes(manifest.mem_max) or "-",
        wakeup,
    )


def _wakeup(wakeup: Wakeup) -> str:
    parts = [f"{fmt_us(wakeup.section_us)} of the agent"]
    if wakeup.of is not None:
        parts = [
            f"a slice of {wakeup.of} {fmt_us(wakeup.slice_us)}",
            f"its end {fmt_us(wakeup.kill_us)}",
            *parts,
        ]
    if wakeup.others_us:
        parts.append(f"other reservations {fmt_us(wakeup.others_us)}")
    return (
        f"{fmt_us(wakeup.us)}: {', '.join(parts)}; "
        f"its budget used up: {fmt_us(wakeup.exhausted_us)} more"
    )
