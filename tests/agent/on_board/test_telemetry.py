# Rings and batches: a record is wholly there or wholly dropped, and counted.

import binascii
import gc
import struct

from house import wire
from house.clock import Clock
from house.logtail import LogTail
from house.ring import Ring
from house.telemetry import Telemetry


# A line that takes what the test lets it take.
class Line:
    RINGS = (96, 64, 96, 64)

    def __init__(self):
        self.out = bytearray()
        self.room = 1 << 20

    def ticks_us(self):
        return 0

    def serial_write(self, buf, n):
        n = min(n, self.room)
        self.out.extend(buf[:n])
        self.room -= n
        return n


def _telemetry():
    line = Line()
    return line, Telemetry(line, Clock(line.ticks_us), 77)


# The whole frames in some bytes: (kind, payload), with everything checked.
def _frames(data):
    frames = []
    while data:
        magic, kind, version, n, inverse = struct.unpack_from(wire.FRAME_HEADER, data)
        assert magic == wire.MAGIC and version == wire.VERSION and n ^ inverse == 0xFFFF
        end = wire.FRAME_HEADER_SIZE + n
        assert struct.unpack_from("<I", data, end)[0] == binascii.crc32(data[2:end])
        frames.append((kind, bytes(data[wire.FRAME_HEADER_SIZE : end])))
        data = data[end + 4 :]
    return frames


def _batches(data):
    return [
        (struct.unpack_from(wire.BATCH_HEADER, p), p[wire.BATCH_HEADER_SIZE :])
        for k, p in _frames(data)
    ]


def test_records_are_numbered_without_a_gap():
    line, telemetry = _telemetry()
    for burst in (3, 40, 1):
        for i in range(burst):
            telemetry.transition(2, 1, 2, wire.REASON_LOADED, i)
        telemetry.pump()
    expected = 0
    for header, body in _batches(line.out):
        assert header[0] == 77
        assert header[1] == expected
        assert len(body) == header[4] * wire.RECORD_SIZE
        expected += header[4]
    assert expected == 44


def test_a_full_ring_drops_whole_records_and_counts_them():
    line, telemetry = _telemetry()
    telemetry.set_trace(True)
    for _ in range(100):
        telemetry.slice(2, 1, 1, 1, 0, 0, 0)
    telemetry.pump()
    header = _batches(line.out)[0][0]
    sent = sum(b[0][4] for b in _batches(line.out))
    assert header[9] == 100 - sent, header
    assert sent == 64


def test_transitions_go_before_everything_else():
    line, telemetry = _telemetry()
    telemetry.set_trace(True)
    telemetry.slice(2, 1, 1, 1, 0, 0, 0)
    telemetry.say(2, wire.TEXT_LOG, "a line")
    telemetry.transition(2, 1, 2, wire.REASON_LOADED)
    telemetry.pump()
    kinds = [_batches(line.out)[0][1][i * 32] for i in range(3)]
    assert kinds == [wire.RECORD_STATE, wire.RECORD_TEXT, wire.RECORD_SLICE], kinds


def test_texts_leave_room_for_transitions():
    line, telemetry = _telemetry()
    while telemetry.say(2, wire.TEXT_WHERE, "x" * 200, 1, telemetry.state):
        pass
    dropped = telemetry.state.dropped
    telemetry.transition(2, 1, 2, wire.REASON_LOADED)
    assert telemetry.state.dropped == dropped


def test_a_long_text_is_cut_and_says_so():
    line, telemetry = _telemetry()
    telemetry.say(2, wire.TEXT_LOG, "y" * 1000)
    telemetry.pump()
    header, body = _batches(line.out)[0]
    assert header[4] == wire.TEXT_CHUNKS
    text = b"".join(body[i * 32 + 12 : i * 32 + 32] for i in range(header[4]))
    assert text.endswith(b"...") and len(text) == wire.TEXT_CHUNKS * wire.TEXT_SIZE


def test_a_line_that_takes_nothing_loses_nothing_that_was_begun():
    line, telemetry = _telemetry()
    telemetry.transition(2, 1, 2, wire.REASON_LOADED)
    line.room = 11
    assert telemetry.pump()
    assert telemetry.pump()
    assert telemetry.stalls == 2
    line.room = 1 << 20
    assert not telemetry.pump()
    assert len(_batches(line.out)) == 1


