# Billing: every stretch of time belongs to somebody.
#
# The kernel calls at each boundary; a stretch is the time since the last one. CPU time is the
# thread's own, wall time beyond it was either given to others by the machine (stolen) or slept
# in a call that blocks (slept), which is billed like CPU time: nobody else could run.

from .clock import TICKS_MASK, Account


class Billing:
    def __init__(self, port):
        self.port = port
        # With the instances' own accounts these add up to the elapsed time.
        self.agent = Account()
        self.idle = Account()
        self.stolen = Account()
        self.departed = Account()  # of instances that were removed
        self.wall = port.ticks_us() & TICKS_MASK  # readings at the last boundary
        self.cpu = port.cpu_us()
        self.elapsed = 0  # wall time of the last stretch
        # The two clocks are read one after the other, so CPU time may come out a little above
        # wall time. What the accounts are ahead is made up in the next stretches.
        self.skew = 0

    # Ends a stretch; returns its us of CPU time and sets `elapsed`.
    def mark(self):
        wall = self.port.ticks_us() & TICKS_MASK
        cpu = self.port.cpu_us()
        self.elapsed = wall - self.wall & TICKS_MASK
        used = cpu - self.cpu & TICKS_MASK
        self.wall = wall
        self.cpu = cpu
        return used

    # Ends a stretch of a guest; returns the us it is billed for.
    def guest(self):
        used = self.mark()
        gap = self.elapsed - used + self.skew
        if gap <= 0:
            self.skew = gap
            return used
        self.skew = 0
        stolen = self.port.stolen_us(gap)
        self.stolen.add(stolen)
        return used + gap - stolen

    # Ends a stretch of the agent's own work.
    def work(self):
        self.agent.add(self.guest())

    # Ends a stretch in which the agent slept because nobody could run.
    def rest(self):
        used = self.mark()
        if not self.port.CPU_SLEEPS:
            self.idle.add(used)
            return
        gap = self.elapsed - used + self.skew
        self.skew = min(0, gap)
        self.agent.add(used)
        if gap <= 0:
            return
        stolen = self.port.stolen_us(gap)  # it was due, and waited for a processor
        if stolen < gap:
            self.stolen.add(stolen)
            gap -= stolen
        self.idle.add(gap)
