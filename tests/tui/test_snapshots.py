"""The screen at fixed sizes, compared as text with tests/golden/tui/*.txt.

After a change that is meant to show, look at it and accept it with

    GUESTHOUSE_UPDATE_GOLDEN=1 .venv/bin/pytest tests/tui/test_snapshots.py
    git diff tests/golden/tui
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from guesthouse.tui.app import MonitorApp
from guesthouse.tui.source import LinkState, LinkStatus
from tests.tui.driving import screen_text, until
from tests.tui.synthetic import HandSource, crowd, demo_board, tick

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "tui"
UPDATE = "GUESTHOUSE_UPDATE_GOLDEN"


def compare(name: str, text: str) -> None:
    path = GOLDEN / f"{name}.txt"
    if os.environ.get(UPDATE):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return
    assert path.exists(), f"no picture to compare with: set {UPDATE}=1 once\n{text}"
    assert text == path.read_text(encoding="utf-8"), (
        f"the picture has changed; if meant: {UPDATE}=1"
    )


@pytest.mark.parametrize(
    ("name", "size", "keys"),
    [
        ("demo_80x24", (80, 24), ()),
        ("demo_80x24_why", (80, 24), ("down", "down", "down", "down", "down", "w")),
        ("demo_120x40", (120, 40), ("down", "down", "down", "down", "down")),
        ("demo_200x50", (200, 50), ("end", "up", "up")),
        ("help_80x24", (80, 24), ("question_mark",)),
        ("kill_80x24", (80, 24), ("down", "k")),
    ],
)
async def test_the_screen_looks_like_its_golden_file(
    name: str, size: tuple[int, int], keys: tuple[str, ...]
) -> None:
    """Layout, words, bars and figures at the sizes people use."""
    model = demo_board()
    source = HandSource(model)
    app = MonitorApp(source, frame_s=0)
    async with app.run_test(size=size) as pilot:
        for _ in range(20):
            tick(model)
            source.announce()
            await until(pilot, lambda: not source.waiting)
        await pilot.press(*keys)
        await pilot.pause()
        await pilot.pause()
        compare(name, screen_text(app))


async def test_a_lost_link_looks_like_its_golden_file() -> None:
    """The last picture stays, the header says that it is old."""
    source = HandSource(demo_board(), LinkStatus(LinkState.DISCONNECTED, "/dev/ttyACM0"))
    app = MonitorApp(source, frame_s=0)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        compare("lost_80x24", screen_text(app))


async def test_a_crowd_of_14_looks_like_its_golden_file() -> None:
    """14 guests at 80x24: every one of them is in sight."""
    app = MonitorApp(HandSource(crowd(14)), frame_s=0)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        compare("crowd_80x24", screen_text(app))
