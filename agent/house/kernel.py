# The kernel: the life of a slice.
#
#   wake, serve: when something is due
#   slices: pick, arm, send, disarm, sync, bill, requeue, as long as nothing is out of the ordinary
#   judge, put (schedule.py): what a slice means, where it means anything
#
# What happens for each slice is machine code that allocates nothing (decision 15).
#
# Policy stands in cpu.py, restart.py and admission.py, what begins and ends an instance in
# lifecycle.py, whose time it was in billing.py; this file guards the run.

import asyncio.core as core
from time import ticks_add, ticks_diff, ticks_ms

import micropython
from micropython import const

from . import loop, memory, meter, modules, wire
from .billing import Billing
from .instance import Instance
from .lifecycle import Lifecycle
from .schedule import Schedule
from .wire import AGENT

_SLICES = const(1000)  # in one go, if nothing is due before
_SERVICE_MS = const(20)  # between two looks at the line while guests keep the board busy
_TRACE_MS = const(10)  # the same while every slice makes a record
_SENDING_MS = const(5)  # the same while the line has not taken all that there is
_TEND_MS = const(20)  # between two looks at what is due by the clock
_IDLE_MS = const(100)  # the longest sleep
_RETRY_MS = const(10)  # until the line is offered again what it did not take
_CONDEMNED_US = const(500)  # for what a condemned guest does with the exception
_LAST_VTIME = const(2)  # see meter.py
_NOW = const(0)
_FAULTS = const(20)  # faults of the agent in one run before it gives up and restarts


# What the last slice raised. A list, because slices of guests that sleep are to allocate nothing.
_raised: list = [None]


