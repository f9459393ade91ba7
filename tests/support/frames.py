"""What an agent would send, built from the wire module alone: records, batches, whole sessions.

Written apart from the decoders on purpose: nothing here imports what it is used to check.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from zlib import crc32

from guesthouse.core import wire

Record = bytes


def frame(kind: int, payload: bytes, version: int = wire.VERSION) -> bytes:
    size = len(payload)
    checked = struct.pack("<BBHH", kind, version, size, ~size & 0xFFFF) + payload
    return wire.MAGIC + checked + struct.pack("<I", crc32(checked))


def record(kind: int, instance: int, time_us: int, body: str, *values: object) -> Record:
    second, us = divmod(time_us, 1_000_000)
    head = struct.pack(wire.RECORD_HEADER, kind, instance, second & 0xFFFF, us)
    packed = head + struct.pack(body, *values)
    assert len(packed) == wire.RECORD_SIZE
    return packed


def pair(us: int) -> tuple[int, int]:
    """A time as the wire has it: seconds and microseconds."""
    return divmod(us, 1_000_000)


def instance(
    id: int,
    time_us: int,
    name: str = "sampler",
    index: int = 0,
    state: int = wire.STATE_READY,
    flags: int = wire.INSTANCE_AUTOSTART,
    criticality: int = 5,
    restart: int = wire.RESTART_ON_FAILURE,
    digest: bytes = b"\x12\x34\x56\x78",
    fault: int = wire.REASON_NONE,
) -> Record:
    return record(
        wire.RECORD_INSTANCE,
        id,
        time_us,
        wire.BODY_INSTANCE,
        1,
        index,
        state,
        flags,
        criticality,
        restart,
        fault,
        0,
        digest,
        name.encode(),
    )


def cpu_quota(
    id: int,
    time_us: int,
    max_us: int = wire.NONE,
    period_us: int = 100_000,
    slice_max_us: int = 5_000,
    min_us: int = wire.NONE,
    min_period_us: int = 0,
    weight: int = 100,
) -> Record:
    return record(
        wire.RECORD_CPU_QUOTA,
        id,
        time_us,
        wire.BODY_CPU_QUOTA,
        max_us,
        period_us,
        min_us,
        min_period_us,
        slice_max_us,
        weight,
        0,
    )


def mem_quota(id: int, time_us: int, max: int = wire.NONE) -> Record:
    return record(
        wire.RECORD_MEM_QUOTA,
        id,
        time_us,
        wire.BODY_MEM_QUOTA,
        wire.NONE,
        wire.NONE,
        max,
        wire.NONE,
        wire.NONE,
        1,
        60,
    )


def state(
    id: int, time_us: int, old: int, new: int, reason: int, ref: int = 0, *numbers: int
) -> Record:
    filled = (*numbers, 0, 0, 0, 0, 0)[:5]
    return record(wire.RECORD_STATE, id, time_us, wire.BODY_STATE, old, new, reason, ref, *filled)


def cpu(
    id: int,
    time_us: int,
    cpu_us: int,
    throttled_us: int = 0,
    slices: int = 0,
    pressure: int = 0,
    state: int = wire.STATE_RUNNING,
    reason: int = wire.REASON_NONE,
) -> Record:
    return record(
        wire.RECORD_CPU,
        id,
        time_us,
        wire.BODY_CPU,
        *pair(cpu_us),
        *pair(throttled_us),
        slices,
        pressure,
        state,
        reason,
    )


def mem(
    id: int, time_us: int, live: int, peak: int = 0, max: int = wire.NONE, waited_ms: int = 0
) -> Record:
    return record(
        wire.RECORD_MEM,
        id,
        time_us,
        wire.BODY_MEM,
        live,
        peak,
        max,
        1,
        wire.MEM_EXACT,
        waited_ms & 0xFFFF,
        128,
    )


def counts(id: int, time_us: int, *values: int) -> Record:
    filled = (*values, 0, 0, 0, 0, 0, 0)[:6]
    return record(wire.RECORD_COUNTS, id, time_us, wire.BODY_COUNTS, *filled)


def slice_(id: int, time_us: int, cpu_us: int, flags: int = 0, wait_us: int = 10) -> Record:
    return record(
        wire.RECORD_SLICE,
        id,
        time_us,
        wire.BODY_SLICE,
        cpu_us,
        cpu_us + 3,
        wait_us,
        -16,
        1,
        flags,
        0,
    )


def heap(time_us: int, pool: int = 100_000, used: int = 40_000) -> Record:
    return record(
        wire.RECORD_HEAP, wire.BOARD, time_us, wire.BODY_HEAP, pool, used, 20_000, 7, 900, 30_000
    )


def time(time_us: int, agent_us: int, idle_us: int, steal_us: int = 0) -> Record:
    return record(
        wire.RECORD_TIME,
        wire.BOARD,
        time_us,
        wire.BODY_TIME,
        *pair(agent_us),
        *pair(idle_us),
        *pair(steal_us),
    )


def time_more(time_us: int, guests_us: int, telemetry_us: int = 0) -> Record:
    return record(
        wire.RECORD_TIME_MORE,
        wire.BOARD,
        time_us,
        wire.BODY_TIME_MORE,
        *pair(time_us),
        *pair(guests_us),
        *pair(telemetry_us),
    )


def link(time_us: int, stalls: int = 0) -> Record:
    return record(wire.RECORD_LINK, wire.BOARD, time_us, wire.BODY_LINK, 5_000, 20, stalls, 3, 1, 0)


def boot(time_us: int, heap_bytes: int = 100_000, max_guests: int = 8) -> Record:
    return record(
        wire.RECORD_BOOT,
        wire.BOARD,
        time_us,
        wire.BODY_BOOT,
        wire.VERSION,
        0,
        0,
        max_guests,
        heap_bytes,
        200_000,
        900_000,
        2_000_000,
        1_500_000,
    )


def metric(id: int, time_us: int, name: str, value: int, sequence: int = 1) -> Record:
    return record(wire.RECORD_METRIC, id, time_us, wire.BODY_METRIC, name.encode(), value, sequence)


def blackout(id: int, time_us: int, kind: int, length_us: int) -> Record:
    return record(
        wire.RECORD_BLACKOUT, id, time_us, wire.BODY_BLACKOUT, kind, 0, 0, length_us, 64, 640, 0, 0
    )


def breach(
    id: int, time_us: int, cause: int, by: int, length_us: int, missing_us: int, count: int
) -> Record:
    return record(
        wire.RECORD_BREACH,
        id,
        time_us,
        wire.BODY_BREACH,
        cause,
        by,
        0,
        length_us,
        missing_us,
        count,
        1_000,
        10_000,
    )


def wakeups(id: int, time_us: int, *counts: int) -> Record:
    filled = [count & 0xFFFF for count in (*counts, *[0] * wire.WAKEUP_BUCKETS)]
    return record(
        wire.RECORD_WAKEUPS, id, time_us, wire.BODY_WAKEUPS, *filled[: wire.WAKEUP_BUCKETS]
    )


def heap_check(time_us: int, checks: int = 1, used: int = 40_000) -> Record:
    return record(
        wire.RECORD_HEAP_CHECK,
        wire.BOARD,
        time_us,
        wire.BODY_HEAP_CHECK,
        checks,
        0,
        used,
        used,
        320,
        0,
    )


def text(id: int, time_us: int, kind: int, text: str, ref: int = 0) -> list[Record]:
    data = text.encode()
    size = wire.TEXT_SIZE
    chunks = [data[at : at + size] for at in range(0, len(data), size)] or [b""]
    return [
        record(wire.RECORD_TEXT, id, time_us, wire.BODY_TEXT, kind, index, len(chunks), ref, chunk)
        for index, chunk in enumerate(chunks)
    ]


class Agent:
    """Numbers and frames records as an agent does: one ``batch`` is one frame."""

    def __init__(self, boot_id: int = 0xB007, number: int = 0) -> None:
        self.boot_id = boot_id
        self.number = number
        self.dropped = [0] * wire.CLASSES
        self.trace = False

    def payload(self, time_us: int, records: Sequence[Record]) -> bytes:
        head = struct.pack(
            wire.BATCH_HEADER,
            self.boot_id,
            self.number & 0xFFFFFFFF,
            *pair(time_us),
            len(records),
            wire.BATCH_TRACE if self.trace else 0,
            *self.dropped,
        )
        self.number += len(records)
        return head + b"".join(records)

    def batch(self, time_us: int, records: Sequence[Record]) -> bytes:
        return frame(wire.FRAME_BATCH, self.payload(time_us, records))

    def batches(self, time_us: int, records: Iterable[Record]) -> bytes:
        """As many batches as the records need, each as full as a frame can be."""
        most = (wire.MAX_PAYLOAD - wire.BATCH_HEADER_SIZE) // wire.RECORD_SIZE
        waiting = list(records)
        return b"".join(
            self.batch(time_us, waiting[at : at + most]) for at in range(0, len(waiting), most)
        )


def reply(command: int, status: int = 0, body: bytes = b"{}") -> bytes:
    return frame(wire.FRAME_REPLY, struct.pack(wire.REPLY_HEADER, command, status, 0) + body)


def session(seconds: int = 4, boot_id: int = 0xB007) -> bytes:
    """A small session with one record of every type, console text between the frames, a reply.

    ``hog.0`` is killed in second 2 and backed off; ``sampler.0`` keeps its quota.
    """
    agent = Agent(boot_id)
    out = [b"MPY: soft reboot\r\n"]
    out.append(
        agent.batches(
            1_000,
            [
                boot(900),
                instance(2, 910, "sampler"),
                cpu_quota(2, 911, max_us=20_000),
                mem_quota(2, 912, max=32_768),
                instance(3, 920, "hog"),
                cpu_quota(3, 921, max_us=30_000),
                mem_quota(3, 922),
                *text(wire.BOARD, 930, wire.TEXT_BOARD, "unix board"),
                *text(wire.BOARD, 931, wire.TEXT_FIRMWARE, "MicroPython 1.25"),
                *text(wire.BOARD, 932, wire.TEXT_AGENT, "0.1.0"),
                *text(wire.BOARD, 933, wire.TEXT_MECHANISM, "slot: ok"),
                *text(2, 934, wire.TEXT_VERSION, "1.0.0 12345678" + "ab" * 28),
                state(2, 940, wire.STATE_LOADING, wire.STATE_READY, wire.REASON_LOADED, 0, 700),
                state(3, 941, wire.STATE_LOADING, wire.STATE_READY, wire.REASON_LOADED, 0, 500),
            ],
        )
    )
    agent.trace = True
    for second in range(1, seconds + 1):
        now = second * 1_000_000
        records = [
            *text(2, now - 500, wire.TEXT_LOG, f"sample {second}: mean 20.{second} °C, ok"),
            slice_(2, now - 400, 1_000 + second),
            slice_(3, now - 300, 4_000 + second),
            metric(2, now - 200, "releases", second * 100, second),
            blackout(3, now - 100, wire.BLACKOUT_COLLECT, 750),
            wakeups(2 + second % 2, now, 10 * second, second),
        ]
        if second == 3:
            records.append(breach(2, now - 50, wire.BLACKOUT_COLLECT, 3, 17_000, 1_600, 2))
        if second == 2:
            records += [
                *text(3, now - 90, wire.TEXT_WHERE, "hog.py:4 in spin < hog.py:9 in main", 1),
                *text(3, now - 90, wire.TEXT_WHAT, "Overrun: 5 ms", 1),
                state(
                    3,
                    now - 90,
                    wire.STATE_RUNNING,
                    wire.STATE_KILLED,
                    wire.REASON_OVERRUN,
                    1,
                    6_100,
                    5_000,
                    2,
                ),
                state(
                    3,
                    now - 80,
                    wire.STATE_KILLED,
                    wire.STATE_BACKOFF,
                    wire.REASON_BACKOFF,
                    0,
                    1_000,
                    1,
                ),
            ]
        killed = second >= 2
        hog_state = wire.STATE_BACKOFF if killed else wire.STATE_RUNNING
        records += [
            cpu(2, now, second * 100_000, 0, second * 10, 250),
            mem(2, now, 8_000 + 100 * second, 9_000, 32_768),
            counts(2, now, 0, 0, 0, 0, 0, 1_000 + second),
            cpu(3, now, min(second, 2) * 300_000, second * 50_000, 70, 9_000, hog_state),
            mem(3, now, 0 if killed else 4_000, 4_096),
            counts(3, now, killed, killed, 0, killed, 0, 6_100 if killed else 4_001),
            heap(now),
            *([heap_check(now)] if second == 3 else []),
            link(now),
            time(now, second * 50_000, second * 500_000),
            time_more(now, second * 400_000, second * 2_000),
        ]
        out.append(agent.batches(now + 200, records))
        out.append(f"console line {second}\r\n>>> ".encode())
    out.append(reply(7, 0, b'{"state": "killed"}'))
    return b"".join(out)
