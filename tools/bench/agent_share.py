"""What the agent itself takes of the CPU while the demo's guests run.

Runs the demo on a board of its own and prints where the time went, at summary level and with every
slice traced::

    python tools/bench/agent_share.py [--seconds 10]

The agent's own time over the slices is what one slice costs beside the guest's own work; it is
lower in ``guesthouse bench dispatch``, where no guest sleeps and the same code is always warm.
"""

from __future__ import annotations

import argparse

from guesthouse.board.micropython import find_or_provide
from guesthouse.board.sim import private_board
from guesthouse.demo.folders import images
from guesthouse.link.client import Client
from guesthouse.link.ports import PortSpec
from guesthouse.link.serial import open_serial
from guesthouse.measure.account import Account
from guesthouse.measure.installed import Installed
from guesthouse.measure.watch import Watch


def measure(seconds: float, trace: bool) -> Account:
    """The account of one demo on a fresh board."""
    with (
        private_board("share", micropython=find_or_provide(print)) as board,
        Client(open_serial(PortSpec(board.path, "the board", "sim"))) as client,
    ):
        client.hello()
        client.wait_for_summary()
        installed = Installed(client)
        installed.install(images(client.heap))
        if trace:
            client.set_trace(True)
        watch = Watch(client)
        installed.start()
        watch.run(seconds)
        watch.ask()
        return watch.account()


def main() -> None:
    parser = argparse.ArgumentParser(description="The agent's share of the CPU in the demo")
    parser.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    accounts = [measure(arguments.seconds, trace) for trace in (False, True)]
    print(f"{'share of the elapsed time':32}{'summary':>10}{'trace':>10}")
    for name in ("agent_us", "telemetry_us", "guests_us", "idle_us", "steal_us", "unaccounted_us"):
        label = name.removesuffix("_us") + (", a part of agent" if name == "telemetry_us" else "")
        shares = [one.share(getattr(one, name)) for one in accounts]
        print(f"{label:32}" + "".join(f"{share:>10.2%}" for share in shares))
    counts = [sum(guest.used.slices for guest in one.guests) for one in accounts]
    pairs = list(zip(accounts, counts, strict=True))
    rates = [count / one.elapsed_us * 1e6 for one, count in pairs]
    print(f"{'slices a second':32}" + "".join(f"{rate:>10.0f}" for rate in rates))
    costs = [one.agent_us / count for one, count in pairs]
    print(f"{'agent, us for one slice':32}" + "".join(f"{cost:>10.1f}" for cost in costs))


if __name__ == "__main__":
    main()
