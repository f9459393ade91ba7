# The life of an instance: start, end, and what follows from the reason.

import sys

from micropython import const
from time import ticks_add, ticks_diff

from . import loader, loop, meter, modules, wire
from .clock import TICKS_MASK
from .instance import Instance
from .where import describe, is_good_exit, what, where
from .wire import AGENT, FIRST_GUEST

_GRACE_MS = const(1000)  # for a guest that was asked to stop
_STRAYS_PART = const(16)  # of the heap that the runs of a guest may leave behind for ever
_ALIVE = (
    wire.STATE_LOADING,
    wire.STATE_READY,
    wire.STATE_RUNNING,
    wire.STATE_WAITING,
    wire.STATE_THROTTLED,
    wire.STATE_SUSPENDED,
)

# Starting the same image again cannot help.
_HOPELESS = (wire.REASON_SYNTAX, wire.REASON_NO_MAIN)

_AGENT_FILES = __file__.rsplit("/", 1)[0]


class Lifecycle:
    def __init__(self, kernel):
        self.kernel = kernel
        self.ident = FIRST_GUEST
        self.noted = False  # a fault of the agent is in the journal
        self.strayed = 0  # blocks that runs have left, as far as it is known whose

    # --- instances come and go ---

    # Makes an instance of an image; None where the frame table has no owner left.
    def create(self, image, index=0):
        kernel = self.kernel
        owners = [i.owner for i in kernel.instances]
        for owner in range(FIRST_GUEST, kernel.capacity + FIRST_GUEST):
            if owner not in owners:
                break
        else:
            return None
        taken = [i.id for i in kernel.instances]
        while self.ident in taken:
            self.ident = self.ident + 1 if self.ident < 250 else FIRST_GUEST
        instance = Instance(self.ident, owner, image, index, kernel.port, kernel.table.block)
        self.ident = self.ident + 1 if self.ident < 250 else FIRST_GUEST
        instance.node = loop.new_task(instance)
        instance.be_careful()
        kernel.instances.append(instance)
        kernel.summary.tell_instance(instance)
        return instance

    def find(self, name):
        if "." not in name:
            name += ".0"
        for instance in self.kernel.instances:
            if instance.name == name:
                return instance
        return None

    # Takes an instance off the board; its id and its owner are free again.
    def remove(self, instance):
        kernel = self.kernel
        if instance.state in _ALIVE or instance.queued is not None:
            self.end(instance, wire.STATE_STOPPED, wire.REASON_REMOVED, follow=False)
        kernel.schedule.unexpect(instance)
        kernel.instances.remove(instance)
        if instance is kernel.suspended and kernel.running:
            kernel.running = None  # what is left of it on the stack has to go
        kernel.billing.departed.add_account(instance.cpu)
        kernel.summary.gone(instance)
        kernel.table.forget(instance.owner, kernel.strays)

    def alive(self, instance):
        return instance.state in _ALIVE

    # --- start ---

    def start(self, instance, reason):
        kernel = self.kernel
        kernel.schedule.take(instance)
        instance.then = wire.REASON_NONE
        if kernel.suspension is not None and kernel.suspension.postpones(instance):
            return
        if kernel.port.recall(2) == instance.tag:
            kernel.port.keep(2, 0)  # somebody gives it another chance
        if reason == wire.REASON_RETRY or reason == wire.REASON_RESTART:
            instance.restarts += 1
        instance.condemned = wire.REASON_NONE
        instance.stopping = None
        if instance.spec["on_overrun"] == "suspend" and kernel.suspension is None:
            self.prepare_suspension()
        if kernel.suspension is not None:
            kernel.suspension.prepare(instance)
        instance.started = kernel.clock.s
        instance.load_us = 0
        table = kernel.table
        counts = table.counts
        words = instance.meter
        self.strays(instance)
        if words[meter.STRAYS] > table.total // _STRAYS_PART:
            instance.failures += 1
            instance.last_reason = wire.REASON_STRAYS
            instance.last_where = instance.last_what = ""
            instance.last_s = kernel.clock.s
            self.move(
                instance,
                wire.STATE_QUARANTINED,
                wire.REASON_STRAYS,
                words[meter.STRAYS] * table.block,
                table.total // _STRAYS_PART * table.block,
            )
            return
        if "mem_buffer" in instance.spec and not self.has_buffer(instance):
            return
        # Its loop is its own, like all that it holds; what the agent notes of it is not.
        table.sync(AGENT)
        loop.create(instance)
        table.sync(instance.owner)
        words[meter.LOOP] = counts[instance.owner] - instance.kept
        words[meter.CODE] = 0
        instance.watch_memory(None)
        instance.be_careful()
        instance.modules = {}
        instance.files = []
        instance.loading = loop.new_task(loader.load(instance))
        instance.queue.push(instance.loading)
        self.move(instance, wire.STATE_LOADING, reason)
        instance.meter[meter.VTIME] = kernel.billing.shared[meter.LAST_VTIME]
        kernel.settle_high()  # it may have been promised memory
        kernel.schedule.put(instance)

    # Whether there is what the guest's manifest reserves.
    def has_buffer(self, instance):
        from . import buffers

        try:
            buffers.prepare(self.kernel, instance)
            return True
        except MemoryError as error:
            instance.failures += 1
            self.move(
                instance,
                wire.STATE_FAILED,
                wire.REASON_HEAP_FULL,
                instance.spec["mem_buffer"],
                cause="its buffer: %s" % what(error),
            )
            return False
        finally:
            modules.drop(buffers)

    # A guest asks to be suspended where it overruns: what that takes is loaded now.
    def prepare_suspension(self):
        from . import suspension

        self.kernel.suspension = suspension.Suspension(self.kernel)
        modules.known[0] = len(sys.modules)

    # What the last run of an instance has left for ever: names that MicroPython keeps, what it gave
    # to others. Asked some time after its end, because a pointer that lies about in the agent may
    # keep more from one collection.
    def strays(self, instance):
        left = instance.left
        if left:
            instance.left = 0
            kernel = self.kernel
            kernel.collect(instance)
            words = instance.meter
            more = min(left, kernel.table.counts[kernel.strays] - self.strayed)
            more = max(more, -words[meter.STRAYS])
            words[meter.STRAYS] += more
            self.strayed += more

    # --- a task of it ended ---
    #
    # These read kernel.task and kernel.error, which the last slice left there.

    # Takes note of a task whose coroutine raised. Returns whether the guest goes on.
    def task_ended(self, instance):
        kernel = self.kernel
        task = kernel.task
        if task is instance.loading:
            return self.loaded(instance)
        if isinstance(task.coro, loop.Errand):
            if isinstance(kernel.error, Exception) and not isinstance(kernel.error, StopIteration):
                place, cause = self.describe(instance)
                kernel.hooks.line(
                    instance, "event loop: %s at %s" % (cause, place), wire.TEXT_ERROR
                )
            return True
        if task is not instance.main and isinstance(
            kernel.error, (loop.core.CancelledError, Exception)
        ):
            instance.queue.push(loop.new_task(loop.Finish(task, kernel.error, kernel.thrown)))
            return True
        is_main = task is instance.main
        task = None
        if is_main and isinstance(kernel.error, StopIteration):
            self.end(instance, wire.STATE_EXITED, wire.REASON_RETURNED)
        elif (
            is_main
            and isinstance(kernel.error, loop.core.CancelledError)
            and instance.stopping is not None
        ):
            self.end(instance, wire.STATE_STOPPED, instance.then or wire.REASON_STOP)
        else:
            self.crashed(instance)
        return False

    # The loader is done or failed.
    def loaded(self, instance):
        kernel = self.kernel
        if type(kernel.error) is StopIteration:
            main = kernel.error.value
            instance.loading = None
            # What the compiler has dropped would count as code.
            kernel.collect(instance)
            words = instance.meter
            words[meter.CODE] = (
                kernel.table.counts[instance.owner] - words[meter.LOOP] - instance.kept
            )
            if main is not None:
                kernel.table.sync(AGENT)
                instance.main = loop.new_task(main)
                kernel.table.sync(instance.owner)
                instance.plain = instance.spec["entry"] == "generator"
                instance.queue.push(instance.main)
            self.move(instance, wire.STATE_READY, wire.REASON_LOADED, instance.load_us)
            return True
        if isinstance(kernel.error, SyntaxError):
            self.end(instance, wire.STATE_FAILED, wire.REASON_SYNTAX)
        elif isinstance(kernel.error, loader.NoMain):
            self.end(instance, wire.STATE_FAILED, wire.REASON_NO_MAIN)
        else:
            self.crashed(instance)
        return False

    # It raised something that nobody caught.
    def crashed(self, instance):
        table = self.kernel.table
        error = self.kernel.error
        if isinstance(error, SystemExit):
            good = self.kernel.ask(instance, is_good_exit, error)
            error = None
            self.end(instance, wire.STATE_EXITED if good else wire.STATE_FAILED, wire.REASON_EXIT)
        elif isinstance(error, MemoryError):
            error = None
            held = table.counts[instance.owner] * table.block
            limit = instance.mem_max
            if limit is not None and held > limit:
                instance.kills += 1
                self.end(instance, wire.STATE_KILLED, wire.REASON_OOM, held, limit)
            else:
                self.end(instance, wire.STATE_FAILED, wire.REASON_HEAP_FULL, held)
        else:
            error = None
            self.end(instance, wire.STATE_FAILED, wire.REASON_EXCEPTION)

    # --- the agent ends it ---

    # Its next slice, at once, is its last: the exception thrown into it tells where it was.
    def condemn(self, instance, reason, a=0, b=0):
        kernel = self.kernel
        if instance.queue is None:
            return
        instance.condemned = reason
        instance.verdict = (a, b)
        kernel.schedule.take(instance)
        if instance.queue.peek() is None:
            kernel.forget()
            self.stopped(instance, 0, 0)
        else:
            kernel.schedule.ready(instance, kernel.port.ticks_ms())

    # Ends it now, and tells what that has freed: the heap is `short` of so many bytes, and it holds
    # so many over its memory.min. One that is suspended ends as soon as the stack is its own again.
    def evict(self, instance, over, short):
        kernel = self.kernel
        self.condemn(instance, wire.REASON_EVICTED, short, over)
        if instance.condemned:
            kernel.schedule.take(instance)
            if kernel.dispatch(instance):
                kernel.judge(instance)

    # The guest was stopped from outside, by its deadline or because it was condemned.
    def stopped(self, instance, hits, used):
        reason = instance.condemned
        if instance not in self.kernel.instances:
            self.kernel.suspension.left(instance)
            return
        if reason == wire.REASON_NONE:
            instance.overruns += 1
            instance.kills += 1
            if instance.loading is not None:
                self.end(
                    instance,
                    wire.STATE_KILLED,
                    wire.REASON_LOAD_OVERRUN,
                    used,
                    instance.load_max_us,
                    hits,
                )
            else:
                self.end(
                    instance,
                    wire.STATE_KILLED,
                    wire.REASON_OVERRUN,
                    used,
                    instance.slice_max_us,
                    hits,
                )
        elif reason == wire.REASON_STOP or reason == wire.REASON_RESTART:
            self.end(instance, wire.STATE_STOPPED, reason)
        else:
            instance.kills += 1
            a, b = instance.verdict
            self.end(instance, wire.STATE_KILLED, reason, a, b, hits)
        self.kernel.port.renew()

    # Asks the guest to stop: its main task is cancelled, and after a grace it is killed.
    def stop(self, instance, reason=wire.REASON_STOP):
        kernel = self.kernel
        if instance.state not in _ALIVE:
            if instance.queued is not None:
                self.end(instance, wire.STATE_STOPPED, reason, follow=False)
            return
        if instance.main is None or instance.loading is not None:
            self.condemn(instance, reason)
            return
        instance.stopping = ticks_add(kernel.port.ticks_ms(), _GRACE_MS)
        instance.queue.push(loop.new_task(loop.Cancel(instance.main)))
        kernel.schedule.take(instance)
        kernel.schedule.put(instance)

    # Once in a while: kills those whose grace is over.
    def tend(self, now):
        for instance in self.kernel.instances:
            if instance.stopping is not None and ticks_diff(now, instance.stopping) > 0:
                instance.stopping = None
                self.condemn(instance, wire.REASON_STOP)

    # --- the end ---

    # Drops a guest: its objects are let go, never closed, because closing runs its code.
    # `follow` asks the restart policy what is next. What all this takes is the guest's.
    def end(self, instance, state, reason, a=0, b=0, c=0, follow=True):
        kernel = self.kernel
        billing = kernel.billing
        billing.work()
        kernel.schedule.take(instance)
        instance.log.mend()
        if instance.partial:
            kernel.hooks.line(instance, instance.partial)
        kernel.hooks.close_files(instance)
        instance.drop()
        used = kernel.table.counts[0]
        asked = instance.stopping is not None  # to stop, however it ended
        instance.stopping = None
        instance.condemned = wire.REASON_NONE
        kernel.task = kernel.thrown = kernel.result = None
        if kernel.table.free_blocks < kernel.reserve_blocks * 2:
            kernel.collect(instance)  # to have room for saying what happened
        place = cause = ""
        if kernel.error is not None and state != wire.STATE_EXITED and reason != wire.REASON_STOP:
            place, cause = self.describe(instance, c > 1)
            if state == wire.STATE_KILLED:
                cause = ""  # the reason says it all
                if reason == wire.REASON_OVERRUN and kernel.suspension is not None:
                    cause = kernel.suspension.excuse(instance)
        kernel.forget()
        instance.bill(billing.guest())
        kernel.collect(instance)
        instance.left += kernel.table.forget(instance.owner, kernel.strays)
        if instance.kept:
            from . import buffers

            instance.left -= buffers.keep(kernel.table, instance)
            modules.drop(buffers)
        if reason == wire.REASON_EVICTED:
            cause = "the heap was short of %d bytes" % a
            a = (used - kernel.table.counts[0]) * kernel.table.block
        if state == wire.STATE_FAILED:
            instance.failures += 1
        if state == wire.STATE_FAILED or state == wire.STATE_KILLED:
            instance.last_reason = reason
            instance.last_where = place
            instance.last_what = cause
            instance.last_s = kernel.clock.s
        self.move(instance, state, reason, a, b, c, place, cause)
        instance.bill(billing.guest())
        if not follow:
            return
        if instance.then != wire.REASON_NONE:
            # not from within its end, where its objects may still lie about
            kernel.schedule.enqueue(instance, kernel.schedule.sleepers, kernel.port.ticks_ms())
            return
        if asked or state == wire.STATE_STOPPED or reason == wire.REASON_KILL:
            return
        self.follow(instance, state)

    # What the restart policy makes of the end.
    def follow(self, instance, state):
        kernel = self.kernel
        policy = instance.restart
        if instance.reason in _HOPELESS:
            return
        after, delay = policy.ended(state, kernel.clock.s - instance.started)
        if after == wire.STATE_BACKOFF:
            self.move(instance, after, wire.REASON_BACKOFF, delay, policy.failures)
            kernel.schedule.enqueue(
                instance, kernel.schedule.sleepers, ticks_add(kernel.port.ticks_ms(), delay)
            )
        elif after != state:
            self.move(instance, after, wire.REASON_TOO_MANY_FAILURES, 0, policy.failures)
            self.note(wire.REASON_TOO_MANY_FAILURES, instance.name)

    # --- telling ---

    # (where, what) of the last slice's error.
    def describe(self, instance, again=False):
        error = self.kernel.error
        told = self.kernel.ask(instance, describe, (error, _AGENT_FILES, again))
        return told or ("", type(error).__name__)

    # Changes the state and records the change.
    def move(self, instance, state, reason, a=0, b=0, c=0, place="", cause=""):
        old = instance.state
        instance.state = state
        instance.reason = reason
        self.kernel.clock.advance()
        instance.moved_s = self.kernel.clock.s
        self.kernel.telemetry.transition(instance.id, old, state, reason, a, b, c, place, cause)
        instance.tells(1 + (len(place) + len(cause)) // wire.TEXT_SIZE)

    # An exception that no task of the guest retrieved: it goes on, its log says so. Called in the
    # guest's slice.
    def report(self, instance, message, error):
        hooks = self.kernel.hooks
        hooks.line(instance, "%s: %s" % (message, what(error)), wire.TEXT_ERROR)
        place = where(error, _AGENT_FILES)
        if place:
            hooks.line(instance, "  at " + place, wire.TEXT_ERROR)

    # An error of the agent itself.
    def fault(self, error):
        self.kernel.clock.advance()
        self.kernel.telemetry.transition(
            AGENT,
            0,
            0,
            wire.REASON_AGENT_FAULT,
            self.kernel.faults,
            0,
            0,
            where(error, "<none>"),
            what(error),
        )
        sys.print_exception(error, sys.stderr)  # type: ignore[arg-type]
        if not self.noted:  # once a boot: a fault that comes again must not wear the flash
            self.noted = True
            self.note(wire.REASON_AGENT_FAULT)

    # Writes what must not be forgotten into the journal.
    def note(self, reason, name="", cause=wire.RESET_UNKNOWN):
        kernel = self.kernel
        telemetry = kernel.telemetry
        begin = kernel.port.ticks_us()
        try:
            from . import journal

            try:
                damaged = journal.add(
                    kernel.hooks.root, reason, name, cause, telemetry.boot_id, kernel.clock.s
                )
            finally:
                modules.drop(journal)
            if damaged:
                telemetry.say(wire.BOARD, wire.TEXT_ERROR, "the journal was damaged: begun anew")
        except (OSError, MemoryError) as error:
            telemetry.say(wire.BOARD, wire.TEXT_ERROR, "the journal: %r" % error)
        us = kernel.port.ticks_us() - begin & TICKS_MASK
        kernel.schedule.blackout(wire.BLACKOUT_FLASH, us, AGENT)
