"""What each record changes in the model. Nothing here knows of frames, batches or the host."""

from __future__ import annotations

from guesthouse.core import records as r
from guesthouse.core import wire
from guesthouse.core.model import BoardModel, Event, InstanceModel
from guesthouse.core.names import FAULTS, SUSPENDED, reset_name
from guesthouse.core.pressure import WINDOWS_S, Waits
from guesthouse.core.texts import Text

BREACH = "breach"  # the reason of an event that tells of a missed reservation

# Summaries are a second apart, but an announcement may repeat a record between two of them; a
# share of the CPU over a few milliseconds would be noise.
SHARE_SPAN_US = 200_000


def _is_fault(event: Event) -> bool:
    """Whether the guest was stopped or fell; one that is suspended for an overrun goes on."""
    return event.reason in FAULTS and event.new != SUSPENDED


class Applier:
    """Call it with each record of a boot and its time. One Applier lives as long as the boot."""

    def __init__(self, model: BoardModel) -> None:
        self._model = model
        # A removed guest's last lines may still come after its removal: names outlive models.
        self._names: dict[int, str] = {wire.BOARD: "board", wire.AGENT: "agent"}
        self._cpu_base: dict[int, tuple[int, int]] = {}
        self._state_at: dict[int, int] = {}
        self._gone: dict[int, int] = {}  # removed guests and when
        self._waits: dict[int, Waits] = {}

    def name(self, instance: int) -> str:
        """The instance's name, ``#7`` while no INSTANCE record has told it."""
        return self._names.get(instance, f"#{instance}")

    def state(self, event: Event) -> None:
        """A STATE record, as the event that tells of it."""
        self._set_state(event.instance, event.new, event.reason, event.time_us)
        self.fault(event)

    def fault(self, event: Event) -> None:
        """Remember an event as its guest's last fault, if it is one; again when its texts come."""
        guest = self._model.instances.get(event.instance)
        if guest is not None and _is_fault(event):
            guest.last_fault = event.reason
            guest.last_where = event.where
            guest.last_what = event.what

    def breach(self, record: r.Breach, time_us: int) -> Event:
        """A missed reservation, as the event that tells of it."""
        guest = self._guest(record.instance)
        if guest is not None:
            guest.breaches = record.count
        state = guest.state if guest is not None else ""
        by = f" by {self.name(record.by)}" if record.by >= wire.FIRST_GUEST else ""
        return Event(
            time_us,
            record.instance,
            self.name(record.instance),
            state,
            state,
            BREACH,
            what="" if record.cause == "none" else f"{record.cause}{by}",
            numbers=(
                record.missing_us,
                record.length_us,
                record.count,
                record.min_us,
                record.min_period_us,
            ),
        )

    def text(self, text: Text) -> None:
        """A text that is a property of the board or of an image."""
        model = self._model
        if text.kind == wire.TEXT_BOARD:
            model.board = text.text
        elif text.kind == wire.TEXT_FIRMWARE:
            model.firmware = text.text
        elif text.kind == wire.TEXT_AGENT:
            model.agent = text.text
        elif text.kind == wire.TEXT_MECHANISM:
            mechanism, _, verdict = text.text.partition(":")
            model.mechanisms[mechanism.strip()] = verdict.strip()
        elif text.kind == wire.TEXT_VERSION:
            guest = self._guest(text.instance)
            digest = text.text.rpartition(" ")[2]
            if guest is not None and guest.digest and digest.startswith(guest.digest):
                guest.digest = digest
        elif text.kind in (wire.TEXT_WHERE, wire.TEXT_WHAT):
            self._last_fault(text)

    def _last_fault(self, text: Text) -> None:
        """Where a guest's last fault was, told to a host that has attached since."""
        guest = self._guest(text.instance)
        if guest is None:
            return
        if text.kind == wire.TEXT_WHERE:
            guest.last_where = text.text
        else:
            guest.last_what = text.text

    def __call__(self, record: r.Record, time_us: int) -> None:
        """Any other record. Slices, blackouts, the link and unknown types change no model."""
        match record:
            case r.Instance():
                self._instance(record, time_us)
            case r.Boot():
                self._model.announcements += 1
                self._model.announced_at = self._model.summaries
                self._model.heap_bytes = record.heap_bytes
                self._model.max_guests = record.max_guests
                self._model.cpu_capacity = record.cpu_capacity_ppm / 1e6
                self._model.oversubscription_cpu = record.oversubscription_cpu_ppm / 1e6
                self._model.oversubscription_ram = record.oversubscription_ram_ppm / 1e6
                self._model.reset_cause = reset_name(record.reset_cause)
                self._model.unclean_boots = record.unclean_boots
            case r.Heap() | r.Time() | r.TimeMore() | r.HeapCheck():
                self._board(record)
            case (
                r.CpuQuota()
                | r.MemQuota()
                | r.Cpu()
                | r.Mem()
                | r.Counts()
                | r.Metric()
                | r.Wakeups()
            ):
                guest = self._guest(record.instance)
                if guest is not None:
                    self._of_guest(guest, record, time_us)

    def _guest(self, instance: int) -> InstanceModel | None:
        """The guest, new where it was not known; None for the board, the agent, a removed one."""
        if instance < wire.FIRST_GUEST or instance in self._gone:
            return None
        guest = self._model.instances.get(instance)
        if guest is None:
            guest = InstanceModel(instance, name=self.name(instance))
            self._model.instances[instance] = guest
        return guest

    def _set_state(self, instance: int, state: str, reason: str, time_us: int) -> None:
        # State changes overtake summaries on their way: an older record must not undo a newer.
        guest = self._guest(instance)
        if guest is not None and time_us >= self._state_at.get(instance, 0):
            self._state_at[instance] = time_us
            guest.state, guest.reason = state, reason

    def _instance(self, record: r.Instance, time_us: int) -> None:
        instance = record.instance
        if instance < wire.FIRST_GUEST or time_us < self._gone.get(instance, 0):
            return
        if record.gone or self._names.get(instance, record.name) != record.name:
            self._model.instances.pop(instance, None)
            self._cpu_base.pop(instance, None)
            self._state_at.pop(instance, None)
            self._waits.pop(instance, None)
        self._names[instance] = record.name
        if record.gone:
            self._gone[instance] = time_us
            return
        self._gone.pop(instance, None)
        guest = self._guest(instance)
        assert guest is not None  # it is a guest's number, and not gone
        guest.name = record.name
        guest.image = record.image
        guest.index = record.index
        guest.criticality = record.criticality
        guest.restart = record.restart
        guest.autostart = bool(record.flags & wire.INSTANCE_AUTOSTART)
        guest.confined = bool(record.flags & wire.INSTANCE_CONFINED)
        guest.on_overrun = "suspend" if record.flags & wire.INSTANCE_SUSPEND else "kill"
        if not guest.digest.startswith(record.digest):
            guest.digest = record.digest
        if record.fault in FAULTS:
            guest.last_fault = record.fault
        if guest.state != record.state:
            self._set_state(instance, record.state, "none", time_us)

    def _board(self, record: r.Heap | r.Time | r.TimeMore | r.HeapCheck) -> None:
        model = self._model
        match record:
            case r.Heap():
                model.heap_bytes = record.pool
                model.heap_used = record.used
                model.agent_bytes = record.agent
                model.heap_largest_free = record.largest_free
                model.collections = record.collections
                model.longest_collection_us = record.longest_collection_us
            case r.HeapCheck():
                model.heap_checks = record.checks
                model.heap_strays = record.strays
            case r.Time():
                model.agent_us = record.agent_us
                model.idle_us = record.idle_us
                model.steal_us = record.steal_us
            case r.TimeMore():
                model.elapsed_us = record.elapsed_us
                model.guests_us = record.guests_us
                model.telemetry_us = record.telemetry_us
                model.summaries += 1  # the agent sends it last

    def _of_guest(
        self,
        guest: InstanceModel,
        record: r.CpuQuota | r.MemQuota | r.Cpu | r.Mem | r.Counts | r.Metric | r.Wakeups,
        time_us: int,
    ) -> None:
        match record:
            case r.CpuQuota():
                guest.cpu_max_us = record.max_us
                guest.cpu_max_period_us = record.max_period_us
                guest.cpu_min_us = record.min_us
                guest.cpu_min_period_us = None if record.min_us is None else record.min_period_us
                guest.slice_max_us = record.slice_max_us
                guest.weight = record.weight
                guest.breaches = max(guest.breaches, record.breaches)
            case r.MemQuota():
                guest.mem_min = record.mem_min
                guest.mem_high = record.mem_high
                guest.mem_max = record.mem_max
                guest.storage_max = record.storage_max
            case r.Cpu():
                self._cpu(guest, record, time_us)
            case r.Mem():
                guest.mem_live = record.live
                guest.mem_peak = record.peak
                guest.mem_max = record.max
                guest.mem_exact = record.exact
                guest.mem_above_high = record.high
                guest.garbage = record.garbage
                waits = self._waits.setdefault(guest.id, Waits())
                waits.add(time_us, record.waited_ms)
                guest.pressure_10s, guest.pressure_60s = map(waits.pressure, WINDOWS_S)
            case r.Counts():
                guest.overruns = record.overruns
                guest.kills = record.kills
                guest.restarts = record.restarts
                guest.failures = record.failures
                guest.log_dropped = record.log_dropped
                guest.longest_slice_us = record.longest_slice_us
            case r.Wakeups():
                guest.wakeups = tuple(
                    total + (count - total) % 0x10000
                    for total, count in zip(guest.wakeups, record.counts, strict=True)
                )
            case r.Metric():
                guest.metrics[record.name] = record.value

    def _cpu(self, guest: InstanceModel, record: r.Cpu, time_us: int) -> None:
        since_us, base_us = self._cpu_base.get(guest.id, (time_us, record.cpu_us))
        span_us = time_us - since_us
        if record.cpu_us < base_us or span_us < 0:
            self._cpu_base[guest.id] = (time_us, record.cpu_us)
        elif span_us >= SHARE_SPAN_US:
            guest.cpu_share = (record.cpu_us - base_us) / span_us
            self._cpu_base[guest.id] = (time_us, record.cpu_us)
        else:
            self._cpu_base.setdefault(guest.id, (time_us, record.cpu_us))
        guest.cpu_us = record.cpu_us
        guest.throttled_us = record.throttled_us
        guest.slices = record.slices
        guest.pressure = record.pressure
        self._set_state(guest.id, record.state, record.reason, time_us)
