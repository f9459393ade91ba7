"""A bench's parts fail one by one, and what a guest has been given is not said twice."""

from __future__ import annotations

from typing import Any, cast

import pytest

from guesthouse.bench.parts import Missing, Parts, wait_s
from guesthouse.bench.stage import Part, Stage
from guesthouse.core import wire
from guesthouse.core.errors import ExitCode, GuesthouseError
from guesthouse.link.client import Client


def failing() -> list[int]:
    raise GuesthouseError("it broke")


def test_a_part_that_fails_is_a_row_and_the_next_one_is_measured() -> None:
    told: list[str] = []
    parts = Parts(told.append)
    assert parts.rows("first", failing) == []
    assert parts.rows("second", lambda: [1, 2]) == [1, 2]
    assert parts.row("third", lambda: 3) == [3]
    assert parts.missing == [Missing("first", "it broke")]
    assert told == ["first", "first: it broke", "second", "third"]


def test_no_part_is_tried_on_a_board_that_is_gone() -> None:
    def gone() -> list[int]:
        raise GuesthouseError("it went away", code=ExitCode.NO_BOARD)

    parts = Parts(lambda text: None)
    with pytest.raises(GuesthouseError, match="went away"):
        parts.rows("first", gone)
    assert parts.missing == [Missing("first", "it went away")]


def test_no_part_begins_once_the_time_is_up() -> None:
    parts = Parts(lambda text: None, lambda: 0.0)
    assert parts.rows("first", pytest.fail) == []
    assert parts.missing == [Missing("first", "the time was up")]


def test_nobody_waits_longer_than_there_is_time() -> None:
    assert wait_s(lambda: 5.0, 3.0, "it was done") == 3.0
    assert wait_s(lambda: 2.0, 3.0, "it was done") == 2.0
    with pytest.raises(GuesthouseError, match="before it was done"):
        wait_s(lambda: 0.0, 3.0, "it was done")


class Told:
    """A client whose board takes everything."""

    def __init__(self) -> None:
        self.commands: list[tuple[int, str]] = []

    def command(self, verb: int, body: dict[str, Any]) -> None:
        self.commands.append((verb, body["g"]))

    def since(self) -> list[tuple[int, str]]:
        commands = self.commands
        self.commands = []
        return commands


def test_a_stage_tells_the_board_what_changes_and_reservations_last() -> None:
    given, start, kill = wire.VERB_SET, wire.VERB_START, wire.VERB_KILL
    told = Told()
    stage = Stage(cast(Client, told))
    least = (1_000, 10_000)
    stage.play([Part("a", least=least), Part("b", most=0.5), Part("c")])
    # c has no quotas as it is
    assert told.since() == [(given, "b"), (given, "a"), (start, "a"), (start, "b"), (start, "c")]
    stage.stop()
    assert told.since() == [(kill, "c"), (kill, "b"), (kill, "a")]
    stage.play([Part("a", least=least), Part("b", most=0.5)])
    assert told.since() == [(start, "a"), (start, "b")]
    stage.stop()
    told.since()
    stage.play([Part("b", least=least), Part("c", weight=200)])
    # a loses its own before b asks for one
    assert told.since() == [(given, "a"), (given, "c"), (given, "b"), (start, "b"), (start, "c")]