# Resumes a task's coroutine until it yields; returns what it yielded. What it raised is in
# _raised, None if it yielded.
#
# Once the deadline has passed, the exception is raised at the next jump or call of bytecode.
# This function is machine code, and so is all that it calls around the guest: disarm() takes the
# exception out of the slot if it came too late to be raised, so it cannot be raised anywhere
# but in the guest.
@micropython.native
def guard(port, coroutine, thrown, limit_us, wall, cpu, tag):
    result = None
    _raised[0] = None
    try:
        port.arm(limit_us, wall, cpu, tag)
        if thrown is None:
            result = coroutine.send(None)
        else:
            result = coroutine.throw(thrown)
    except BaseException as error:
        _raised[0] = error
    if port.disarm() and _raised[0] is None:
        _raised[0] = port.exception()
    return result


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
        self.strays = len(table.counts) - 1  # owns what guests have left for ever
        self.lifecycle = Lifecycle(self)
        self.link = None  # set by boot: reads commands, writes frames
        self.summary = None
        self.billing = Billing(port)
        self.schedule = Schedule(self)
        # What the last slice came to: its task, what was thrown into it, what it yielded, what it
        # raised. Kept here and not in locals of functions that call each other, so that nothing
        # holds a guest's objects when its end collects them.
        self.task = None
        self.thrown = None
        self.result = None
        self.error = None
        self.next_service = self.next_tend = port.ticks_ms()
        self.armed = False  # the port's timer may still be running
        self.running = True  # None: the suspended guest goes on; False: the agent is left
        self.suspension = None  # see suspension.py, from the first guest on that asks for it
        self.suspended = None  # the guest that is set aside in mid-slice
        self.faults = 0
        self.launched = None  # a command has just started it
        self.patience = 0  # times that it may still wait for the answer to be sent
        # Collections are planned while blocks are left for the longest slice.
        self.reserve_blocks = port.HEAP_RESERVE // table.block
        self.high_blocks = table.total - 2 * self.reserve_blocks
        table.keep_back(self.reserve_blocks, port.HEAP_SLACK // table.block)
        self.tidied = 0  # blocks in use after the last collection in time that nobody needed
        self.billing.shared[meter.HIGH] = self.high_blocks

    # --- the loop ---

    # Runs until somebody stops the agent. An error of the agent's own is recorded, and the
    # guests stay under guard.
    def run(self):
        while self.running:
            try:
                self.step(_SLICES)
            except Exception as error:
                self.port.quiet()
                self.table.uncap()
                self.leave()
                self.faults += 1
                self.table.collect(AGENT)
                self.lifecycle.fault(error)
                if self.faults >= _FAULTS:
                    raise
                self.recover()

    # What is due, then slices: at most `count`, until something is due or out of the ordinary.
    def step(self, count=1):
        now = self.port.ticks_ms()
        if ticks_diff(now, self.schedule.due) >= 0:
            if ticks_diff(now, self.next_service) >= 0:
                self.service(now)
            self.schedule.wake(now)
            self.schedule.look_again(self.next_service)
        instance = self.slices(count)
        if instance is not None:
            if self.task is None and not self.dispatch(instance):
                return
            self.judge(instance)
        elif not self.schedule.anybody():
            self.sleep()

    # What is due: commands, telemetry, the summary.
    def service(self, now):
        self.next_service = ticks_add(now, _TRACE_MS if self.telemetry.trace else _SERVICE_MS)
        self.port.feed()
        self.link.receive()
        if ticks_diff(now, self.next_tend) >= 0:
            self.next_tend = ticks_add(now, _TEND_MS)
            self.clock.advance()
            self.lifecycle.tend(now)
            self.summary.tend()
        if self.telemetry.waiting():
            self.link.send()
            if self.telemetry.pending:
                self.next_service = ticks_add(now, _SENDING_MS)

    # Nothing can run: sends what is left to send and sleeps until something is due.
    def sleep(self):
        now = self.next_tend = self.port.ticks_ms()
        self.service(now)
        memory.tidy(self)
        now = self.port.ticks_ms()  # the service took its time
        ms = self.summary.due_ms()
        if self.telemetry.pending:
            ms = _RETRY_MS  # what is due to be told has to wait for the line
        ms = min(self.schedule.due_ms(now, _IDLE_MS), ms)
        if ms <= 0 or not self.running or self.schedule.anybody():
            return
        if self.armed:
            self.armed = False
            self.port.quiet()
        self.billing.work()
        self.port.wait(ms)
        self.billing.rest()
        self.next_service = self.next_tend = self.port.ticks_ms()

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

    # Runs slices of guests of which nothing out of the ordinary is to be expected. Returns the
    # instance that wants attention: one whose slice has just shown something, or one that is not
    # easy and has not run. None when `count` slices were run, something is due or nobody can run.
    #
    # From the sync(AGENT) on nothing here may allocate or free: what appears in the heap then
    # is the guest's. Nor does any bytecode of the agent run, in which a late exception, or what a
    # guest has scheduled, could be raised.
    #
    # Every look at an attribute takes 1 to 10 us on a Pico, so methods are taken out of their
    # classes once. What guard() does stands here again: its call takes 15 us.
    @micropython.native
    def slices(self, count):
        schedule = self.schedule
        runnable = schedule.runnable
        peek = loop.peek
        pop = loop.pop
        node = peek(schedule.reserved)
        if node is not None:
            pop(schedule.reserved)  # whoever has a reservation leaves the loop after its slice
        else:
            node = peek(runnable)
            if node is None:
                return None
            pop(runnable)
        push = loop.push
        due = schedule.due
        port = self.port
        arm = port.arm
        disarm = port.disarm
        current = self.current
        table = self.table
        sync = type(table).sync
        cap = type(table).cap
        counts = table.counts
        billing = self.billing
        shared = billing.shared
        one_clock = billing.one_clock
        trace = self.telemetry.trace
        asyncio = core
        nap = loop.nap
        nap_ms = loop.nap_ms
        charge = meter.charge
        path = modules.path
        loaded = modules.loaded
        known = modules.known
        length = len
        ms = ticks_ms
        diff = ticks_diff
        wall = shared  # see Billing.wall()
        cpu = before = 0
        used = -1
        error = None
        instance: Instance = None
        last = None
        self.armed = True
        sync(table, AGENT)
        while True:
            kit: tuple = node.state  # type: ignore[assignment]
            if kit is None:
                instance = node.coro  # type: ignore[assignment]
                self.task = None
                break
            instance, words, queue, streams, own, folder, owner, limit_us, tag = kit
            if instance is not last:
                if own or length(loaded) != known[0]:
                    instance.queued = None  # should that fail, it is put where it belongs
                    self.exchange(last, instance)
                    instance.queued = runnable
                path[0] = folder
                asyncio._task_queue = queue
                asyncio._io_queue = streams
                current[0] = last = instance
            task = pop(queue)
            thrown = task.data
            if thrown is not None:
                task.data = None
            if trace:
                before = counts[owner]
            asyncio.cur_task = task
            nap.state = False
            if not one_clock:
                billing.work()
                wall = shared[_NOW]  # type: ignore[assignment]
                cpu = billing.cpu
            cap(table, words)
            error = None
            try:
                arm(limit_us, wall, cpu, tag)
                if thrown is None:
                    task.coro.send(None)
                else:
                    task.coro.throw(thrown)
            except BaseException as raised:
                error = raised
            if disarm() and error is None:
                error = port.exception()
            sync(table, owner)
            if not one_clock:
                used = billing.guest()
            now = ms()
            more = charge(words, shared, counts, used, now)  # type: ignore[arg-type]
            if trace:
                instance.queued = None
                self.tell(instance, before, error)
                instance.queued = runnable
            if task.data is nap:
                if nap_ms[0]:
                    loop.doze(queue, task)
                task.data = None
            elif task.data is not None:
                more = 1
            if not more and error is None:
                task = peek(queue)
                if task is not None and diff(task.ph_key, now) <= 0:
                    push(runnable, node, shared[_LAST_VTIME])
                    count -= 1
                    if not count or diff(now, due) >= 0:
                        node = None
                        break
                    node = pop(runnable)
                    continue
            self.task = task
            self.thrown = thrown
            self.error = error
            break
        table.uncap()
        self.leave()
        if node is None:
            return None
        instance.queued = None
        return instance

    # The guard around one slice, with the accounting of memory around the guard.
    def guard_slice(self, instance, task, thrown, limit_us):
        table = self.table
        core.cur_task = task
        loop.nap.state = False
        billing = self.billing
        billing.work()
        wall = billing.wall()
        self.armed = True
        table.sync(AGENT)
        table.cap(instance.meter)
        self.result = guard(
            self.port,
            task.coro,
            thrown,
            limit_us,
            wall,
            billing.cpu,
            instance.tag,
        )
        table.uncap()
        table.sync(instance.owner)

    # One slice of a guest that is not easy: it is loaded, it is to end, or yields numbers. Returns
    # whether there was one: the rest of a suspended guest's lies below on the stack, and whoever
    # runs the kernel on top of it is to return; and who asked for a start is answered before.
    def dispatch(self, instance):
        if instance is self.suspended:
            if self.running:
                self.running = None
            return False
        if instance is self.launched and not instance.condemned:
            if self.patience and self.telemetry.unanswered():
                self.patience -= 1
                schedule = self.schedule
                at = ticks_add(self.port.ticks_ms(), _RETRY_MS)
                schedule.enqueue(instance, schedule.sleepers, at)
                return False
            self.launched = None
        table = self.table
        billing = self.billing
        task = instance.queue.pop()
        thrown = task.data
        limit_us = instance.limit_us
        if instance.loading is not None:
            instance.reservation.forfeit()
            limit_us = instance.load_max_us
        if instance.condemned:
            thrown = self.port.exception()
            limit_us = _CONDEMNED_US
        if thrown is not None:
            task.data = None
        instance.state = wire.STATE_RUNNING if instance.loading is None else wire.STATE_LOADING
        before = table.counts[instance.owner]
        self.enter(instance)
        self.guard_slice(instance, task, thrown, limit_us)
        self.error = error = _raised[0]
        words = instance.meter
        ms: int = self.port.ticks_ms()
        meter.charge(words, billing.shared, table.counts, billing.guest(), ms)
        self.leave()
        if instance.loading is not None:
            used = billing.shared[meter.USED]
            instance.load_us += used
            if used > instance.slice_max_us:
                self.schedule.blackout(wire.BLACKOUT_LOAD, used, instance.id)
        if task.data is loop.nap:
            loop.doze(instance.queue, task)
        if self.telemetry.trace:
            self.tell(instance, before, error)
        self.task = task
        self.thrown = thrown
        return True

    # A record of the slice, at trace level.
    def tell(self, instance, before, error):
        shared = self.billing.shared
        table = self.table
        self.telemetry.slice(
            instance.id,
            shared[meter.USED],
            shared[meter.ELAPSED],
            shared[meter.SLICE_WAITED],
            (table.counts[instance.owner] - before) * table.block,
            0,
            (wire.SLICE_OVERRUN if self.port.delivered() else 0)
            | (wire.SLICE_ENDED if error is not None else 0)
            | (wire.SLICE_LOAD if instance.loading is not None else 0),
        )

    # Puts what is a guest's own where its slices find it.
    def enter(self, instance):
        modules.enter(instance)
        loop.enter(instance)
        self.current[0] = instance

    # Modules of guests' own go and come, which may take memory.
    def exchange(self, last, instance):
        table = self.table
        table.uncap()
        if last is not None:
            modules.leave(last)
        modules.enter(instance)
        table.sync(AGENT)

    # Takes away what is a guest's: nothing of the agent runs with its modules or in its loop.
    def leave(self):
        instance = self.current[0]
        if instance is not None:
            modules.leave(instance)
            loop.leave()
            self.current[0] = None

    # Calls function(argument) for a guest, as guarded and billed as a slice: the agent's own
    # questions to a guest's objects, whose answers may be the guest's code. None where it had to
    # be stopped or raised.
    def ask(self, instance, function, argument):
        port = self.port
        port.renew()
        question = loop.Question(function, argument)
        billing = self.billing
        self.armed = True
        billing.work()
        self.current[0] = instance
        result = guard(
            port,
            question,
            None,
            port.ASK_US,
            billing.wall(),
            billing.cpu,
            instance.tag,
        )
        self.current[0] = None
        port.quiet()
        port.renew()
        instance.cpu.add(billing.guest())
        failed = _raised[0] is not None
        _raised[0] = None
        return None if failed else result

    # What the slice means for its guest.
    def judge(self, instance):
        lifecycle = self.lifecycle
        hits = self.port.delivered()
        if hits or instance.condemned:
            self.port.quiet()
            self.armed = False
            lifecycle.stopped(instance, hits, self.billing.shared[meter.USED])
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
        used = self.billing.shared[meter.USED]  # a collection is no slice
        if self.within_memory(instance):
            self.schedule.put(instance, used)

    # Collects where that is due, and does what then has to be done. Whether the guest goes on.
    def within_memory(self, instance):
        counts = self.table.counts
        if counts[instance.owner] > instance.meter[meter.BLOCKS_MAX]:
            return memory.look(self, instance)
        if counts[0] > self.billing.shared[meter.HIGH] and not memory.waits(self):
            return memory.look(self, instance)
        return True

    # Lets go of the last slice's objects.
    def forget(self):
        self.task = self.thrown = self.result = self.error = _raised[0] = None

    # A collection between slices, for an instance: or, where the heap as a whole made it due, for
    # those whose garbage did.
    def collect(self, instance, of_all=False):
        self.billing.work()
        before = self.table.counts[0]
        made = self.table.allocated[:] if of_all else None
        self.table.collect(AGENT)
        used = self.billing.guest()
        if made is not None:
            instance = self.billing.divide(used, made, self.instances, instance)
        else:
            instance.bill(used)
        memory.collected(self, instance, used, before - self.table.counts[0])

    # Called by the port in the midst of a slice: memory.look_into().
    @micropython.native
    def look_into(self):
        return memory.look_into(self)

    # When the heap is collected next.
    def settle_high(self):
        self.billing.shared[meter.HIGH] = memory.high_mark(self)
