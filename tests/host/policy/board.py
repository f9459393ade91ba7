"""A board in virtual time: the agent's kernel with guests that are lists of steps.

Nothing passes time but ``pass_us``: a guest's steps, and what the agent is told to cost. Every
slice is written down, and what must hold at each is checked there and then.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from guesthouse.core import admission
from tests.host.policy.firmware import Time, agent, core, ticks_diff, ticks_ms, ticks_us

wire = agent("wire")
meter = agent("meter")
loop = agent("loop")
kernel_module = agent("kernel")
MASK = (1 << 30) - 1


class Preempted(BaseException):
    """What the port raises in a guest that overruns."""


@dataclass(frozen=True, slots=True)
class Step:
    """One slice: how long it takes, and the sleep after it in ms (0: none)."""

    us: int
    sleep_ms: int = 0


@dataclass(frozen=True, slots=True)
class Costs:
    """What the agent takes, in us."""

    slice_us: int = 2  # before each slice
    service_us: int = 60  # every 10 ms
    summary_us: int = 200  # once a second
    end_us: int = 200
    kill_us: int = 400  # until an overrun is stopped, at most
    suspend_us: int = 100  # until one is set aside
    collect_us: int = 0  # after the end of a guest: a blackout

    def figures(self) -> dict[str, int]:
        """What admission is told: a section is all of it in one go."""
        section = 4 * self.slice_us + 2 * self.service_us + self.summary_us + self.end_us
        return {"kill_us": self.kill_us, "section_us": section, "section_guest_us": 0}


SPEC: dict[str, Any] = {
    "version": "1",
    "entry": "async",
    "autostart": True,
    "criticality": 5,
    "trust": "own",
    "cpu_max_us": None,
    "cpu_period_us": 100_000,
    "cpu_min_us": None,
    "cpu_min_period_us": None,
    "weight": 100,
    "slice_max_us": 1_000,
    "on_overrun": "kill",
    "mem_min": None,
    "mem_high": None,
    "mem_max": None,
    "storage_max": None,
    "restart": "never",
    "backoff_min_s": 1,
    "backoff_max_s": 60,
    "load_max_us": None,
}


@dataclass(slots=True)
class Slice:
    start: int
    end: int
    reserved: bool  # served from the reservation
    load: bool


@dataclass(slots=True)
class Burst:
    """From when a guest had work to when it had none."""

    start: int
    end: int
    used: int
    excused: bool


@dataclass(frozen=True, slots=True)
class Breach:
    """A missed deadline, as the agent found it."""

    name: str
    missing_us: int
    kind: int
    length_us: int
    excused: bool


@dataclass
class Guest:
    spec: dict[str, Any]
    steps: list[Step]
    load_us: int
    instance: Any = None
    slices: list[Slice] = field(default_factory=list)
    bursts: list[Burst] = field(default_factory=list)
    wakeups: list[tuple[int, bool]] = field(default_factory=list)  # us waited, excused
    kept: int | None = None  # the deadline before which it woke with a part of a budget

    @property
    def used(self) -> int:
        return sum(one.end - one.start for one in self.slices)

    @property
    def keeps(self) -> bool:
        """Its budget is what it had left when it woke."""
        return bool(self.kept == self.instance.reservation.deadline)


class Program:
    """A task of a guest: its steps over and over."""

    def __init__(self, board: Board, guest: Guest) -> None:
        self.board = board
        self.guest = guest
        self.at = 0
        self.woke = Time.us
        self.fresh = False
        self.used = 0

    def send(self, _: None) -> None:
        try:
            self.step()
        except Exception as error:
            self.board.fault = error  # the kernel takes it for the guest's
            raise

    def step(self) -> None:
        step = self.guest.steps[self.at % len(self.guest.steps)]
        self.at += 1
        took = self.board.slice(self.guest, step.us, self)
        self.used += took
        loop.sleep_ms(step.sleep_ms)
        task = core.cur_task
        core._task_queue.push(task)
        task.data = loop.nap
        if step.sleep_ms:
            excused = self.board.excused(self.woke)
            self.guest.bursts.append(Burst(self.woke, Time.us, self.used, excused))
            self.woke = (Time.us // 1000 + step.sleep_ms) * 1000
            self.fresh = True
            self.used = 0

    def throw(self, error: BaseException) -> None:
        raise error


class Loader:
    """What the agent's loader is to the kernel: one step, whose value is the main coroutine."""

    def __init__(self, board: Board, guest: Guest) -> None:
        self.board = board
        self.guest = guest

    def send(self, _: None) -> None:
        board, guest = self.board, self.guest
        if guest.load_us > guest.spec["slice_max_us"] or guest.spec["cpu_min_us"]:
            board.blackouts.append(Time.us + guest.load_us)  # nobody's promise counts with it
        board.slice(guest, guest.load_us, None)
        for _more in range(guest.spec["tasks"] - 1):
            core._task_queue.push(loop.new_task(Program(board, guest)))
        raise StopIteration(Program(board, guest))

    def throw(self, error: BaseException) -> None:
        raise error


