"""Texts come whole out of their chunks, or say where they are torn."""

from __future__ import annotations

from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from guesthouse.core import wire
from guesthouse.core.records import TextChunk, decode_record
from guesthouse.core.texts import GAP, Text, TextAssembler
from tests.support import frames as agent


def chunks(text: str, instance: int = 2, ref: int = 0) -> list[TextChunk]:
    packed = agent.text(instance, 1_000, wire.TEXT_LOG, text, ref)
    return [cast(TextChunk, decode_record(record)) for record in packed]


def join(*parts: TextChunk) -> list[Text]:
    assembler = TextAssembler()
    done = [text for part in parts for text in assembler.add(1_000, part, 1_000)]
    return done + assembler.flush()


@given(st.text(max_size=60).map(lambda text: text.rstrip("\0")))
def test_any_text_survives_its_chunks(text: str) -> None:
    [found] = join(*chunks(text))
    assert (found.text, found.complete) == (text, True)


def test_texts_of_several_guests_may_be_interleaved() -> None:
    one, two = chunks("a" * 45, instance=2), chunks("b" * 45, instance=3)
    mixed = [part for pair in zip(one, two, strict=True) for part in pair]
    assert [text.text for text in join(*mixed)] == ["a" * 45, "b" * 45]


def test_a_lost_chunk_shows_as_a_gap() -> None:
    first, _, last = chunks("x" * 20 + "y" * 20 + "z" * 20)
    [found] = join(first, last)
    assert (found.text, found.complete) == ("x" * 20 + GAP + "z" * 20, False)


def test_a_lost_first_chunk_and_a_lost_last_one_show_as_gaps() -> None:
    first, second, last = chunks("x" * 20 + "y" * 20 + "z" * 20)
    assert join(second, last)[0].text == GAP + "y" * 20 + "z" * 20
    assert join(first, second)[0].text == "x" * 20 + "y" * 20 + GAP


def test_a_torn_text_is_given_out_when_the_next_one_begins() -> None:
    torn, following = chunks("first" * 10), chunks("second")
    found = join(*torn[:2], *following)
    assert [(text.text, text.complete) for text in found] == [
        (("first" * 10)[:40] + GAP, False),
        ("second", True),
    ]


def test_flush_gives_out_only_what_began_to_arrive_before_the_given_time() -> None:
    assembler = TextAssembler()
    assembler.add(0, chunks("old" * 20)[0], arrived_us=10)
    # Made long ago, but only now on its way: its rest is still to come.
    assembler.add(0, chunks("new" * 20, instance=3)[0], arrived_us=90)
    assert [text.instance for text in assembler.flush(before_us=50)] == [2]
    assert [text.instance for text in assembler.flush()] == [3]
