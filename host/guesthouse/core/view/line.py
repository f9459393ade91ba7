"""A line of text in spans of one mood each: what a face prints (CLI) or paints (monitor)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache


class Mood(StrEnum):
    """How a span of text is meant; a face chooses the colour."""

    PLAIN = "plain"
    STRONG = "strong"
    DIM = "dim"
    GOOD = "good"
    WARN = "warn"
    BAD = "bad"
    OFF = "off"
    ACCENT = "accent"
    TRACK = "track"


Line = list[tuple[str, Mood]]

ELLIPSIS = "…"
NO_BREAK = "\N{NO-BREAK SPACE}"


@lru_cache(maxsize=4096)
def _cell(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def cells(text: str) -> int:
    """Terminal cells that ``text`` takes."""
    return len(text) if text.isascii() else sum(map(_cell, text))


def clean(text: str) -> str:
    """``text`` without anything that would move the cursor, colour or reorder the terminal.

    Guests' prints are foreign text: a guest must not be able to draw on the operator's screen.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_harmless(char) for char in text)


def _harmless(char: str) -> str:
    if char == "\t":
        return "    "
    # Cc: control codes, Cf: bidirectional overrides and invisible marks, Cs: lone surrogates,
    # Zl, Zp: line and paragraph separators
    return (
        "\N{MIDDLE DOT}" if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") else char
    )


def plain(line: Line) -> str:
    """The text alone."""
    return "".join(text for text, _ in line)


def width(line: Line) -> int:
    """Cells of the whole line."""
    return sum(cells(text) for text, _ in line)


def cut(text: str, size: int) -> str:
    """``text`` in at most ``size`` cells, with an ellipsis where something was cut off."""
    if cells(text) <= size:
        return text
    if size <= 0:
        return ""
    kept, room = [], size - 1
    for char in text:
        room -= _cell(char)
        if room < 0:
            break
        kept.append(char)
    return "".join(kept) + ELLIPSIS


def pad(text: str, size: int, right: bool = False) -> str:
    """``text`` in exactly ``size`` cells, to the left or to the right."""
    text = cut(text, size)
    space = " " * (size - cells(text))
    return space + text if right else text + space


def fit(line: Line, size: int) -> Line:
    """``line`` in exactly ``size`` cells: cut with an ellipsis, or filled with spaces."""
    fitted: Line = []
    room = size
    total = width(line)
    for text, mood in line:
        if total > size and cells(text) >= room:
            fitted.append((cut(text + ELLIPSIS, room) if room else "", mood))
            room -= cells(fitted[-1][0])
            break
        fitted.append((text, mood))
        room -= cells(text)
    if room > 0:
        fitted.append((" " * room, Mood.PLAIN))
    return fitted


def join(parts: Iterable[Line], separator: tuple[str, Mood]) -> Line:
    """The parts in one line, with the separator between them."""
    joined: Line = []
    for part in parts:
        if joined:
            joined.append(separator)
        joined.extend(part)
    return joined


_FIGURE = re.compile(r"(?<=\d) (?=(?:us|ms|s|min|h|B|KiB|MiB)\b)")


def keep_figures(text: str) -> str:
    """``text`` in which a figure stays with its unit when the line is wrapped."""
    return _FIGURE.sub(NO_BREAK, text)


def together(part: Line) -> Line:
    """``part`` with its words held together, for a line of several parts."""
    return [(text.replace(" ", NO_BREAK), mood) for text, mood in part]


def wrap(line: Line, size: int, indent: int = 0) -> list[Line]:
    """``line`` broken at spaces into lines of at most ``size`` cells; later ones are indented.

    A word longer than a line is broken anywhere; NO_BREAK spaces hold words together.
    """
    if size <= 0:
        return []
    if width(line) <= size:
        return [_spans([(char, mood) for text, mood in line for char in text], 0)]
    indent = indent if indent < size // 2 else 0
    chars = [(char, mood) for text, mood in line for char in text]
    lines: list[Line] = []
    start = 0
    while start < len(chars):
        lead = indent if lines else 0
        room = size - lead
        end, used, last_space = start, 0, -1
        while end < len(chars) and used + _cell(chars[end][0]) <= room:
            used += _cell(chars[end][0])
            if chars[end][0] == " ":
                last_space = end
            end += 1
        end = max(end, start + 1)  # a wide character in a pane of one cell must not stop us
        following = end
        if end < len(chars):
            if chars[end][0] == " ":
                following = end + 1
            elif last_space > start:
                end, following = last_space, last_space + 1
        lines.append(_spans(chars[start:end], lead))
        start = following
    return lines


def _spans(chars: list[tuple[str, Mood]], lead: int) -> Line:
    line: Line = [(" " * lead, Mood.PLAIN)] if lead else []
    run = ""
    current: Mood | None = None
    for char, mood in chars:
        if mood is not current:
            if run and current is not None:
                line.append((run, current))
            run, current = "", mood
        run += " " if char == NO_BREAK else char
    if run and current is not None:
        line.append((run, current))
    return line