class Port:
    CPU_SLEEPS = False
    LOAD_MAX_US = 1_000_000
    LOG_TAIL = 64
    HEAP_RESERVE = 1_600
    HEAP_SLACK = 0
    ASK_US = 2_000
    NESTED_STACK = COMMAND_STACK = 0
    SUSPENDABLE = 1 << 29

    def __init__(self, board: Board) -> None:
        self.board = board
        self.ticks_ms = ticks_ms
        self.ticks_us = self.cpu_us = ticks_us
        self.limit = 0
        self.suspends = False
        self.hits = 0
        self.renew()

    def arm(self, limit: int, shared: Any, cpu: int, tag: int) -> None:
        Time.us += self.board.costs.slice_us
        now = ticks_us()
        shared[meter.AGENT_US] += (now - shared[meter.NOW]) & MASK
        shared[meter.NOW] = now
        self.suspends = limit >= self.SUSPENDABLE
        self.limit = limit % self.SUSPENDABLE

    def disarm(self) -> int:
        return self.hits

    def delivered(self) -> int:
        return self.hits

    def exception(self) -> BaseException:
        return self.error

    def renew(self) -> None:
        self.error = Preempted()
        self.hits = 0

    def suspend_by(self, overrun: Callable[[], int], most: int) -> None:
        self.overrun = overrun

    def too_deep(self) -> bool:
        return False

    def wait(self, ms: int) -> None:
        self.board.idle(ms)

    def written_us(self, ms: int) -> int:
        return 0

    def quiet(self) -> None: ...

    def feed(self) -> None: ...

    def keep(self, index: int, word: int) -> None: ...

    def recall(self, index: int) -> int:
        return 0


class Table:
    """The frame table of a heap in which nothing is ever allocated."""

    exact = True
    block = 16
    total = 100_000
    free_blocks = 100_000

    def __init__(self, board: Board) -> None:
        self.board = board
        self.counts = array("i", [0] * 64)

    def sync(self, owner: int) -> None: ...

    def keep_back(self, reserve: int, slack: int) -> None: ...

    def cap(self, words: Any) -> None: ...

    def uncap(self) -> None: ...

    def forget(self, owner: int, heir: int = 1) -> int:
        return 0

    def collect(self, owner: int) -> None:
        if self.board.costs.collect_us:
            self.board.blackout(self.board.costs.collect_us)


