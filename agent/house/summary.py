# The summary: once a second, what every instance used and how the board is.

import gc
import sys

from micropython import const
from time import ticks_add, ticks_diff

from . import meter, wire
from .clock import TICKS_MASK
from .wire import AGENT, BOARD, NONE, SATURATED

# Records in a second: wake-ups of one instance, heap and its check, link, two of times; and of each
# instance use, memory and counts.
_OF_BOARD = const(6)
_OF_INSTANCE = const(3)
_PERIOD_MS = const(1000)
_CHECK_S = const(10)  # between two checks of the frame table, in time that nobody needs
_CHECK_LATE_S = const(60)  # the same where nobody lets the board idle
_PROVEN_S = const(10)  # of service, and the unclean boots before this one are forgotten
_ROOM = const(28)  # free places in the state ring before one more instance is announced

_POLICY = ("never", "on-failure", "always")


def _optional(value):
    return NONE if value is None else min(value, SATURATED)


class Summary:
    def __init__(self, kernel, identity):
        self.kernel = kernel
        self.identity = identity  # (text kind, text) pairs that say what the board is
        self.next = kernel.port.ticks_ms()
        self.last_us = kernel.port.ticks_us() & TICKS_MASK
        self.period = 0  # us from the last summary to this one
        self.board_due = True
        self.collections = 0
        self.longest_us = 0
        self.live_blocks = kernel.table.counts[0]  # after the last collection
        self.checks = 0  # of the frame table
        self.checked_s = 0
        self.board = None  # what admission counts with; set by the commands
        self.reset_cause = wire.RESET_UNKNOWN
        self.unclean_boots = 0
        self.turn = 0  # whose wake-ups are told next
        self.told = -1  # instances that this summary has told of; -1: none is under way
        self.proven = 0  # word that says the run is a good one, until it is kept

    def due_ms(self):
        return 0 if self.told >= 0 else ticks_diff(self.next, self.kernel.port.ticks_ms())

    # Everything about the board and every instance is told anew: a host has attached.
    def announce_all(self):
        self.board_due = True
        for instance in self.kernel.instances:
            instance.announce = True
        self.next = self.kernel.port.ticks_ms()

    # Called at each service: does what is due, one instance at a time, because what is told of
    # one takes milliseconds on a Pico, and slices that wait come in between.
    def tend(self):
        kernel = self.kernel
        if self.board_due:
            if kernel.telemetry.state.room() < _ROOM:
                return
            self.board_due = False
            self.tell_board()
            return
        for instance in kernel.instances:
            if instance.announce:
                if kernel.telemetry.state.room() < _ROOM:
                    return
                instance.announce = False
                self.tell_instance(instance)
                return
        if self.due_ms() > 0:
            return
        if self.told < 0:
            now = kernel.port.ticks_ms()
            self.next = ticks_add(self.next, _PERIOD_MS)
            if ticks_diff(now, self.next) > 0:
                self.next = ticks_add(now, _PERIOD_MS)
            self.begin(now)
        elif self.told < len(kernel.instances):
            instance = kernel.instances[self.told]
            self.told += 1
            self.tell_usage(instance)
        elif self.told == len(kernel.instances):
            self.told += 1
            self.tell_board_usage()
        else:
            self.told = -1
            self.tell_times()

    # --- once, and when a host attaches ---

    def tell_board(self):
        kernel = self.kernel
        telemetry = kernel.telemetry
        table = kernel.table
        telemetry.put(
            telemetry.state,
            wire.RECORD_BOOT,
            BOARD,
            wire.BODY_BOOT,
            wire.VERSION,
            self.reset_cause,
            self.unclean_boots,
            kernel.capacity,
            table.total * table.block,
            kernel.port.LOAD_MAX_US,
            1000000 - self.board["reserve_ppm"],
            self.board["oversubscription_cpu_ppm"],
            self.board["oversubscription_ram_ppm"],
        )
        for kind, text in self.identity:
            telemetry.say(BOARD, kind, text, 0, telemetry.state)

    def tell_instance(self, instance):
        telemetry = self.kernel.telemetry
        ring = telemetry.state
        spec = instance.spec
        flags = wire.INSTANCE_AUTOSTART if spec["autostart"] else 0
        if spec["trust"] == "confined":
            flags |= wire.INSTANCE_CONFINED
        if spec["on_overrun"] == "suspend":
            flags |= wire.INSTANCE_SUSPEND
        self.put_instance(instance, flags)
        telemetry.put(
            ring,
            wire.RECORD_CPU_QUOTA,
            instance.id,
            wire.BODY_CPU_QUOTA,
            _optional(spec["cpu_max_us"]),
            spec["cpu_period_us"],
            _optional(spec["cpu_min_us"]),
            _optional(spec["cpu_min_period_us"]),
            spec["slice_max_us"],
            spec["weight"],
            min(instance.reservation.breaches, 0xFFFF),
        )
        telemetry.put(
            ring,
            wire.RECORD_MEM_QUOTA,
            instance.id,
            wire.BODY_MEM_QUOTA,
            _optional(spec["mem_min"]),
            _optional(spec["mem_high"]),
            _optional(spec["mem_max"]),
            _optional(spec["storage_max"]),
            instance.load_max_us,
            spec["backoff_min_s"],
            spec["backoff_max_s"],
        )
        telemetry.say(
            instance.id,
            wire.TEXT_VERSION,
            "%s %s" % (spec["version"], instance.image.digest),
            0,
            ring,
        )
        self.tell_wakeups(instance, ring)
        if instance.last_where:
            telemetry.say(instance.id, wire.TEXT_WHERE, instance.last_where, 0, ring)
        if instance.last_what:
            telemetry.say(instance.id, wire.TEXT_WHAT, instance.last_what, 0, ring)

    def put_instance(self, instance, flags):
        telemetry = self.kernel.telemetry
        spec = instance.spec
        telemetry.put(
            telemetry.state,
            wire.RECORD_INSTANCE,
            instance.id,
            wire.BODY_INSTANCE,
            instance.image.id,
            instance.index,
            instance.state,
            flags,
            spec["criticality"],
            _POLICY.index(spec["restart"]),
            instance.last_reason,
            0,
            bytes.fromhex(instance.image.digest[:8]),
            instance.image.name.encode(),
        )

    # An instance was removed.
    def gone(self, instance):
        self.put_instance(instance, wire.INSTANCE_GONE)

    # --- once a second ---

    def begin(self, now):
        kernel = self.kernel
        self.told = 0
        # one more may be installed before its end
        kernel.telemetry.summary.open(_OF_BOARD + _OF_INSTANCE * (len(kernel.instances) + 1))
        kernel.clock.advance()
        if self.proven and kernel.clock.s >= _PROVEN_S:
            kernel.port.keep(0, self.proven)
            self.proven = 0
        us = kernel.port.ticks_us() & TICKS_MASK
        self.period = max(1, us - self.last_us & TICKS_MASK)
        self.last_us = us
        kernel.schedule.tend(now)

    def tell_board_usage(self):
        kernel = self.kernel
        telemetry = kernel.telemetry
        ring = telemetry.summary
        self.turn += 1
        if kernel.instances:
            self.tell_wakeups(kernel.instances[self.turn % len(kernel.instances)], ring)
        table = kernel.table
        block = table.block
        telemetry.put(
            ring,
            wire.RECORD_HEAP,
            BOARD,
            wire.BODY_HEAP,
            table.total * block,
            table.counts[0] * block,
            table.counts[AGENT] * block,
            self.collections,
            self.longest_us,
            table.largest_free() * block,
        )
        link = kernel.link
        telemetry.put(
            ring,
            wire.RECORD_LINK,
            BOARD,
            wire.BODY_LINK,
            telemetry.bytes_sent,
            telemetry.batches,
            telemetry.stalls,
            link.commands,
            link.damaged,
            link.discarded,
        )

    # What ends a summary: whose all the time was. No slice comes in between, so that it adds up.
    def tell_times(self):
        kernel = self.kernel
        telemetry = kernel.telemetry
        ring = telemetry.summary
        kernel.billing.work()
        kernel.clock.advance()
        us = kernel.port.ticks_us() & TICKS_MASK
        guests_s = kernel.billing.departed.s
        guests_us = kernel.billing.departed.us
        for instance in kernel.instances:
            self.tell_time(instance, us)
            guests_s += instance.cpu.s
            guests_us += instance.cpu.us
        clock = kernel.clock
        agent = kernel.billing.agent
        idle = kernel.billing.idle
        stolen = kernel.billing.stolen
        cost = telemetry.cost
        telemetry.put(
            ring,
            wire.RECORD_TIME,
            BOARD,
            wire.BODY_TIME,
            agent.s,
            agent.us,
            idle.s,
            idle.us,
            stolen.s,
            stolen.us,
        )
        telemetry.put(
            ring,
            wire.RECORD_TIME_MORE,
            BOARD,
            wire.BODY_TIME_MORE,
            clock.s,
            clock.us,
            guests_s + guests_us // 1000000,
            guests_us % 1000000,
            cost.s,
            cost.us,
        )

    # The waits of an instance's wake-ups: of one in each summary, and of all when a host attaches.
    def tell_wakeups(self, instance, ring):
        words = instance.meter
        last = meter.WAKEUPS + wire.WAKEUP_BUCKETS
        self.kernel.telemetry.put(
            ring,
            wire.RECORD_WAKEUPS,
            instance.id,
            wire.BODY_WAKEUPS,
            *[words[i] & 0xFFFF for i in range(meter.WAKEUPS, last)],
        )

    def tell_time(self, instance, us):
        kernel = self.kernel
        waited = instance.meter[meter.WAITED]
        if (
            instance.queued is kernel.schedule.runnable
            or instance.queued is kernel.schedule.reserved
        ):
            # it waits right now, and may have done so all the time
            waited += us - instance.meter[meter.SINCE] & TICKS_MASK
            instance.meter[meter.SINCE] = us
        # What is no whole ms is left for the next time: nothing is lost to the sum.
        instance.meter[meter.WAITED] = waited % 1000
        instance.waited_ms = instance.waited_ms + waited // 1000 & 0xFFFF
        reservation = instance.reservation
        reservation.quiet = False
        if reservation.worst is not None:
            self.tell_breach(instance)
        throttled = instance.throttled
        if instance.state == wire.STATE_THROTTLED:
            throttled.add(us - instance.throttled_since & TICKS_MASK)
            instance.throttled_since = us
        kernel.telemetry.put(
            kernel.telemetry.summary,
            wire.RECORD_CPU,
            instance.id,
            wire.BODY_CPU,
            instance.cpu.s,
            instance.cpu.us,
            throttled.s,
            throttled.us,
            instance.slices,
            min(10000, waited * 100 // max(1, self.period // 100)),
            instance.state,
            instance.reason,
        )

    def tell_usage(self, instance):
        kernel = self.kernel
        kernel.clock.advance()  # the records say when this was so
        instance.refill_log()
        telemetry = kernel.telemetry
        ring = telemetry.summary
        table = kernel.table
        block = table.block
        blocks = table.counts[instance.owner]
        telemetry.put(
            ring,
            wire.RECORD_MEM,
            instance.id,
            wire.BODY_MEM,
            blocks * block,
            instance.peak_blocks * block,
            _optional(instance.mem_max),
            min(instance.collections, SATURATED),
            (wire.MEM_EXACT if table.exact else 0) | (wire.MEM_HIGH if instance.warned else 0),
            instance.waited_ms,
            table.allocated[instance.owner] * block,
        )
        telemetry.put(
            ring,
            wire.RECORD_COUNTS,
            instance.id,
            wire.BODY_COUNTS,
            instance.overruns,
            instance.kills,
            instance.restarts,
            instance.failures,
            instance.log_dropped,
            instance.longest_us,
        )

    # A reservation was missed: the longest that was in its way is blamed. The worst is told: at
    # once, and then with the summaries, because where one is missed, the next may be as well.
    def breached(self, instance):
        kernel = self.kernel
        reservation = instance.reservation
        missing = reservation.missing
        reservation.missing = 0
        age_ms = ticks_diff(kernel.port.ticks_ms(), reservation.began)
        us = kind = by = 0
        if ticks_diff(reservation.dark_ms, reservation.began) >= 0:
            us = reservation.dark_us
            kind = reservation.dark_kind
            by = reservation.dark_by
        written = kernel.port.written_us(age_ms)
        if written > us:
            us = written
            kind = wire.BLACKOUT_FLASH
            by = BOARD
        billing = kernel.billing
        ago = kernel.port.ticks_us() - billing.robbed_at & TICKS_MASK
        if billing.robbed_us > us and ago // 1000 <= age_ms:
            us = billing.robbed_us
            kind = wire.BLACKOUT_STOLEN
            by = BOARD
        worst = reservation.worst
        if worst is None or missing > worst[0]:
            reservation.worst = (missing, us, kind, by)
        if not reservation.quiet:
            self.tell_breach(instance)

    def tell_breach(self, instance):
        telemetry = self.kernel.telemetry
        reservation = instance.reservation
        missing, us, kind, by = reservation.last = reservation.worst
        reservation.worst = None
        reservation.quiet = True
        self.kernel.clock.advance()
        telemetry.put(
            telemetry.state,
            wire.RECORD_BREACH,
            instance.id,
            wire.BODY_BREACH,
            kind,
            by,
            0,
            us,
            missing,
            reservation.breaches,
            reservation.min_us,
            reservation.period_ms * 1000,
        )

    # Whether the owners' sum is the collector's, now and then: it takes as long as a collection.
    # From the first time that it is not, figures are estimates. `now` says that it disturbs nobody.
    def check_heap(self, now):
        kernel = self.kernel
        table = kernel.table
        kernel.clock.advance()
        since = kernel.clock.s - self.checked_s
        if not table.exact or since < (_CHECK_S if now else _CHECK_LATE_S):
            return
        self.checked_s = kernel.clock.s
        self.checks += 1
        right = table.check()
        kernel.telemetry.put(
            kernel.telemetry.summary,
            wire.RECORD_HEAP_CHECK,
            BOARD,
            wire.BODY_HEAP_CHECK,
            self.checks,
            0 if right else 1,
            *table.checked,
            table.counts[kernel.strays] * table.block,
            0,
        )
        if not right:
            self.estimate(table.reason)

    # The frame table is wrong: from here on figures are estimates, and say so.
    def estimate(self, reason):
        stand_in = sys.modules["gc"]
        sys.modules["gc"] = gc  # for the module, not for guests
        try:
            from . import audit
        finally:
            sys.modules["gc"] = stand_in
        audit.take_over(self.kernel, reason)
        text = "frame-table: " + reason
        for index in range(len(self.identity)):
            kind, said = self.identity[index]
            if kind == wire.TEXT_MECHANISM and said.startswith("frame-table:"):
                self.identity[index] = (kind, text)
        self.board_due = True

    # A collection took `us` and freed `blocks`.
    def collected(self, instance, us, blocks):
        kernel = self.kernel
        telemetry = kernel.telemetry
        table = kernel.table
        self.check_heap(False)
        self.collections += 1
        self.live_blocks = table.counts[0]
        if us > self.longest_us:
            self.longest_us = us
        if telemetry.trace:
            telemetry.put(
                telemetry.trace_ring,
                wire.RECORD_BLACKOUT,
                instance.id,
                wire.BODY_BLACKOUT,
                wire.BLACKOUT_COLLECT,
                0,
                0,
                us,
                blocks * table.block,
                table.counts[0] * table.block,
                0,
                0,
            )
