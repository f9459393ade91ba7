"""How long a guest that hangs stays on the CPU past its slice_max, by what it does against it.

``measure`` starts a guest anew for each kill. That takes a Pico about twenty times as long as the
kill, and an emulated one seconds; ``measure_tasks`` takes the guest's hanging task off the CPU and
lets the guest go on to the next one (programs/warden.py), which then ends as any other.
"""

from __future__ import annotations

import ast
import time
from dataclasses import dataclass, field
from typing import Any

from guesthouse.bench.measuring import guest, program, quantile
from guesthouse.board.micropython import Progress
from guesthouse.core import wire
from guesthouse.core.errors import GuesthouseError
from guesthouse.core.model import Event
from guesthouse.guests.image import Image
from guesthouse.link.client import Client

KINDS = ("loop", "except", "finally", "nested", "exit", "alloc", "recursion")
SLICE_MAX_US = 5_000
TASK_SLICE_MAX_US = 1_000
WARDEN = "warden"
SURVIVED_US = 10_000  # past its limit: nothing that the VM can interrupt is to last as long
_ENDED = ("killed", "failed", "exited", "stopped", "quarantined")
_PATIENCE_S = 10.0  # of a real board's time for one life
_TELL_EVERY = 50


@dataclass(frozen=True, slots=True)
class Kill:
    """``n`` kills of one kind; us from slice_max to being off the CPU, None where there are none.

    ``survived`` were on the CPU 10 ms later still, or not stopped by a raise at all. ``otherwise``
    ended in another way than at their limit, and are not among the n.
    """

    kind: str
    n: int
    p50_us: int | None
    p99_us: int | None
    max_us: int | None
    survived: int
    otherwise: int

    @classmethod
    def of(cls, kind: str, past_us: list[int], stayed: int, otherwise: int) -> Kill:
        """From single times, and a count of those that no raise has stopped."""
        ordered = sorted(past_us)
        return cls(
            kind,
            len(ordered),
            quantile(ordered, 50) if ordered else None,
            quantile(ordered, 99) if ordered else None,
            ordered[-1] if ordered else None,
            stayed + sum(1 for us in past_us if us > SURVIVED_US),
            otherwise,
        )

    def to_json_dict(self) -> dict[str, Any]:
        """A row of ``kills`` (see docs, "JSON")."""
        return {
            "kind": self.kind,
            "n": self.n,
            "p50_us": self.p50_us,
            "p99_us": self.p99_us,
            "max_us": self.max_us,
            "survived": self.survived,
            "otherwise": self.otherwise,
        }


def source(kind: str) -> str:
    """The program of a kind, without what only other kinds need: a Pico loads it each time."""
    tree = ast.parse(program("hostile"))
    wanted = f"hang_in_{kind}"
    kept: list[ast.stmt] = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name != wanted:
            continue
        if isinstance(node, ast.ClassDef) and kind != "exit":
            continue
        kept.append(node)
    tree.body = kept
    return ast.unparse(tree).replace("    hang_in_loop()", f"    {wanted}()") + "\n"


def lasting_source(kind: str) -> str:
    """The same with a task that hangs for each time that the last one was taken off the CPU."""
    text = source(kind).replace("async def main():", "async def hang():")
    text = text.replace("    await asyncio.sleep_ms(1)\n", "")  # it is loaded once
    return text + (
        "\nasync def main():\n"
        "    while True:\n"
        "        asyncio.create_task(hang())\n"
        "        await asyncio.sleep_ms(2)\n"
    )


def images(memory: int) -> list[Image]:
    """The guests of all kinds, with ``memory`` kB each."""
    return [
        guest(
            kind,
            source(kind),
            memory=memory,
            slice_max=SLICE_MAX_US,
            restart={"policy": "never"},
        )
        for kind in KINDS
    ]


