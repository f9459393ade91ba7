"""A guest's log is read by line numbers: nothing twice, and nothing lost unnoticed."""

from __future__ import annotations

from typing import Any, cast

from guesthouse.cli.logs import LogReader
from guesthouse.core.model import BoardModel
from guesthouse.link.client import Client


class Board:
    """Answers VERB_LOGS from the lines it keeps, two at a time."""

    def __init__(self) -> None:
        self.model = BoardModel(boot_id=1)
        self.first = 0
        self.lines: list[str] = []

    def command(self, verb: int, body: dict[str, Any]) -> dict[str, Any]:
        begin = max(self.first, body["from"])
        lines = self.lines[begin - self.first : begin - self.first + 2]
        return {"first": begin, "next": begin + len(lines), "lines": lines}

    def say(self, *lines: str) -> None:
        self.lines += lines

    def forget(self, count: int) -> None:
        self.first += count
        del self.lines[:count]


def reader(board: Board) -> LogReader:
    return LogReader(cast(Client, board), "hog.0")


def test_every_line_comes_once_however_many_replies_it_takes() -> None:
    board = Board()
    log = reader(board)
    assert log.read() == []
    board.say("a", "b", "c", "d", "e")
    assert log.read() == ["a", "b", "c", "d", "e"]
    assert log.read() == []
    board.say("f")
    assert log.read() == ["f"]
    assert log.lost == 0


def test_lines_that_the_board_no_longer_has_are_counted() -> None:
    board = Board()
    log = reader(board)
    board.say("a", "b", "c")
    board.forget(2)
    assert (log.read(), log.lost) == (["c"], 2)
    board.say("d", "e", "f")
    board.forget(2)
    assert (log.read(), log.lost) == (["e", "f"], 3)


def test_after_a_new_boot_the_lines_are_those_of_the_new_log() -> None:
    board = Board()
    log = reader(board)
    board.say("a", "b", "c")
    assert log.read() == ["a", "b", "c"]
    board.lines = ["x"]
    board.model.boot_id = 2
    assert (log.read(), log.lost) == (["x"], 0)
