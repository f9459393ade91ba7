"""How long a guest that hangs stays on the CPU past its slice_max, by what it does against it."""

from __future__ import annotations

import ast
import time
from dataclasses import dataclass, field
from typing import Any

from guesthouse.bench.measuring import Progress, guest, program, quantile
from guesthouse.core import wire
from guesthouse.core.model import Event
from guesthouse.guests.image import Image
from guesthouse.link.client import Client

KINDS = ("loop", "except", "finally", "nested", "exit", "alloc", "recursion")
SLICE_MAX_US = 5_000
SURVIVED_US = 10_000  # past its limit: nothing that the VM can interrupt is to last as long
_ENDED = ("killed", "failed", "exited", "stopped", "quarantined")
_PATIENCE_S = 10.0  # of a real board's time for one life


@dataclass(frozen=True, slots=True)
class Kill:
    """``n`` kills of one kind; us from slice_max to being off the CPU.

    ``survived`` were on the CPU 10 ms later still, or not stopped by a raise at all. ``otherwise``
    ended in another way than at their limit, and are not among the n.
    """

    kind: str
    n: int
    p50_us: int
    p99_us: int
    max_us: int
    survived: int
    otherwise: int

    @classmethod
    def of(cls, kind: str, past_us: list[int], stayed: int, otherwise: int) -> Kill:
        """From single times, and a count of those that no raise has stopped."""
        ordered = sorted(past_us) or [0]
        return cls(
            kind,
            len(past_us),
            quantile(ordered, 50),
            quantile(ordered, 99),
            ordered[-1],
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


@dataclass(slots=True)
class _Tally:
    past_us: list[int] = field(default_factory=list)
    stayed: int = 0
    otherwise: int = 0

    def count(self, client: Client, name: str) -> None:
        """One life more."""
        end = _life(client, name)
        if end is None or end.reason == "escalated":
            self.stayed += 1
            client.command(wire.VERB_KILL, {"g": name})
        elif end.reason == "overrun":
            self.past_us.append(end.numbers[0] - end.numbers[1])
        else:
            self.otherwise += 1


def measure(
    client: Client, count: int, progress: Progress, until: float = float("inf")
) -> list[Kill]:
    """Start the guests of all kinds that are on the board, in turn, until each was killed so often.

    Each is started by the host as soon as the one before has ended. Where the host's monotonic
    clock is past ``until``, there are fewer, but one of each.
    """
    tallies = {kind: _Tally() for kind in KINDS}
    for number in range(2 * count):
        if number and time.monotonic() > until:
            break
        done = min(len(one.past_us) + one.stayed for one in tallies.values())
        if number % max(1, count // 5) == 0:
            progress(f"kills: {done} of {count} of each kind")
        for kind, tally in tallies.items():
            if len(tally.past_us) + tally.stayed < count:
                tally.count(client, f"{kind}.0")
    return [
        Kill.of(kind, tally.past_us, tally.stayed, tally.otherwise)
        for kind, tally in tallies.items()
    ]


def _life(client: Client, name: str) -> Event | None:
    """Start a guest and wait for its end; None where it does not come."""
    client.poll(0)
    client.command(wire.VERB_START, {"g": name})
    end = time.monotonic() + _PATIENCE_S * client.patience
    while time.monotonic() < end:
        for update in client.poll(0.1):
            if isinstance(update, Event) and update.name == name and update.new in _ENDED:
                return update
    return None
