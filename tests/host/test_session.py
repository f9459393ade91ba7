"""How much is missing is known exactly, and when things happened is known over every wrap."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from guesthouse.core import wire
from guesthouse.core.frames import Frame, FrameDecoder
from guesthouse.core.session import LATE_S, Batch, Numbering, Session, record_second
from tests.support import frames as agent


def batches(stream: bytes, session: Session | None = None) -> list[Batch]:
    session = session or Session()
    found = [session.feed(item) for item in FrameDecoder().feed(stream) if isinstance(item, Frame)]
    return [batch for batch in found if batch is not None]


def small_batches(count: int, number: int = 0) -> list[bytes]:
    board = agent.Agent(number=number)
    return [
        board.batch(1_000_000 * n, [agent.heap(1_000_000 * n)] * (n % 3 + 1)) for n in range(count)
    ]


def test_every_byte_of_a_session_damaged_once_leaves_missed_exact_at_the_next_good_batch() -> None:
    sent = small_batches(6)
    stream = b"".join(sent)
    total = sum(n % 3 + 1 for n in range(6))
    edges = len(sent[0]), len(stream) - len(sent[-1])
    # The first batch says where counting begins, the last one what was lost before it.
    for at in range(*edges):
        session = Session()
        found = batches(stream[:at] + bytes([stream[at] ^ 0x10]) + stream[at + 1 :], session)
        received = sum(len(batch.records) for batch in found)
        assert len(found) == 5, f"byte {at}"
        assert session.missed == total - received > 0, f"byte {at}"


@given(
    st.sets(st.integers(1, 28)),
    st.sampled_from([0, 2**31 - 5, 2**31, 2**32 - 20, 2**32 - 1]),
)
def test_missed_is_exact_whichever_batches_are_lost_and_over_the_wrap_of_numbers(
    lost: set[int], number: int
) -> None:
    sent = small_batches(30, number)
    session = Session()
    kept = [batch for n, batch in enumerate(sent) if n not in lost]
    found = batches(b"".join(kept), session)
    assert session.missed == sum(n % 3 + 1 for n in lost)
    assert sum(batch.missed for batch in found) == session.missed
    assert not any(batch.rebooted for batch in found)


def test_what_was_sent_before_one_listened_was_not_missed() -> None:
    session = Session()
    batches(b"".join(small_batches(9)[4:]), session)
    assert session.missed == 0


def test_a_reboot_is_seen_by_the_boot_id_and_its_first_records_count() -> None:
    old, new = agent.Agent(boot_id=1), agent.Agent(boot_id=2)
    stream = old.batch(5_000_000, [agent.heap(5_000_000)] * 3)
    new.batch(1_000, [agent.boot(1_000)] * 4)  # lost while the port was away
    stream += new.batch(2_000_000, [agent.heap(2_000_000)])
    session = Session()
    first, second = batches(stream, session)
    assert (first.rebooted, first.run, second.rebooted, second.run) == (False, 0, True, 1)
    assert (second.missed, session.boot_id) == (4, 2)


def test_numbers_that_start_again_without_a_new_boot_id_begin_a_new_run() -> None:
    numbering = Numbering()
    numbering.accept(7, 1_000, 10)
    assert numbering.accept(7, 0, 10) == 0
    assert (numbering.run, numbering.missed, numbering.expected) == (1, 0, 10)


def test_records_have_numbers_over_the_wrap() -> None:
    board = agent.Agent(number=2**32 - 1)
    [batch] = batches(board.batch(0, [agent.heap(0)] * 3))
    assert [timed.number for timed in batch.records] == [2**32 - 1, 0, 1]


@settings(max_examples=500)
@given(st.integers(0, 2**32 - 1), st.integers(0, 2**16 - 1 - LATE_S))
def test_a_record_gets_its_second_back_however_long_it_waited(batch_s: int, ago: int) -> None:
    made = batch_s - ago
    assert record_second(batch_s, made % 2**16) == made


@given(st.integers(0, 2**32 - 1), st.integers(0, LATE_S))
def test_a_record_may_be_a_little_later_than_its_batch(batch_s: int, later: int) -> None:
    assert record_second(batch_s, (batch_s + later) % 2**16) == batch_s + later


def test_times_go_on_over_the_wrap_of_a_records_second() -> None:
    board = agent.Agent()
    times = [65_535_999_990, 65_536_000_010, 2**16 * 3 * 1_000_000 + 5]
    stream = b"".join(board.batch(t + 100, [agent.heap(t)]) for t in times)
    assert [batch.records[0].time_us for batch in batches(stream)] == times


def test_drop_counters_are_those_of_the_last_batch_by_class() -> None:
    board = agent.Agent()
    session = Session()
    first = board.batch(0, [agent.heap(0)])
    board.dropped = [1, 2, 3, 4]
    batches(first + board.batch(1, [agent.heap(1)]), session)
    assert session.dropped == {"state": 1, "summary": 2, "text": 3, "trace": 4}


def test_a_batch_that_is_not_as_long_as_it_says_is_counted_not_read() -> None:
    board = agent.Agent()
    short = board.payload(0, [agent.heap(0)] * 2)[:-1]
    session = Session()
    newer = agent.frame(wire.FRAME_BATCH, board.payload(0, []), version=wire.VERSION + 1)
    assert batches(agent.frame(wire.FRAME_BATCH, short) + newer, session) == []
    assert (session.malformed, session.batches) == (2, 0)