def test_replies_and_batches_share_the_line_whole():
    line, telemetry = _telemetry()
    telemetry.transition(2, 1, 2, wire.REASON_LOADED)
    telemetry.reply(5, wire.STATUS_OK, b"{}")
    line.room = 15
    telemetry.pump()
    telemetry.transition(2, 1, 2, wire.REASON_LOADED)
    line.room = 1 << 20
    telemetry.pump()
    kinds = [kind for kind, _ in _frames(line.out)]
    assert kinds == [wire.FRAME_BATCH, wire.FRAME_BATCH, wire.FRAME_REPLY], kinds


def test_a_host_that_asks_again_while_the_line_is_stuck_gets_one_reply():
    line, telemetry = _telemetry()
    line.room = 0
    telemetry.transition(2, 1, 2, wire.REASON_LOADED)
    telemetry.pump()
    for _ in range(7):
        telemetry.reply(5, wire.STATUS_OK, b"{}")
    telemetry.reply(6, wire.STATUS_OK, b"{}")
    line.room = 1 << 20
    telemetry.pump()
    telemetry.reply(5, wire.STATUS_OK, b"{}")  # it has not come: asked once more
    telemetry.pump()
    replies = [payload[0] for kind, payload in _frames(line.out) if kind == wire.FRAME_REPLY]
    assert replies == [5, 6, 5], replies


def test_a_reply_waits_for_the_transitions_before_it():
    line, telemetry = _telemetry()
    for _ in range(70):
        telemetry.transition(2, 1, 2, wire.REASON_LOADED)
    telemetry.say(2, wire.TEXT_LOG, "later")
    telemetry.reply(5, wire.STATUS_OK, b"{}")
    telemetry.pump()
    kinds = [kind for kind, _ in _frames(line.out)]
    assert kinds[-2:] != [wire.FRAME_BATCH, wire.FRAME_BATCH] and kinds.count(wire.FRAME_REPLY) == 1
    before = kinds[: kinds.index(wire.FRAME_REPLY)]
    assert len(before) == 3, kinds  # 70 transitions


def test_a_trace_record_allocates_nothing():
    line, telemetry = _telemetry()
    gc.collect()
    gc.disable()
    before = gc.mem_alloc()
    for _ in range(60):
        telemetry.slice(2, 100, 120, 5, 32, 0, 0)
    grown = gc.mem_alloc() - before
    gc.enable()
    assert grown == 0, grown


def test_a_ring_gives_back_what_it_took_in_order():
    ring = Ring(3)
    out = bytearray(32)
    n = m = 0
    for _ in range(20):
        while ring.room():
            ring.data[ring.take()] = n & 255
            ring.commit()
            n += 1
        assert ring.take() < 0
        ring.move(out, 0)
        assert out[0] == m & 255
        m += 1
    assert ring.dropped == 20


def test_the_log_keeps_the_last_lines():
    log = LogTail(64)
    for i in range(50):
        log.add(b"line %d" % i)
    first, lines = log.lines(0)
    assert lines[-1] == "line 49" and first + len(lines) == 50
    assert lines == ["line %d" % i for i in range(first, 50)]
    assert log.lines(48) == (48, ["line 48", "line 49"])
    assert log.lines(50) == (50, [])
    assert log.lines(99) == (50, [])


def test_a_log_that_a_kill_tore_is_emptied_and_goes_on():
    log = LogTail(64)
    for i in range(20):
        log.add(b"line %d" % i)
    try:
        log.add([0, 1, 2, "stopped here"])  # fails after the oldest lines went
    except Exception:  # whichever the interpreter chooses
        pass
    assert log.torn
    log.mend()
    assert log.lines(0) == (20, [])
    log.add(b"again")
    assert log.lines(0) == (20, ["again"])


def test_a_line_larger_than_the_log_is_kept_in_part():
    log = LogTail(32)
    log.add(b"z" * 200)
    assert log.lines(0)[1] == ["z" * 31]
