# Telemetry: records into rings by class, batches out of them, never waiting for the line.

import binascii
import struct

from micropython import const

from . import wire
from .clock import Account
from .ring import Ring

_RECORD = const(32)
_PER_BATCH = const(30)
_RESERVED = const(4)  # places of the state ring that only transitions may take
_OFFSETS = wire.FRAME_HEADER_SIZE + wire.BATCH_HEADER_SIZE

_HEAD = wire.RECORD_HEADER
_STATE = wire.BODY_STATE
_SLICE = wire.BODY_SLICE
_TEXT = wire.BODY_TEXT


class Telemetry:
    def __init__(self, port, clock, boot_id):
        self.port = port
        self.clock = clock
        self.boot_id = boot_id
        # the last one has no room before the trace level is asked for
        self.rings = tuple([Ring(capacity) for capacity in port.RINGS[:3] + (0,)])
        self.state, self.summary, self.text, self.trace_ring = self.rings
        self.trace = False
        self.next = 0  # number of the next record sent
        self.ref = 0  # of the last event that has texts
        self.frame = bytearray(wire.FRAME_HEADER_SIZE + wire.MAX_PAYLOAD + wire.FRAME_CRC_SIZE)
        self.view = memoryview(self.frame)
        self.pending = 0  # bytes of self.frame not yet taken by the line
        self.sent = 0
        self.replies = []
        self.cost = Account()
        self.bytes_sent = 0
        self.batches = 0
        self.stalls = 0

    # Switches the trace level on or off. Its ring stays once it is there.
    def set_trace(self, on):
        if on:
            self.trace_ring.open(self.port.RINGS[3])
        self.trace = on

    # --- writing records ---

    # Packs a record's header into a ring; returns the offset of its body or -1.
    def record(self, ring, kind, owner):
        at = ring.take()
        if at < 0:
            return -1
        clock = self.clock
        struct.pack_into(_HEAD, ring.data, at, kind, owner, clock.s & 0xFFFF, clock.us)
        return at + 8

    # One slice, at trace level. Allocates nothing.
    def slice(self, owner, cpu, wall, waited, delta, task, flags):
        ring = self.trace_ring
        at = self.record(ring, wire.RECORD_SLICE, owner)
        if at >= 0:
            struct.pack_into(_SLICE, ring.data, at, cpu, wall, waited, delta, task, flags, 0)
            ring.commit()

    # A transition; `where` and `what` go ahead of it as texts with the same reference.
    def transition(self, owner, old, new, reason, a=0, b=0, c=0, where="", what=""):
        ref = 0
        if where or what:
            self.ref = ref = self.ref % 255 + 1
            if where:
                self.say(owner, wire.TEXT_WHERE, where, ref, self.state)
            if what:
                self.say(owner, wire.TEXT_WHAT, what, ref, self.state)
        ring = self.state
        at = self.record(ring, wire.RECORD_STATE, owner)
        if at >= 0:
            struct.pack_into(_STATE, ring.data, at, old, new, reason, ref, a, b, c, 0, 0)
            ring.commit()

    # A text, cut into records that are sent together or not at all.
    def say(self, owner, kind, text, ref=0, ring=None):
        data = text.encode() if isinstance(text, str) else text
        size = wire.TEXT_SIZE
        limit = wire.TEXT_CHUNKS * size
        if len(data) > limit:
            data = data[: limit - 3] + b"..."
        count = max(1, (len(data) + size - 1) // size)
        if ring is None:
            ring = self.text
        spare = _RESERVED if ring is self.state else 0
        if ring.room() < count + spare:
            ring.dropped += count
            return False
        clock = self.clock
        second = clock.s & 0xFFFF
        for i in range(count):
            at = ring.offset(i)
            struct.pack_into(_HEAD, ring.data, at, wire.RECORD_TEXT, owner, second, clock.us)
            struct.pack_into(
                _TEXT, ring.data, at + 8, kind, i, count, ref, data[i * size : (i + 1) * size]
            )
        ring.commit(count)
        return True

    # Any other record: `body` is its wire.BODY_* format.
    def put(self, ring, kind, owner, body, *values):
        at = self.record(ring, kind, owner)
        if at >= 0:
            struct.pack_into(body, ring.data, at, *values)
            ring.commit()

    # A host whose line is stuck asks again and again: what waits already does not wait twice.
    def reply(self, command, status, body):
        reply = struct.pack(wire.REPLY_HEADER, command, status, 0) + body
        if reply not in self.replies:
            self.replies.append(reply)

    # --- sending ---

    # Whether there is anything to send.
    def waiting(self):
        if self.pending or self.replies:
            return True
        for ring in self.rings:
            if ring.head != ring.tail:
                return True
        return False

    # Whether a reply is not yet on the line, or may not be.
    def unanswered(self):
        return bool(self.pending or self.replies)

    # Gives the line what it takes without waiting; frames go out whole and in order. Returns
    # whether something is left that the line did not take.
    def pump(self):
        for _ in range(8):
            if self.pending:
                n = self.port.serial_write(
                    self.view[self.sent : self.sent + self.pending], self.pending
                )
                self.bytes_sent = (self.bytes_sent + n) & 0xFFFFFFF
                self.sent += n
                self.pending -= n
                if self.pending:
                    self.stalls += 1
                    return True
            # A reply never overtakes the transitions that it answers for.
            if self.replies and self.state.used() == 0:
                self._close(wire.FRAME_REPLY, self.replies.pop(0))
            elif not self._batch():
                return False
        return False

    # Fills the frame with the next batch, the most urgent class first.
    def _batch(self):
        frame = self.frame
        at = _OFFSETS
        n = 0
        for ring in self.rings:
            while ring.tail != ring.head and n < _PER_BATCH:
                ring.move(frame, at)
                at += _RECORD
                n += 1
        if n == 0:
            return False
        clock = self.clock
        clock.advance()
        state, summary, text, trace = self.rings
        struct.pack_into(
            wire.BATCH_HEADER,
            frame,
            wire.FRAME_HEADER_SIZE,
            self.boot_id,
            self.next,
            clock.s,
            clock.us,
            n,
            wire.BATCH_TRACE if self.trace else 0,
            state.dropped,
            summary.dropped,
            text.dropped,
            trace.dropped,
        )
        self.next = (self.next + n) & 0xFFFFFFFF
        self.batches += 1
        self._seal(wire.FRAME_BATCH, at - wire.FRAME_HEADER_SIZE)
        return True

    def _close(self, kind, payload):
        at = wire.FRAME_HEADER_SIZE
        n = min(len(payload), wire.MAX_PAYLOAD)
        self.frame[at : at + n] = payload[:n]
        self._seal(kind, n)

    # Header and CRC around a payload that is in place.
    def _seal(self, kind, n):
        struct.pack_into(
            wire.FRAME_HEADER, self.frame, 0, wire.MAGIC, kind, wire.VERSION, n, n ^ 0xFFFF
        )
        end = wire.FRAME_HEADER_SIZE + n
        crc = binascii.crc32(self.view[2:end])
        struct.pack_into("<I", self.frame, end, crc)
        self.sent = 0
        self.pending = end + wire.FRAME_CRC_SIZE