class Board:
    def __init__(
        self, start_us: int = 0, costs: Costs | None = None, summary_ms: int = 1_000
    ) -> None:
        Time.us = start_us
        self.summary_ms = summary_ms
        self.costs = costs or Costs()
        self.guests: list[Guest] = []
        # Every promised budget that came late, and by how many us. One that was kept is none.
        self.late: list[tuple[str, int]] = []
        self.misses: list[tuple[str, int]] = []  # those that no promise excuses
        self.blackouts: list[int] = []  # when they ended
        self.kills: list[int] = []
        self.suspensions = 0
        self.breaches: list[Breach] = []
        self.calm = start_us  # when no reservation waited for the last time
        self.idle_us = 0
        self.fault: Exception | None = None
        agent("loader").load = self.load
        self.kernel = kernel = kernel_module.Kernel(
            Port(self), agent("clock").Clock(ticks_us), Table(self), self, self, [None]
        )
        kernel.capacity = 32
        kernel.link = SimpleNamespace(receive=self.serve, send=lambda: None)
        kernel.summary = self
        self.next = ticks_ms()
        self.live_blocks = 0

    # --- what the kernel talks to: telemetry, hooks, line and summary in one ---

    trace = pending = False
    root = ""

    def waiting(self) -> bool:
        return False

    def transition(self, *said: Any) -> None: ...

    def line(self, *said: Any) -> None: ...

    def tell_instance(self, instance: Any) -> None: ...

    def collected(self, *said: Any) -> None: ...

    def check_heap(self, now: bool) -> None: ...

    def gone(self, instance: Any) -> None: ...

    def breached(self, instance: Any) -> None:
        """As the summary has it, but for the telling."""
        reservation = instance.reservation
        dark = ticks_diff(reservation.dark_ms, reservation.began) >= 0
        self.breaches.append(
            Breach(
                instance.name,
                reservation.missing,
                reservation.dark_kind if dark else 0,
                reservation.dark_us if dark else 0,
                self.excused(Time.us - ticks_diff(ticks_ms(), reservation.began) * 1000),
            )
        )
        reservation.missing = 0

    def close_files(self, instance: Any) -> None:
        Time.us += self.costs.end_us

    def serve(self) -> None:
        Time.us += self.costs.service_us

    def due_ms(self) -> int:
        return ticks_diff(self.next, ticks_ms())

    def tend(self) -> None:
        if self.due_ms() <= 0:
            self.next = (ticks_ms() + self.summary_ms) & MASK
            Time.us += self.costs.summary_us
            self.kernel.schedule.tend(ticks_ms())
            for guest in self.guests:
                guest.instance.meter[meter.WAITED] = 0

    # --- guests ---

    def add(self, steps: list[Step], tasks: int = 1, load_us: int = 100, **spec: Any) -> Guest:
        name = f"g{len(self.guests)}"
        guest = Guest({**SPEC, "name": name, **spec}, steps, load_us)
        guest.spec["tasks"] = tasks
        image = SimpleNamespace(name=name, spec=guest.spec, folder="/" + name)
        self.guests.append(guest)
        guest.instance = self.kernel.lifecycle.create(image)
        guest.instance.guest = guest
        self.watch(guest)
        self.kernel.lifecycle.start(guest.instance, wire.REASON_START)
        return guest

    def watch(self, guest: Guest) -> None:
        """Notes which deadlines a guest keeps that wakes in the middle of a period."""
        reservation = guest.instance.reservation
        eligible = reservation.eligible

        def told(now: int, used: int = 0, woke: int | None = None) -> bool:
            idle, before = reservation.idle, reservation.deadline
            served: bool = eligible(now, used, woke)
            if idle and reservation.deadline == before:
                guest.kept = before
            return served

        reservation.eligible = told

    def load(self, instance: Any) -> Loader:
        return Loader(self, instance.guest)

    def run(self, us: int) -> None:
        end = Time.us + us
        while Time.us < end:
            self.kernel.step(1000)
            if self.fault:
                raise self.fault
            assert not any(guest.instance.failures for guest in self.guests)

    # --- time ---

    def blackout(self, us: int) -> None:
        """Nothing runs, whatever was promised."""
        Time.us += us
        self.blackouts.append(Time.us)
        self.kernel.schedule.blackout(wire.BLACKOUT_FLASH, us, wire.AGENT)

    def excused(self, since: int) -> bool:
        """Whether more happened than a promise counts with, while reservations waited."""
        since = min(since, self.calm)
        kills = sum(1 for at in self.kills if at >= since)
        return kills > 1 or any(at >= since for at in self.blackouts)

    def slice(self, guest: Guest, us: int, program: Program | None) -> int:
        """Runs a guest for ``us``, set aside in between if it wants, or until it is stopped."""
        port = self.kernel.port
        took = 0
        while port.suspends and us - took > port.limit + self.costs.suspend_us:
            took += self.part(guest, port.limit + self.costs.suspend_us, program, False)
            port.suspends = False
            if port.overrun() != 1:
                break
            self.suspensions += 1
        us -= took
        stopped = us > port.limit and not port.suspends  # else it is done before it is set aside
        return took + self.part(guest, us, program, stopped)

    def part(self, guest: Guest, us: int, program: Program | None, stopped: bool) -> int:
        instance = guest.instance
        start = Time.us
        left = instance.meter[meter._MIN_LEFT]
        reserved = program is not None and left > 0
        if program is not None and not reserved and not instance.condemned:
            assert self.kernel.schedule.reserved.peek() is None, "somebody's reservation waits"
            self.calm = start
        self.look(start)
        port = self.kernel.port
        if stopped:
            us = port.limit + self.costs.kill_us
            port.hits = 1
            self.kills.append(start + us)
        Time.us += us
        guest.slices.append(Slice(start, Time.us, reserved, program is None))
        if program is not None and program.fresh:
            program.fresh = False
            if reserved and guest.spec["tasks"] == 1:
                # since it woke, or had budget again
                deadline = ticks_diff(instance.reservation.deadline, ticks_ms())
                began = (Time.us // 1000 + deadline - instance.reservation.period_ms) * 1000
                woke = max(program.woke, began)
                guest.wakeups.append((start - woke, self.excused(woke)))
        if reserved:
            # what of the budget comes after the deadline
            over = -ticks_diff(instance.reservation.deadline, start // 1000 % (MASK + 1)) * 1000
            late = min(us, left) + start % 1000 + over
            if late > self.grace(guest):
                self.came_late(guest, late, start)
        if stopped:
            raise port.error
        return us

    def look(self, now: int) -> None:
        """Nobody whose deadline is over still waits with budget left."""
        for task in self.kernel.schedule.reserved.tasks():
            instance = task.coro
            late = 1000 * ticks_diff(ticks_ms(), instance.reservation.deadline)
            if instance.condemned or late <= self.grace(instance.guest):
                continue
            self.came_late(instance.guest, late, now)

    def came_late(self, guest: Guest, us: int, since: int) -> None:
        """By more than it may."""
        if not guest.keeps:
            self.late.append((guest.instance.name, us))
        if not self.excused(since):
            self.misses.append((guest.instance.name, us))

    def grace(self, guest: Guest) -> int:
        """How late a budget may come, in us: by B where less than a period was left for it."""
        if not guest.keeps:
            return 0
        specs = [one.spec for one in self.guests]
        longest: int = admission.blocking(guest.spec, specs, self.costs.figures())[0]
        return longest

    def idle(self, ms: int) -> None:
        """The agent sleeps: nobody can run, nor before it wakes."""
        assert ms > 0
        now = ticks_ms()
        end = (now + ms) & MASK
        for guest in self.guests:
            instance = guest.instance
            if instance.queue is None:
                continue
            first = instance.queue.peek()
            if ticks_diff(first.ph_key, end) >= 0:
                continue
            limit = instance.limit
            assert instance.state == wire.STATE_THROTTLED, f"{instance.name} could run"
            assert limit.max_us >= 0
            assert limit.left < limit.enough, f"{instance.name} has enough to run"
            assert instance.reservation.left <= 0, f"{instance.name} has a budget"
        self.calm = Time.us
        before = Time.us
        Time.us = (Time.us // 1000 + ms) * 1000
        self.idle_us += Time.us - before
