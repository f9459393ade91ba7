# The schedule: who is due, and who runs next.
#
# Three pairing heaps of asyncio's C code, whose keys may wrap: eligible reservations by
# deadline, the other runnable instances by virtual time, and all that wait for a time. An
# instance's `node` stands in one of them, with the instance where a task has its coroutine. One
# whose reservation is used up has a second, `refill`, among the sleepers. Each operation costs
# O(log n).

from time import ticks_diff

from micropython import const

from . import loop, meter, wire
from .clock import TICKS_MASK

_REBASE = const(0x10000000)  # us of virtual time
_LATEST_MS = const(100000)  # that a wait is counted from before the agent saw it


class Schedule:
    def __init__(self, kernel):
        self.kernel = kernel
        self.port = kernel.port
        self.reserved = loop.TaskQueue()
        self.runnable = loop.TaskQueue()
        self.sleepers = loop.TaskQueue()
        self.due = kernel.port.ticks_ms()  # when the next sleeper or a look at the line is due
        self.shared = kernel.billing.shared

    # Moves those whose time has come out of the sleepers.
    def wake(self, now):
        sleepers = self.sleepers
        while True:
            node = sleepers.peek()
            if node is None or ticks_diff(node.ph_key, now) > 0:
                return
            instance = node.coro
            if node is instance.refill:
                self.replenish(instance)
                continue
            woke = node.ph_key
            self.take(instance)
            if instance.queue is None:
                self.kernel.lifecycle.start(instance, instance.then or wire.REASON_RETRY)
            else:
                self.put(instance, 0, woke)

    def anybody(self):
        return self.reserved.peek() is not None or self.runnable.peek() is not None

    # Sets when somebody has to look again: at `ms`, or before, when a sleeper is due.
    def look_again(self, ms):
        node = self.sleepers.peek()
        if node is not None and ticks_diff(ms, node.ph_key) > 0:
            ms = node.ph_key
        self.due = ms

    # Ms until the next sleeper is due, `most` where none is due before.
    def due_ms(self, now, most):
        node = self.sleepers.peek()
        return most if node is None else min(most, ticks_diff(node.ph_key, now))

    # Puts an instance where it belongs by its tasks, its limit and its reservation. `used` are us
    # of its slice that has just ended; `woke` is when its time had come, if it has slept.
    def put(self, instance, used=0, woke=None):
        task = instance.queue.peek()
        if instance.io.map and not instance.polling:
            instance.polling = True
            instance.queue.push(loop.new_task(loop.Poll(instance)))
            task = instance.queue.peek()
        if task is None:
            self.kernel.lifecycle.end(instance, wire.STATE_FAILED, wire.REASON_DEADLOCK)
            return
        now = self.port.ticks_ms()
        if ticks_diff(task.ph_key, now) > 0 and not instance.condemned:
            instance.reservation.rest(now, used)
            if instance.reservation.missing:
                self.kernel.summary.breached(instance)
            instance.state = wire.STATE_WAITING
            self.enqueue(instance, self.sleepers, task.ph_key)
        else:
            self.ready(instance, now, used, woke)

    # Puts an instance that has work at once among those that can run, or until its limit is
    # refilled among the sleepers. A reservation comes first: it is never throttled.
    def ready(self, instance, now, used=0, woke=None):
        words = instance.meter
        since = self.port.ticks_us()
        if woke is not None:
            since -= min(ticks_diff(now, woke), _LATEST_MS) * 1000
        words[meter.SINCE] = since & TICKS_MASK
        if instance.condemned:
            instance.state = wire.STATE_READY
            instance.be_careful()
            self.enqueue(instance, self.reserved, now)
            return
        limit = instance.limit
        limit.roll(now)
        reservation = instance.reservation
        if instance.state == wire.STATE_WAITING:
            words[meter.WOKE] = 1
        waking = instance.state == wire.STATE_WAITING or instance.state == wire.STATE_THROTTLED
        if instance.loading is not None:
            instance.state = wire.STATE_LOADING
        else:
            instance.state = wire.STATE_READY
            if instance.node.state is None:
                if instance is self.kernel.suspended:
                    instance.state = wire.STATE_SUSPENDED
                elif not instance.plain and self.kernel.table.exact:
                    instance.be_easy()
        served = reservation.eligible(now, used, woke)
        if reservation.missing:
            self.kernel.summary.breached(instance)
        if served:
            self.enqueue(instance, self.reserved, reservation.deadline)
            return
        if reservation.min_us and not instance.refilling:
            self.expect(instance)
        if limit.exhausted():
            instance.state = wire.STATE_THROTTLED
            instance.reason = wire.REASON_THROTTLED
            instance.throttled_since = words[meter.SINCE]
            self.enqueue(instance, self.sleepers, limit.refill_at(now))
            return
        last = self.shared[meter.LAST_VTIME]
        if waking and last > words[meter.VTIME]:
            words[meter.VTIME] = last
        self.enqueue(instance, self.runnable, words[meter.VTIME])

    # For `us`, until now, nothing was dispatched.
    def blackout(self, kind, us, by):
        now = self.port.ticks_ms()
        for instance in self.kernel.instances:
            if instance.reservation.min_us:
                instance.reservation.darken(us, kind, by, now)

    # Looks at an instance again when its reservation has budget.
    def expect(self, instance):
        if instance.refill is None:
            instance.refill = loop.new_task(instance)
        instance.refilling = True
        key = instance.reservation.refill_at()
        self.sleepers.push(instance.refill, key)
        if ticks_diff(self.due, key) > 0:
            self.due = key

    def unexpect(self, instance):
        if instance.refilling:
            instance.refilling = False
            self.sleepers.remove(instance.refill)

    # An instance's reservation has budget again: whoever waits for its turn, or for its limit,
    # is served from that.
    def replenish(self, instance):
        self.unexpect(instance)
        if instance.queued is self.runnable:
            since = instance.meter[meter.SINCE]
            self.take(instance)
            self.put(instance)
            instance.meter[meter.SINCE] = since
        elif instance.state == wire.STATE_THROTTLED:
            self.take(instance)
            self.put(instance)

    # Once a second: no counter wraps unseen in the accounts of those that sleep, and virtual time
    # begins anew before it leaves its words.
    def tend(self, now):
        shared = self.shared
        last = shared[meter.LAST_VTIME]
        if last < _REBASE:
            last = 0
        shared[meter.LAST_VTIME] -= last
        for instance in self.kernel.instances:
            instance.limit.roll(now)
            instance.reservation.tend(now)
            if last:
                waits = instance.queued is self.runnable
                if waits:
                    self.runnable.remove(instance.node)
                vtime = max(0, instance.meter[meter.VTIME] - last)
                instance.meter[meter.VTIME] = vtime
                if waits:
                    self.runnable.push(instance.node, vtime)

    def enqueue(self, instance, queue, key):
        queue.push(instance.node, key)
        instance.queued = queue
        if queue is self.sleepers and ticks_diff(self.due, key) > 0:
            self.due = key

    # Takes an instance out of whatever queue it is in.
    def take(self, instance):
        if instance.queued is None:
            return
        if instance.state == wire.STATE_THROTTLED:
            us = self.port.ticks_us() & TICKS_MASK
            instance.throttled.add(us - instance.throttled_since & TICKS_MASK)
            instance.reason = wire.REASON_NONE
        instance.queued.remove(instance.node)
        instance.queued = None
