# Suspension: a guest that overruns is set aside while the others run, and goes on later with its
# state as it was.
#
# The port calls overrun() in the midst of the guest, on top of its stack. The kernel runs there,
# nested in itself, until the schedule picks the guest again; then overrun() returns to it. So one
# guest can be set aside at a time, and nothing of it has to be moved. Decision 21.
#
# Loaded when the first guest asks for it.

import asyncio.core as core
from time import ticks_add

import micropython
from micropython import const

from . import loop, meter, wire
from .hooks import micropython as vm  # the module itself, not what stands for it

# What overrun() answers.
_END = const(0)
_GOES_ON = const(1)
_NOT_NOW = const(2)

# What writes files or loads modules.
_DEEP_VERBS = (
    wire.VERB_REMOVE,
    wire.VERB_SET,
    wire.VERB_BEGIN,
    wire.VERB_FILE,
    wire.VERB_PUT,
    wire.VERB_COMMIT,
    wire.VERB_ABORT,
    wire.VERB_JOURNAL,
)

_POSTPONED_MS = const(100)
_LAST_US = const(20)  # for a guest that is to end: the port raises in it at once
_FIRST_MS = const(-0x10000000)  # the rest of the slice comes before all tasks

_NATIVE = "in a call that nothing interrupts"
_DEEP = "too little of the stack is left"


