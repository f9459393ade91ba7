"""The board as the telemetry tells it: one object per board, one per instance.

Everything that shows or judges a board (``top``, ``ps``, the monitor, the demo's summary)
reads these objects; nothing else keeps a second copy of that knowledge.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Event:
    """One change of state, or a fault, of an instance.

    ``time_us`` is the board's time since boot. ``where`` is the guest's call chain, innermost
    first (``"hog.py:4 in spin < hog.py:9 in main"``), ``what`` the exception's type and message;
    both are empty when the event has none. ``numbers`` are the record's a to e, see
    wire.REASON_*.

    A reservation that was missed is an event with the reason ``breach`` and no change of state;
    ``what`` says what was in its way (``"collect by hog.0"``), and the numbers are the us missing,
    the us of that blackout, the deadlines missed so far, and the reservation and its period in us.
    """

    time_us: int
    instance: int
    name: str
    old: str
    new: str
    reason: str
    where: str = ""
    what: str = ""
    numbers: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)


@dataclass(slots=True)
class LogLine:
    """One line a guest printed (``error`` False) or the agent said about it (``error`` True)."""

    time_us: int
    instance: int
    name: str
    text: str
    error: bool = False


@dataclass(slots=True)
class InstanceModel:
    """What is known of one instance. Times in us, sizes in bytes, None where not set."""

    id: int
    name: str = ""  # "sampler.0"
    image: str = ""  # "sampler"
    index: int = 0
    state: str = "loading"
    reason: str = "none"
    criticality: int = 5
    confined: bool = False
    autostart: bool = False
    on_overrun: str = "kill"
    restart: str = "on-failure"
    digest: str = ""
    cpu_max_us: int | None = None
    cpu_max_period_us: int = 100_000
    cpu_min_us: int | None = None
    cpu_min_period_us: int | None = None
    slice_max_us: int | None = None
    weight: int = 100
    mem_min: int | None = None
    mem_high: int | None = None
    mem_max: int | None = None
    storage_max: int | None = None
    cpu_us: int = 0
    cpu_share: float = 0.0  # of one CPU, over the last summary period
    throttled_us: int = 0
    slices: int = 0
    pressure: float = 0.0  # 0 to 1, over the last summary period
    pressure_10s: float | None = None  # over the last 10 s, or as many as are known
    pressure_60s: float | None = None
    # Wake-ups since it was made that waited below 2**7 us, 2**8 us, ... and longer.
    wakeups: tuple[int, ...] = (0,) * 12
    breaches: int = 0  # deadlines of its reservation that were missed
    mem_live: int = 0
    mem_peak: int = 0
    mem_exact: bool = False
    mem_above_high: bool = False
    garbage: int = 0
    overruns: int = 0
    kills: int = 0
    restarts: int = 0
    failures: int = 0
    log_dropped: int = 0
    longest_slice_us: int = 0
    last_where: str = ""
    last_what: str = ""
    last_fault: str = ""  # the reason of the last overrun, kill or crash: survives the restart
    metrics: dict[str, int] = field(default_factory=dict)

    def wakeup_below_us(self, percent: int) -> int | None:
        """What ``percent`` of the wake-ups waited less than, to a power of two.

        None where it has not woken yet, or where they waited longer than is told apart.
        """
        left = sum(self.wakeups) * percent / 100
        for place, count in enumerate(self.wakeups[:-1]):
            left -= count
            if left <= 0 and any(self.wakeups):
                return int(128 << place)
        return None

    @property
    def cpu_max(self) -> float | None:
        """The limit as a fraction of one CPU, None where there is none."""
        return None if self.cpu_max_us is None else self.cpu_max_us / self.cpu_max_period_us

    @property
    def cpu_min(self) -> float | None:
        """The reservation as a fraction of one CPU, None where there is none."""
        if self.cpu_min_us is None or not self.cpu_min_period_us:
            return None
        return self.cpu_min_us / self.cpu_min_period_us


@dataclass(slots=True)
class BoardModel:
    """A board and its instances, kept up to date by feeding it records in their order."""

    board: str = ""
    firmware: str = ""
    agent: str = ""
    boot_id: int | None = None
    heap_bytes: int = 0
    heap_used: int = 0
    agent_bytes: int = 0
    heap_largest_free: int = 0
    collections: int = 0
    longest_collection_us: int = 0
    # Of the last check of the owners' sum against the collector's, None where none was told yet:
    heap_checks: int | None = None  # how many there were since the boot
    heap_strays: int | None = None  # bytes that guests have left behind for ever
    elapsed_us: int = 0
    agent_us: int = 0
    guests_us: int = 0
    idle_us: int = 0
    steal_us: int = 0
    telemetry_us: int = 0
    max_guests: int = 0
    cpu_capacity: float | None = None  # of one CPU: the part that can be reserved
    oversubscription_cpu: float | None = None  # what the limits may add up to, of one CPU
    oversubscription_ram: float | None = None  # the same for memory, of the heap for guests
    reset_cause: str = ""  # why it started: "watchdog"
    unclean_boots: int = 0  # in a row, before this one
    trace: bool = False
    announcements: int = 0  # how often it has said what it is since this boot
    announced_at: int = 0  # summaries seen before the last time
    summaries: int = 0  # complete summaries seen since this boot
    mechanisms: dict[str, str] = field(default_factory=dict)  # name -> "ok" or why not
    instances: dict[int, InstanceModel] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)  # bounded, newest last
    logs: list[LogLine] = field(default_factory=list)  # bounded, newest last
    dropped: dict[str, int] = field(default_factory=dict)  # by class, on the board since boot
    missed: int = 0  # records lost on the line, exact at the last good batch

    @property
    def announced(self) -> bool:
        """Whether every instance of which something was told has told its name."""
        return not any(guest.name.startswith("#") for guest in self.instances.values())

    @property
    def cpu_reserved(self) -> float:
        """The sum of the reservations, as a fraction of one CPU."""
        return sum(guest.cpu_min or 0.0 for guest in self.instances.values())

    @property
    def cpu_limits(self) -> float:
        """The sum of the limits that are set, as a fraction of one CPU."""
        return sum(guest.cpu_max or 0.0 for guest in self.instances.values())

    @property
    def unaccounted_us(self) -> int:
        """Time that no account holds: elapsed less agent, guests, idle and stolen time."""
        return self.elapsed_us - self.agent_us - self.guests_us - self.idle_us - self.steal_us