def lasting_images(memory: int) -> list[Image]:
    """What ``measure_tasks`` needs on the board."""
    text = program(WARDEN, KILLED=wire.STATE_KILLED, OVERRUN=wire.REASON_OVERRUN)
    guests = [
        guest(kind, lasting_source(kind), memory=memory, slice_max=TASK_SLICE_MAX_US)
        for kind in KINDS
    ]
    return [guest(WARDEN, text, memory=memory, slice_max=TASK_SLICE_MAX_US), *guests]


@dataclass(slots=True)
class _Tally:
    past_us: list[int] = field(default_factory=list)
    stayed: int = 0
    otherwise: int = 0

    def count(self, client: Client, name: str) -> None:
        """One life more."""
        end = _life(client, name)
        self.note(end)
        if end is None or end.reason == "escalated":
            client.command(wire.VERB_KILL, {"g": name})

    @property
    def kills(self) -> int:
        return len(self.past_us) + self.stayed

    def note(self, end: Event | None) -> None:
        """What has become of one that hung; None where nothing came of it."""
        if end is None or end.reason == "escalated":
            self.stayed += 1
        elif end.reason == "overrun":
            self.past_us.append(end.numbers[0] - end.numbers[1])
        else:
            self.otherwise += 1


def measure(client: Client, count: int, progress: Progress) -> list[Kill]:
    """Start the guests of all kinds that are on the board, in turn, until each was killed so often.

    Each is started by the host as soon as the one before has ended.
    """
    tallies = {kind: _Tally() for kind in KINDS}
    for number in range(2 * count):
        done = min(one.kills for one in tallies.values())
        if number % max(1, count // 5) == 0:
            progress(f"kills: {done} of {count} of each kind")
        for kind, tally in tallies.items():
            if tally.kills < count:
                tally.count(client, f"{kind}.0")
    return [
        Kill.of(kind, tally.past_us, tally.stayed, tally.otherwise)
        for kind, tally in tallies.items()
    ]


def _life(client: Client, name: str) -> Event | None:
    """Start a guest and wait for its end; None where it does not come."""
    client.poll(0)
    client.command(wire.VERB_START, {"g": name})
    return next(iter(_ends(client, name)), None)


def _ends(client: Client, name: str) -> list[Event]:
    """The next ends of a guest, one at least; none where none comes."""
    end = time.monotonic() + _PATIENCE_S * client.patience
    while time.monotonic() < end:
        ends = [
            update
            for update in client.poll(0.1)
            if isinstance(update, Event) and update.name == name and update.new in _ENDED
        ]
        if ends:
            return ends
    return []


def set_warden(client: Client) -> None:
    """From here on the board's guests lose tasks that hang, and not their lives.

    ``lasting_images`` are on the board. Raises GuesthouseError where the warden does not run.
    """
    _start(client, WARDEN)


def measure_tasks(
    client: Client, kind: str, count: int, progress: Progress, seconds: float
) -> Kill:
    """Let one guest hang, under the warden, until it was stopped so often.

    There are fewer, but one, where ``seconds`` of this machine's clock do not do.
    """
    until = time.monotonic() + seconds
    name = f"{kind}.0"
    tally = _Tally()
    told = 0
    client.poll(0)
    client.command(wire.VERB_START, {"g": name})
    try:
        while tally.kills < count and not (tally.kills and time.monotonic() > until):
            ends = _ends(client, name)
            for end in ends[: count - tally.kills]:
                tally.note(end)
            if not ends:
                tally.note(None)
                break
            if tally.kills - told >= _TELL_EVERY:
                told = tally.kills
                progress(f"kills: {told} of {kind}")
    finally:
        client.command(wire.VERB_KILL, {"g": name})
    return Kill.of(kind, tally.past_us, tally.stayed, tally.otherwise)


def _start(client: Client, name: str) -> None:
    """Start a guest, and wait until it has run."""
    client.command(wire.VERB_START, {"g": name})
    end = time.monotonic() + _PATIENCE_S * client.patience
    while client.instance(name).state != "waiting":
        if time.monotonic() > end:
            raise GuesthouseError(f"{name} does not run: {client.instance(name).last_fault}")
        client.poll(0.1)
