"""The board and its guests as JSON objects; the names are a contract (docs, "JSON")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from guesthouse.core.model import BoardModel, Event, InstanceModel, LogLine


def guest_data(guest: InstanceModel) -> dict[str, Any]:
    """A guest: shares as fractions of one CPU, sizes in bytes, times in us, null: not set."""
    return {
        "name": guest.name,
        "id": guest.id,
        "image": guest.image,
        "digest": guest.digest,
        "state": guest.state,
        "reason": guest.reason,
        "criticality": guest.criticality,
        "trust": "confined" if guest.confined else "own",
        "autostart": guest.autostart,
        "restart": guest.restart,
        "on_overrun": guest.on_overrun,
        "cpu_share": round(guest.cpu_share, 6),
        "cpu_us": guest.cpu_us,
        "cpu_max": guest.cpu_max,
        "cpu_min": guest.cpu_min,
        "cpu_period_us": guest.cpu_max_period_us,
        "slice_max_us": guest.slice_max_us,
        "weight": guest.weight,
        "slices": guest.slices,
        "longest_slice_us": guest.longest_slice_us,
        "throttled_us": guest.throttled_us,
        "pressure": guest.pressure,
        "pressure_10s": _share(guest.pressure_10s),
        "pressure_60s": _share(guest.pressure_60s),
        "wakeups": list(guest.wakeups),
        "breaches": guest.breaches,
        "mem_live": guest.mem_live,
        "mem_peak": guest.mem_peak,
        "mem_max": guest.mem_max,
        "mem_min": guest.mem_min,
        "mem_high": guest.mem_high,
        "mem_above_high": guest.mem_above_high,
        "mem_exact": guest.mem_exact,
        "storage_max": guest.storage_max,
        "overruns": guest.overruns,
        "kills": guest.kills,
        "restarts": guest.restarts,
        "failures": guest.failures,
        "log_dropped": guest.log_dropped,
        "last_reason": guest.last_fault,
        "last_where": guest.last_where,
        "last_what": guest.last_what,
        "metrics": dict(guest.metrics),
    }


def _share(share: float | None) -> float | None:
    return None if share is None else round(share, 4)


def board_data(model: BoardModel) -> dict[str, Any]:
    """The board with its capacity, its account of the time, and all guests, by their ids."""
    return {
        "board": model.board,
        "firmware": model.firmware,
        "agent": model.agent,
        "boot_id": model.boot_id,
        "elapsed_us": model.elapsed_us,
        "agent_us": model.agent_us,
        "guests_us": model.guests_us,
        "idle_us": model.idle_us,
        "steal_us": model.steal_us,
        "unaccounted_us": model.unaccounted_us,
        "telemetry_us": model.telemetry_us,
        "cpu_capacity": model.cpu_capacity,
        "cpu_reserved": round(model.cpu_reserved, 6),
        "cpu_limits": round(model.cpu_limits, 6),
        "oversubscription_cpu": model.oversubscription_cpu,
        "oversubscription_ram": model.oversubscription_ram,
        "heap_bytes": model.heap_bytes,
        "heap_used": model.heap_used,
        "agent_bytes": model.agent_bytes,
        "heap_largest_free": model.heap_largest_free,
        "collections": model.collections,
        "longest_collection_us": model.longest_collection_us,
        "heap_checks": model.heap_checks,
        "heap_strays": model.heap_strays,
        "max_guests": model.max_guests,
        "reset_cause": model.reset_cause,
        "unclean_boots": model.unclean_boots,
        "mechanisms": dict(model.mechanisms),
        "dropped": dict(model.dropped),
        "missed": model.missed,
        "guests": guests_data(model),
    }


def guests_data(model: BoardModel) -> list[dict[str, Any]]:
    """All guests, by their ids."""
    return [guest_data(model.instances[id]) for id in sorted(model.instances)]


def line_data(line: LogLine) -> dict[str, Any]:
    """A line of a guest's log."""
    return {"time_us": line.time_us, "name": line.name, "text": line.text, "error": line.error}


def event_data(event: Event) -> dict[str, Any]:
    """A change of state."""
    return {
        "time_us": event.time_us,
        "name": event.name,
        "old": event.old,
        "new": event.new,
        "reason": event.reason,
        "where": event.where,
        "what": event.what,
    }
