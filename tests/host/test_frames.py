"""Frames are found whatever happened to the bytes around them; nothing else passes for one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guesthouse.core import wire
from guesthouse.core.frames import Console, Damage, Frame, FrameDecoder, Item, encode_frame
from tests.support import frames as agent

SESSION = agent.session(seconds=3)


def decode(*pieces: bytes) -> list[Item]:
    decoder = FrameDecoder()
    items = [item for piece in pieces for item in decoder.feed(piece)]
    return items + decoder.flush()


def frames_in(items: Iterable[Item]) -> list[Frame]:
    return [item for item in items if isinstance(item, Frame)]


def console_in(items: Iterable[Item]) -> bytes:
    return b"".join(item.data for item in items if isinstance(item, Console))


def payloads(items: Iterable[Item]) -> list[bytes]:
    return [frame.payload for frame in frames_in(items)]


def spans(frames: Sequence[Frame]) -> list[tuple[int, int]]:
    overhead = wire.FRAME_HEADER_SIZE + wire.FRAME_CRC_SIZE
    return [(f.offset, f.offset + overhead + len(f.payload)) for f in frames]


def test_frames_and_console_come_out_in_the_order_of_the_line() -> None:
    first = agent.reply(1)
    second = agent.reply(2)
    kinds = [type(item) for item in decode(b"hello\n" + first + b">>> " + second + b"bye")]
    assert kinds == [Console, Frame, Console, Frame, Console]
    assert console_in(decode(b"hello\n" + first + b">>> " + second + b"bye")) == b"hello\n>>> bye"


def test_encoding_is_what_an_independent_builder_makes() -> None:
    assert encode_frame(wire.FRAME_BATCH, b"abc") == agent.frame(wire.FRAME_BATCH, b"abc")
    with pytest.raises(ValueError, match="do not fit"):
        encode_frame(wire.FRAME_BATCH, bytes(wire.MAX_PAYLOAD + 1))


def test_every_byte_damaged_once_costs_the_frame_it_is_in_and_no_other() -> None:
    whole = frames_in(decode(SESSION))
    assert len(whole) >= 5
    for at in range(len(SESSION)):
        for flip in (0x01, 0x80, 0xFF):
            damaged = SESSION[:at] + bytes([SESSION[at] ^ flip]) + SESSION[at + 1 :]
            found = payloads(decode(damaged))
            expected = [
                frame.payload
                for frame, (start, stop) in zip(whole, spans(whole), strict=True)
                if not start <= at < stop
            ]
            assert found == expected, f"byte {at} flipped by {flip:#x}"


@pytest.mark.parametrize("lost", [1, 2, 7, 60, 700])
def test_bytes_cut_out_anywhere_cost_only_the_frames_they_were_in(lost: int) -> None:
    whole = frames_in(decode(SESSION))
    for at in range(len(SESSION) - lost):
        found = payloads(decode(SESSION[:at] + SESSION[at + lost :]))
        expected = [
            frame.payload
            for frame, (start, stop) in zip(whole, spans(whole), strict=True)
            if stop <= at or start >= at + lost
        ]
        assert found == expected, f"{lost} bytes lost at {at}"


def test_a_stream_that_ends_anywhere_gives_all_frames_before() -> None:
    whole = frames_in(decode(SESSION))
    for at in range(len(SESSION)):
        expected = [
            f.payload for f, (_, stop) in zip(whole, spans(whole), strict=True) if stop <= at
        ]
        assert payloads(decode(SESSION[:at])) == expected


def test_one_byte_at_a_time_gives_the_same_as_all_at_once() -> None:
    singly = decode(*(SESSION[at : at + 1] for at in range(len(SESSION))))
    assert frames_in(singly) == frames_in(decode(SESSION))
    assert console_in(singly) == console_in(decode(SESSION))


def test_a_prompt_without_a_newline_is_not_held_back() -> None:
    decoder = FrameDecoder()
    assert decoder.feed(b"MicroPython v1.25\r\n>>> ") == [Console(b"MicroPython v1.25\r\n>>> ", 0)]
    assert decoder.held == 0


def test_a_byte_that_may_begin_a_frame_waits_for_the_next() -> None:
    decoder = FrameDecoder()
    assert decoder.feed(b"a\xfe") == [Console(b"a", 0)]
    assert decoder.feed(b"b") == [Console(b"\xfeb", 1)]


def test_a_damaged_length_does_not_swallow_what_follows() -> None:
    good = agent.reply(9)
    for length in (1, 200, wire.MAX_PAYLOAD, 0xFFFF):
        broken = wire.MAGIC + bytes([1, 1]) + length.to_bytes(2, "little") + b"\x00\x00"
        decoder = FrameDecoder()
        assert payloads(decoder.feed(broken + good)) == payloads(decode(good))


def test_a_length_above_the_limit_is_damage_even_when_its_complement_agrees() -> None:
    size = wire.MAX_PAYLOAD + 1
    head = wire.MAGIC + bytes([1, 1]) + size.to_bytes(2, "little")
    head += (size ^ 0xFFFF).to_bytes(2, "little")
    decoder = FrameDecoder()
    items = decoder.feed(head + b"text")
    assert items == [Damage("header", head, 0), Console(b"text", 8)]


def test_the_last_words_of_a_board_that_died_in_mid_frame_come_out_in_the_silence() -> None:
    batch = agent.session()
    start = batch.index(wire.MAGIC)
    cut = batch[start : start + 300]
    last_words = b"Traceback (most recent call last):\r\nMemoryError: \r\n>>> "
    decoder = FrameDecoder()
    assert decoder.feed(cut + last_words) == []
    items = decoder.flush()
    assert console_in(items) == last_words
    assert [item.data for item in items if isinstance(item, Damage)] == [cut]
    assert decoder.held == 0


def test_broken_frames_are_not_shown_as_console_text() -> None:
    good = agent.Agent().batch(1_000, [agent.cpu(2, 0, 5_000_000)] * 20)
    damaged = bytearray(good)
    damaged[100] ^= 0x40
    items = decode(b"before\n" + damaged + b"after\n")
    assert console_in(items) == b"before\nafter\n"


def test_a_frame_of_another_version_is_given_out_as_such() -> None:
    [frame] = frames_in(decode(agent.frame(wire.FRAME_BATCH, b"x", version=9)))
    assert frame.version == 9


def test_every_byte_value_of_console_text_survives() -> None:
    every = bytes(range(256)) * 2
    assert console_in(decode(every)) == every


_PIECE = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"\xfe", wire.MAGIC, b"\xfe\xfe", b"hello world\r\n", b">>> "]),
    st.binary(max_size=60).map(lambda p: agent.frame(wire.FRAME_BATCH, p)),
    # A frame that is cut short, and one whose payload holds another frame.
    st.binary(min_size=4, max_size=60).map(lambda p: agent.frame(wire.FRAME_REPLY, p)[:-3]),
    st.binary(max_size=20).map(lambda p: agent.frame(2, b"xx" + agent.frame(1, p) + b"yy")[:-2]),
)


def _normal(items: list[Item]) -> list[object]:
    """Neighbouring pieces of console text, or of damage, as one."""
    joined: list[object] = []
    for item in items:
        if isinstance(item, Frame):
            joined.append(item)
        elif joined and isinstance(joined[-1], tuple) and joined[-1][0] is type(item):
            joined[-1] = (type(item), joined[-1][1] + item.data)
        else:
            joined.append((type(item), item.data))
    return joined


@settings(max_examples=400, deadline=None)
@given(st.lists(_PIECE, max_size=8), st.lists(st.integers(0, 400), max_size=8))
def test_the_result_does_not_depend_on_how_the_bytes_were_cut(
    pieces: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(pieces)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    chunked = [stream[a:b] for a, b in pairwise(edges)]
    assert _normal(decode(*chunked)) == _normal(decode(stream))


@settings(max_examples=400, deadline=None)
@given(st.lists(_PIECE, max_size=8))
def test_no_byte_is_lost_or_invented(pieces: list[bytes]) -> None:
    stream = b"".join(pieces)
    at = 0
    for item in decode(stream):
        assert item.offset == at
        if isinstance(item, Frame):
            at += wire.FRAME_HEADER_SIZE + len(item.payload) + wire.FRAME_CRC_SIZE
        else:
            assert stream[at : at + len(item.data)] == item.data
            at += len(item.data)
    assert at == len(stream)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=100))
def test_a_good_frame_after_any_garbage_is_found_within_one_frame_length(
    garbage: bytes, payload: bytes
) -> None:
    decoder = FrameDecoder()
    found = payloads(decoder.feed(garbage + agent.frame(wire.FRAME_BATCH, payload)))
    if payload not in found:
        # The garbage looked like the beginning of a frame: its length decides how long.
        found = payloads(decoder.feed(b"." * (wire.MAX_PAYLOAD + 12)))
    assert payload in found