class Suspension:
    def __init__(self, kernel):
        self.kernel = kernel
        self.deepest = 0  # bytes of stack that can be in use
        self.why = None  # it cannot be done on this board
        self.hindrance = None  # why the last overrun was no suspension
        self.who = None  # its guest
        self.rest = loop.new_task(None)  # stands for the rest of the slice in the guest's queue
        self.told_s = -1  # clock second of the last transition that was told
        self.parts = 0  # slices of the guest when it was set aside
        self.task = self.nap = self.context = None
        self.nap_ms = 0
        self.room = 0  # bytes of stack that were left for the others
        self.handle = None  # what carries commands out, where that was too little for them all
        self.dive()
        port = kernel.port
        self.why = port.suspend_by(self.overrun, self.deepest - port.NESTED_STACK)

    # Finds the limit of the stack by meeting it.
    def dive(self):
        self.deepest = vm.stack_use()
        try:
            self.dive()
        except RuntimeError:
            pass

    # Whether the guest, which is to start, has to wait: to read and to compile it goes deeper than
    # the stack is left.
    def postpones(self, instance):
        if self.handle is None:
            return False
        kernel = self.kernel
        instance.state = wire.STATE_BACKOFF
        at = ticks_add(kernel.port.ticks_ms(), _POSTPONED_MS)
        kernel.schedule.enqueue(instance, kernel.schedule.sleepers, at)
        return True

    # Before a guest's start.
    def prepare(self, instance):
        wanted = instance.spec["on_overrun"] == "suspend" and self.why is None
        instance.suspendable = self.kernel.port.SUSPENDABLE if wanted else 0
        instance.limit_us = instance.slice_max_us | instance.suspendable

    # Why the guest, which has been killed for an overrun, was not suspended.
    def excuse(self, instance):
        if instance.spec["on_overrun"] != "suspend":
            return ""
        why = self.why
        if why is None:
            if self.who is instance:
                why = self.hindrance
            else:
                why = _DEEP if self.kernel.port.too_deep() else _NATIVE
        self.hindrance = self.who = None
        return "not suspended: " + why

    # --- in the guest's slice ---

    # Machine code, because up to the sync what is allocated is the guest's.
    @micropython.native
    def overrun(self):
        kernel = self.kernel
        instance = kernel.current[0]
        vm.heap_lock()
        locked = vm.heap_unlock()
        if instance.busy:
            return _NOT_NOW
        hindrance = None
        if kernel.suspended is not None:
            hindrance = "another guest is suspended"
        elif locked:
            hindrance = "it holds the heap's lock"
        if hindrance is not None:
            self.hindrance = hindrance
            self.who = instance
            return _END
        table = kernel.table
        billing = kernel.billing
        self.room = self.deepest - vm.stack_use()
        table.sync(instance.owner)
        table.uncap()
        words = instance.meter
        meter.charge(words, billing.shared, table.counts, billing.guest(), kernel.port.ticks_ms())
        limit_us = _LAST_US
        try:
            self.set_aside(instance)
            kernel.run()
        except BaseException as error:
            self.give_up(instance, error)
        try:
            limit_us = self.take_back(instance)
        except BaseException as error:
            self.give_up(instance, error)
        kernel.armed = True
        billing.work()
        wall = billing.wall()
        table.sync(wire.AGENT)
        table.cap(instance.meter)
        kernel.port.arm(limit_us, wall, billing.cpu, instance.tag)
        return _GOES_ON

    # --- around the kernel's nested run ---

    # Takes what is the guest's out of the agent's way, and puts the guest where the schedule finds
    # it: its queue begins with a task for the rest of the slice.
    def set_aside(self, instance):
        kernel = self.kernel
        words = instance.meter
        self.task = core.cur_task
        self.nap = loop.nap.state
        self.nap_ms = loop.nap_ms[0]
        self.context = dict(core._exc_context)
        kernel.suspended = instance
        kernel.leave()
        instance.queued = None
        instance.be_careful()
        instance.queue.push(self.rest, ticks_add(kernel.port.ticks_ms(), _FIRST_MS))
        # The loop in which its slice began has grown old: it is left when the slice has ended.
        words[meter.RESERVES] = 1
        if kernel.telemetry.trace:
            kernel.tell(instance, kernel.table.counts[instance.owner], None)
        first = words[meter.SLICES] != self.parts + 1
        self.parts = words[meter.SLICES]
        instance.reason = wire.REASON_OVERRUN
        if first:
            instance.overruns += 1
        if first and self.told_s != kernel.clock.s:
            used = kernel.billing.shared[meter.USED]
            kernel.lifecycle.move(
                instance, wire.STATE_SUSPENDED, wire.REASON_OVERRUN, used, instance.slice_max_us
            )
            self.told_s = kernel.clock.s
        if self.room < kernel.port.COMMAND_STACK:
            self.handle = kernel.link.handle
            kernel.link.handle = self.refuse
        if kernel.within_memory(instance):
            kernel.schedule.put(instance)

    # A command that goes deeper than the stack is left: it might meet the stack's end in C code of
    # the file system, which does not look.
    def refuse(self, verb, body):
        if verb not in _DEEP_VERBS:
            return self.handle(verb, body)
        return wire.STATUS_WRONG_STATE, {
            "error": "too little of the stack is left while %s is suspended"
            % self.kernel.suspended.name,
            "hint": "wait until it has computed, or stop it",
        }

    # Puts everything back; returns the limit for what comes.
    def take_back(self, instance):
        kernel = self.kernel
        kernel.suspended = None
        if self.handle is not None:
            kernel.link.handle = self.handle
            self.handle = None
        if kernel.running is None:
            kernel.running = True
        elif not instance.condemned:
            instance.condemned = wire.REASON_STOP  # the agent is left
        if instance in kernel.instances:
            if instance.queued is not None:
                kernel.schedule.take(instance)
            instance.queue.remove(self.rest)
            instance.state = wire.STATE_RUNNING
            instance.reason = wire.REASON_NONE
        else:
            # It was removed and has ended; what it still does finds a loop that is nobody's.
            loop.create(instance)
            instance.modules = {}
            instance.files = []
            instance.condemned = wire.REASON_REMOVED
        kernel.forget()
        kernel.enter(instance)
        core.cur_task = self.task
        core._exc_context.update(self.context)
        loop.nap.state = self.nap
        loop.nap_ms[0] = self.nap_ms
        self.task = self.nap = self.context = None
        return _LAST_US if instance.condemned else instance.limit_us

    # A fault of the agent's, or too many: the guest is ended.
    def give_up(self, instance, error):
        kernel = self.kernel
        kernel.lifecycle.fault(error)
        kernel.running = None
        instance.condemned = instance.condemned or wire.REASON_AGENT_FAULT

    # A guest that was removed while it was suspended has left the stack.
    def left(self, instance):
        kernel = self.kernel
        kernel.billing.departed.add(kernel.billing.shared[meter.USED])
        instance.drop()
        kernel.forget()
        kernel.port.renew()
        kernel.table.collect(wire.AGENT)
        kernel.table.forget(instance.owner, kernel.strays)  # another may have its number by now
