# Boot: puts the agent together and runs it.

import os
import sys

from . import loop, wire
from .clock import Clock
from .commands import Commands
from .frames import open_table
from .hooks import Hooks
from .image import Store
from .kernel import Kernel
from .link import Link
from .summary import Summary
from .telemetry import Telemetry
from .wire import FIRST_GUEST

VERSION = "0.1.0"


# The mechanisms that everything rests on: a list of (name, None or why it does not work).
def mechanisms(port, table):
    return [
        ("preemption", port.self_test()),
        ("frame-table", None if table.exact else table.reason),
    ]


def firmware():
    return sys.version.split("; ")[-1]


# Runs the board until it is stopped; returns the kernel. `root` is the folder that holds
# images and data, `name` what the board calls itself.
def run(port, heap_port, root, name):
    import gc

    gc.collect()
    gc.disable()
    table = open_table(port=heap_port)
    tests = mechanisms(port, table)
    for mechanism, reason in tests:
        if mechanism == "preemption" and reason is not None:
            raise SystemExit("this firmware cannot stop a guest: %s" % reason)
    clock = Clock(port.ticks_us)
    boot_id = int.from_bytes(os.urandom(3), "little") | 1
    current = [None]
    telemetry = Telemetry(port, clock, boot_id)
    hooks = Hooks(current, telemetry, root)
    kernel = Kernel(port, clock, table, telemetry, hooks, current)
    kernel.capacity = len(table.counts) - FIRST_GUEST
    identity = [
        (wire.TEXT_BOARD, name),
        (wire.TEXT_FIRMWARE, firmware()),
        (wire.TEXT_AGENT, VERSION),
    ] + [(wire.TEXT_MECHANISM, "%s: %s" % (m, r or "ok")) for m, r in tests]
    kernel.summary = Summary(kernel, identity)
    store = Store(root)
    commands = Commands(kernel, store, {
        "wire": wire.VERSION, "agent": VERSION, "boot": boot_id, "board": name, "firmware": firmware(), "root": root,
    })  # fmt: skip
    kernel.link = Link(kernel, commands)
    loop.install(current, kernel.lifecycle.report)
    hooks.install()
    port.open_serial()
    try:
        commands.boot()
        kernel.run()
    finally:
        leave(kernel)
    return kernel


# Gives the interpreter back: nothing of the agent's is left running.
def leave(kernel):
    import gc

    kernel.current[0] = None
    kernel.port.quiet()
    kernel.table.uncap()
    kernel.hooks.remove()
    kernel.port.close_serial()
    gc.enable()
