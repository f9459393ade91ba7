# Billing: every stretch of time belongs to somebody.
#
# The kernel calls at each boundary; a stretch is the time since the last one. CPU time is the
# thread's own, wall time beyond it was either given to others by the machine (stolen) or slept
# in a call that blocks (slept), which is billed like CPU time: nobody else could run.

from array import array

from micropython import const

from . import meter
from .clock import TICKS_MASK, Account

_ROBBED_US = const(500)  # stolen at once that may make somebody late


class Billing:
    def __init__(self, port):
        self.port = port
        self.one_clock = not port.CPU_SLEEPS  # it tells wall and CPU time
        self.shared = array("i", [0] * meter.SHARED)
        # With the instances' own accounts these add up to the elapsed time.
        self.agent = Account()
        self.idle = Account()
        self.stolen = Account()
        self.departed = Account()  # of instances that were removed
        # Readings at the last boundary; the wall clock's is shared[NOW].
        self.shared[meter.NOW] = port.ticks_us() & TICKS_MASK
        self.cpu = port.cpu_us()
        # The two clocks are read one after the other, so CPU time may come out a little above
        # wall time. What the accounts are ahead is made up in the next stretches.
        self.skew = 0
        self.robbed_us = 0  # what the machine last took in one go
        self.robbed_at = 0  # ticks_us

    # Ends a stretch; returns its us of CPU time and sets shared[ELAPSED].
    def mark(self):
        shared = self.shared
        wall = self.port.ticks_us() & TICKS_MASK
        elapsed = wall - shared[meter.NOW] & TICKS_MASK
        shared[meter.ELAPSED] = elapsed
        shared[meter.NOW] = wall
        if self.one_clock:
            return elapsed  # the slices in between have moved the boundary and nothing else
        cpu = self.port.cpu_us()
        used = cpu - self.cpu & TICKS_MASK
        self.cpu = cpu
        return used

    # What port.arm() is told of the wall clock: a reading, or where it ends the agent's stretch.
    def wall(self):
        return self.shared if self.one_clock else self.shared[meter.NOW]

    # Ends a stretch of a guest; returns the us it is billed for.
    def guest(self):
        used = self.mark()
        if self.one_clock:
            return used
        gap = self.shared[meter.ELAPSED] - used + self.skew
        if gap <= 0:
            self.skew = gap
            return used
        self.skew = 0
        stolen = self.port.stolen_us(gap)
        self.stolen.add(stolen)
        if stolen >= _ROBBED_US:
            self.robbed_us = stolen
            self.robbed_at = self.shared[meter.NOW]
        return used + gap - stolen

    # Ends a stretch of the agent's own work.
    def work(self):
        shared = self.shared
        self.agent.add(self.guest() + shared[meter.AGENT_US])
        shared[meter.AGENT_US] = 0

    # Divides `us` of a collection by the blocks that each owner has `made` since the last one: who
    # ran when the heap was full need not have filled it. Garbage of the agent's own is the agent's.
    # Returns the instance with most of it, `last` where there is none.
    def divide(self, us, made, instances, last):
        total = 0
        for blocks in made:
            total += blocks
        most = 0
        left = us
        for instance in instances:
            blocks = made[instance.owner]
            if blocks > most:
                most = blocks
                last = instance
            if blocks:
                # in steps, because a product of the two is no small int
                part = us * (blocks * 1000 // total) // 1000
                instance.bill(part)
                left -= part
        self.agent.add(left)
        return last

    # Ends a stretch in which the line took `records`, and divides it: what a guest said is the
    # guest's, what the board says of itself is the agent's. Returns its us.
    def line(self, records, instances):
        us = left = self.guest()
        free = records
        for instance in instances:
            said = instance.meter[meter.SAID]
            if said and free:
                if said > free:
                    said = free
                instance.tells(-said)
                free -= said
                part = us * said // records
                instance.bill(part)
                left -= part
        self.agent.add(left)
        return us

    # Ends a stretch in which the agent slept because nobody could run.
    def rest(self):
        used = self.mark()
        if self.one_clock:
            self.idle.add(used)
            return
        gap = self.shared[meter.ELAPSED] - used + self.skew
        self.skew = min(0, gap)
        self.agent.add(used)
        if gap <= 0:
            return
        stolen = self.port.stolen_us(gap)  # it was due, and waited for a processor
        if stolen < gap:
            self.stolen.add(stolen)
            gap -= stolen
            self.robbed_us = stolen
            self.robbed_at = self.shared[meter.NOW]
        self.idle.add(gap)
