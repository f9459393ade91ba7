# The kernel: the life of a slice.
#
#   wake, pick (schedule.py)
#   dispatch: sync, arm, send, disarm, sync, bill
#   judge, put (schedule.py)
#
# Policy stands in cpu.py, restart.py and admission.py, what begins and ends an instance in
# lifecycle.py, whose time it was in billing.py; this file guards the run.

import asyncio.core as core
from time import ticks_add, ticks_diff

from micropython import const

from . import loop, modules, wire
from .billing import Billing
from .clock import TICKS_MASK
from .lifecycle import Lifecycle
from .schedule import Schedule
from .wire import AGENT

_SERVICE_MS = const(5)  # between two looks at the line while guests keep the board busy
_IDLE_MS = const(100)  # the longest sleep
_RETRY_MS = const(10)  # until the line is offered again what it did not take
_CONDEMNED_US = const(500)  # for what a condemned guest does with the exception
_ASK_US = const(2000)  # for an answer of a guest's object
_FAULTS = const(20)  # faults of the agent in one run before it gives up and restarts


class Kernel:
    def __init__(self, port, clock, table, telemetry, hooks, current):
        self.port = port
        self.clock = clock
        self.table = table
        self.telemetry = telemetry
        self.hooks = hooks
        self.current = current  # item 0: the instance that runs, None in the agent
        self.instances = []
        self.capacity = 0  # instances at most; set by boot
        self.lifecycle = Lifecycle(self)
        self.link = None  # set by boot: reads commands, writes frames
        self.summary = None
        self.schedule = Schedule(self)
        self.billing = Billing(port)
        # What the last slice came to: its task, what was thrown into it, what it yielded, what it
        # raised. Kept here and not in locals of functions that call each other, so that nothing
        # holds a guest's objects when its end collects them.
        self.task = None
        self.thrown = None
        self.result = None
        self.error = None
        self.next_service = port.ticks_ms()
        self.armed = False  # the port's timer may still be running
        self.running = True
        self.faults = 0
        # Collections are planned while blocks are left for the longest slice.
        self.reserve_blocks = port.HEAP_RESERVE // table.block
        self.high_blocks = table.total - 2 * self.reserve_blocks

    # --- the loop ---

    # Runs until somebody stops the agent. An error of the agent's own is recorded, and the
    # guests stay under guard.
    def run(self):
        while self.running:
            try:
                self.step()
            except Exception as error:
                self.current[0] = None
                loop.leave()
                self.port.quiet()
                self.table.uncap()
                self.faults += 1
                self.table.collect(AGENT)
                self.lifecycle.fault(error)
                if self.faults >= _FAULTS:
                    raise
                self.recover()

    def step(self):
        now = self.port.ticks_ms()
        if ticks_diff(now, self.next_service) >= 0:
            self.service(now)
        self.schedule.wake(now)
        instance = self.schedule.pick()
        if instance is None:
            self.sleep()
        else:
            used = self.dispatch(instance)
            self.judge(instance, used)

    # What is due: commands, telemetry, the summary.
    def service(self, now):
        self.next_service = ticks_add(now, _SERVICE_MS)
        self.port.feed()
        self.clock.advance()
        self.link.receive()
        self.lifecycle.tend(now)
        self.summary.tend()
        self.link.send()

    # Nothing can run: sends what is left to send and sleeps until something is due.
    def sleep(self):
        now = self.port.ticks_ms()
        self.service(now)
        ms = min(self.schedule.due_ms(now, _IDLE_MS), self.summary.due_ms())
        if self.telemetry.pending:
            ms = min(ms, _RETRY_MS)
        if ms <= 0 or not self.running or self.schedule.anybody():
            return
        if self.armed:
            self.armed = False
            self.port.quiet()
        self.billing.work()
        self.port.wait(ms)
        self.billing.rest()
        self.next_service = self.port.ticks_ms()

    # The owner of what is allocated right now.
    def running_owner(self):
        instance = self.current[0]
        return AGENT if instance is None else instance.owner

    # After a fault of the agent: whoever is in no queue and can run goes back into one.
    def recover(self):
        for instance in self.instances:
            if instance.queue is not None and instance.queued is None:
                self.schedule.put(instance)

    # --- the slice ---

    # Runs one step of one task of a guest, guarded and billed; returns the us it is billed for.
    #
    # Between table.sync(AGENT) and the send, and between its return and the second sync,
    # nothing here may allocate or free.
    def dispatch(self, instance):
        port = self.port
        armed = port.STATE
        table = self.table
        owner = instance.owner
        task = instance.queue.pop()
        coroutine = task.coro
        thrown = task.data
        limit_us = instance.slice_max_us
        if instance.loading is not None:
            limit_us = instance.load_max_us
        if instance.condemned:
            thrown = port.exception()
            limit_us = _CONDEMNED_US
        if thrown is not None:
            task.data = None
        modules.enter(instance)
        loop.enter(instance)
        core.cur_task = task
        instance.state = wire.STATE_RUNNING if instance.loading is None else wire.STATE_LOADING
        self.armed = True
        hit = 0
        error = result = None
        billing = self.billing
        billing.work()
        wall = billing.wall
        cpu = billing.cpu
        table.sync(AGENT)
        table.cap(self.reserve_blocks)
        before = table.counts[owner]
        self.current[0] = instance
        # The guard. The exception is raised at the guest's next jump, which may be a jump of
        # this function: `finally` and both handlers begin with straight-line code that
        # disarms, so that at most one exception is left over, and it is raised in the inner
        # or caught by the outer try. Simpler patterns leaked 1 to 30 % of the kills.
        try:
            try:
                try:
                    port.arm(limit_us, wall, cpu, instance.tag)
                    if thrown is None:
                        result = coroutine.send(None)
                    else:
                        result = coroutine.throw(thrown)
                finally:
                    armed[0] = 0
                if hit:
                    pass
            except BaseException as e:
                error = e
                hit = 1
        except BaseException as e:
            error = e
            hit = 2
        self.current[0] = None
        table.uncap()
        table.sync(owner)
        used = billing.guest()
        loop.leave()
        modules.leave(instance)

        waited = wall - instance.since & TICKS_MASK
        instance.cpu.add(used)
        instance.slices += 1
        if instance.loading is not None:
            instance.load_us += used
        instance.waited_us += waited
        instance.limit.charge(used)
        instance.reservation.charge(used)
        instance.vtime = ticks_add(instance.vtime, used * 100 // instance.weight)
        self.schedule.vtime = instance.vtime
        if used > instance.longest_us:
            instance.longest_us = used
        blocks = table.counts[owner]
        if blocks > instance.peak_blocks:
            instance.peak_blocks = blocks
        hits = port.delivered()
        if self.telemetry.trace:
            self.telemetry.slice(
                instance.id, used, billing.elapsed, waited, (blocks - before) * table.block, 0,
                (wire.SLICE_OVERRUN if hits else 0)
                | (wire.SLICE_ENDED if error is not None else 0)
                | (wire.SLICE_LOAD if instance.loading is not None else 0),
            )  # fmt: skip
        self.task = task
        self.thrown = thrown
        self.result = result
        self.error = error
        return used

    # Calls function(argument) for a guest, as guarded and billed as a slice: the agent's own
    # questions to a guest's objects, whose answers may be the guest's code. None where it had to
    # be stopped or raised.
    def ask(self, instance, function, argument):
        port = self.port
        armed = port.STATE
        billing = self.billing
        port.renew()
        billing.work()
        self.armed = True
        hit = 0
        result = None
        self.current[0] = instance
        try:
            try:
                try:
                    port.arm(_ASK_US, billing.wall, billing.cpu, instance.tag)
                    result = function(argument)
                finally:
                    armed[0] = 0
                if hit:
                    pass
            except BaseException:
                result = None
                hit = 1
        except BaseException:
            result = None
            hit = 2
        self.current[0] = None
        port.quiet()
        port.renew()
        instance.cpu.add(billing.guest())
        return result

    # What the slice means for its guest.
    def judge(self, instance, used):
        lifecycle = self.lifecycle
        hits = self.port.delivered()
        if hits or instance.condemned:
            self.port.quiet()
            self.armed = False
            lifecycle.stopped(instance, hits, used)
            return
        if self.error is not None:
            if not lifecycle.task_ended(instance):
                return
            self.forget()
        elif instance.loading is not None:
            instance.queue.push(self.task)
        elif instance.plain and self.task is instance.main:
            # A plain generator yields the ms it wants to sleep, or anything else to go on.
            result = self.result
            if type(result) is int and result > 0:
                instance.queue.push(self.task, ticks_add(self.port.ticks_ms(), result))
            else:
                instance.queue.push(self.task)
        if self.within_memory(instance):
            self.schedule.put(instance)

    # Collects where that is due, and condemns the guest that holds more than its limit after it.
    def within_memory(self, instance):
        table = self.table
        limit = instance.mem_max
        owner = instance.owner
        if limit is not None and table.counts[owner] * table.block > limit:
            self.collect(instance)
            held = table.counts[owner] * table.block
            if held > limit:
                # an estimate must say so twice before a guest is ended for it
                instance.over += 1
                if table.exact or instance.over > 1:
                    self.lifecycle.condemn(instance, wire.REASON_OOM, held, limit)
                    return False
            else:
                instance.over = 0
        elif table.exact and table.counts[0] > self.high_mark():
            self.collect(instance)
        return True

    # Lets go of the last slice's objects.
    def forget(self):
        self.task = self.thrown = self.result = self.error = None

    # A collection between slices, billed to the instance whose garbage made it due.
    def collect(self, instance):
        self.billing.work()
        before = self.table.counts[0]
        self.table.collect(AGENT)
        used = self.billing.guest()
        instance.cpu.add(used)
        instance.limit.charge(used)
        instance.collections += 1
        self.summary.collected(instance, used, before - self.table.counts[0])

    # Blocks in use above which the heap is collected: half of what was free after the last
    # collection may fill with garbage, and the longest slice always finds room.
    def high_mark(self):
        live = self.summary.live_blocks
        return min(self.high_blocks, live + (self.table.total - live) // 2)
