# The schedule: who is due, and who runs next.
#
# Three pairing heaps of asyncio's C code, whose keys may wrap: eligible reservations by
# deadline, the other runnable instances by virtual time, and all that wait for a time. An
# instance's `node` stands in one of them, with the instance where a task has its coroutine.
# Each operation costs O(log n).

from time import ticks_diff

from . import loop, meter, wire
from .clock import TICKS_MASK


class Schedule:
    def __init__(self, kernel):
        self.kernel = kernel
        self.port = kernel.port
        self.reserved = loop.TaskQueue()
        self.next_reserved = self.reserved.peek  # bound once: the kernel asks before each slice
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
            self.take(instance)
            if instance.state == wire.STATE_BACKOFF:
                self.kernel.lifecycle.start(instance, wire.REASON_RETRY)
            else:
                self.put(instance)

    # The next to run, out of its queue: reservations by deadline, then the rest by weighted
    # virtual time. None where nobody can.
    def pick(self):
        node = self.reserved.peek() or self.runnable.peek()
        if node is None:
            return None
        instance = node.coro
        self.take(instance)
        return instance

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

    # Puts an instance where it belongs by its tasks, its limit and its reservation.
    def put(self, instance):
        task = instance.queue.peek()
        if instance.io.map and not instance.polling:
            instance.polling = True
            instance.queue.push(loop.new_task(loop.Poll(instance)))
            task = instance.queue.peek()
        if task is None:
            self.kernel.lifecycle.end(instance, wire.STATE_FAILED, wire.REASON_DEADLOCK)
            return
        now = self.port.ticks_ms()
        limit = instance.limit
        limit.roll(now)
        if instance.condemned:
            self.ready(instance, now)
        elif limit.exhausted():
            instance.state = wire.STATE_THROTTLED
            instance.reason = wire.REASON_THROTTLED
            instance.throttled_since = self.port.ticks_us() & TICKS_MASK
            self.enqueue(instance, self.sleepers, limit.refill_at())
        elif ticks_diff(task.ph_key, now) > 0:
            instance.state = wire.STATE_WAITING
            self.enqueue(instance, self.sleepers, task.ph_key)
        else:
            self.ready(instance, now)

    # Puts an instance that can run at once among those that can.
    def ready(self, instance, now):
        if instance.loading is None:
            instance.state = wire.STATE_READY
        if instance.condemned:
            instance.be_careful()
        elif instance.node.state is None:
            if instance.loading is None and not instance.plain and self.kernel.table.exact:
                instance.be_easy()
        words = instance.meter
        words[meter.SINCE] = self.port.ticks_us() & TICKS_MASK
        reservation = instance.reservation
        if instance.condemned or reservation.eligible(now):
            self.enqueue(instance, self.reserved, reservation.deadline)
            return
        last = self.shared[meter.LAST_VTIME]
        if ticks_diff(last, words[meter.VTIME]) > 0:
            words[meter.VTIME] = last
        self.enqueue(instance, self.runnable, words[meter.VTIME])

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
        instance.queued.remove(instance.node)
        instance.queued = None
