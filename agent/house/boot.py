# Boot: puts the agent together and runs it.

import gc
import os
import sys

from micropython import const

from . import loop, modules, wire
from .clock import Clock
from .collector import GuestCollector
from .commands import Commands
from .frames import open_table
from .hooks import Hooks
from .image import Store, exists
from .kernel import Kernel
from .link import Link
from .summary import Summary
from .telemetry import Telemetry
from .wire import AGENT, FIRST_GUEST

VERSION = "0.1.0"

# Whoever makes this file gets estimates of memory, as on a firmware whose heap cannot be read.
ESTIMATE = "/estimate.on"

# The agent is given this long between two looks at its line before it counts as hung. Nothing it
# does takes half of it.
_HANG_MS = const(8000)
_UNCLEAN = const(2)  # boots in a row, one less than those that leave the guests out


# The mechanisms that everything rests on: a list of (name, None or why it does not work).
def mechanisms(port, table):
    return [
        ("preemption", port.self_test()),
        ("file-calls", port.hold_files()),
        ("frame-table", None if table.exact else table.reason),
    ]


def firmware():
    return sys.version.split("; ")[-1]


# Loads what is needed seldom and lets go of it: the names that it leaves behind are there in time
# to be moved to flash. Returns how many unclean boots there were before this one.
def _meet_names(port):
    from . import admission, deploy, journal, recovery, wire

    unclean = recovery.Past(port).unclean
    for module in (admission, deploy, journal, recovery, wire):
        modules.drop(module)
    return unclean


# Whatever the unclean boots were for, the agent does not add to it what it can do without.
def _move_to_flash(port, table):
    if _meet_names(port) >= _UNCLEAN:
        return "the board was reset too often"
    return port.move_to_flash(table)


# Puts a board's agent together; returns (kernel, commands). `root` is the folder that holds images
# and data, `name` what the board calls itself.
def assemble(port, heap_port, root, name):
    heap_port.collect()
    gc.disable()
    table = open_table(heap_port, force_fallback=exists(root + ESTIMATE))
    if not table.exact:
        gc.enable()  # the estimate has no use for planned collections
    tests = mechanisms(port, table)
    if tests[0][1] is not None:
        raise SystemExit("this firmware cannot stop a guest: " + tests[0][1])
    if hasattr(port, "move_to_flash"):
        modules.forget_files()
        tests.append(("in-place", _move_to_flash(port, table)))
        table.collect()
    return _put_together(port, table, tests, root, name)


# A function of its own, because one that is being run stays in the heap.
def _put_together(port, table, tests, root, name):
    version = firmware()
    boot_id = int.from_bytes(os.urandom(3), "little") | 1
    current = [None]
    telemetry = Telemetry(port, Clock(port.ticks_us), boot_id)
    hooks = Hooks(current, telemetry, root)
    kernel = Kernel(port, telemetry.clock, table, telemetry, hooks, current)
    kernel.capacity = kernel.strays - FIRST_GUEST
    if table.exact:
        reason = port.watch_memory(kernel.look_into, table.layout.clock_word)
        if reason:
            tests.append(("slice-memory", reason))
    identity = [
        (wire.TEXT_BOARD, name),
        (wire.TEXT_FIRMWARE, version),
        (wire.TEXT_AGENT, VERSION),
    ] + [(wire.TEXT_MECHANISM, "%s: %s" % (test, reason or "ok")) for test, reason in tests]
    kernel.summary = Summary(kernel, identity)
    answer = {
        "wire": wire.VERSION,
        "agent": VERSION,
        "boot": boot_id,
        "board": name,
        "firmware": version,
        "root": root,
    }
    commands = Commands(kernel, Store(root), answer)
    kernel.link = Link(kernel, commands)
    loop.install(current, kernel.lifecycle.report)
    hooks.install()
    sys.modules["gc"] = GuestCollector(kernel)  # type: ignore[assignment]
    port.open_serial()
    return kernel, commands


# Runs the board until it is stopped.
def run(port, heap_port, root, name):
    try:
        kernel, commands = assemble(port, heap_port, root, name)
    except BaseException:
        port.close_serial()
        gc.enable()
        raise
    from . import recovery

    past = recovery.Past(port)
    ended = past.faulted
    stopped = past.stopped
    begun = False
    try:
        port.watch(_HANG_MS)
        recovery.begin(kernel, commands, past)
        modules.drop(recovery)
        del recovery, past
        kernel.table.collect(AGENT)  # what the boot left behind
        begun = True
        kernel.run()
        ended = stopped
    finally:
        port.keep(0, ended)
        leave(kernel)
        # Who meets an error of the start is at the board; later nobody may be there, and the
        # watchdog starts it again.
        if begun and ended != stopped:
            port.watch(1)


# Gives the interpreter back: nothing of the agent's is left running or in the place of what the
# firmware has.
def leave(kernel):
    kernel.current[0] = None
    kernel.port.unwatch()
    kernel.port.quiet()
    kernel.table.uncap()
    kernel.hooks.remove()
    kernel.port.close_serial()
    sys.modules["gc"] = gc
    for module in list(sys.modules):
        if module.startswith("asyncio"):
            del sys.modules[module]  # the next import loads it as the firmware has it
    gc.enable()
