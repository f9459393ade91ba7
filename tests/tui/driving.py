"""Driving the monitor in tests: wait for a promise, read the screen as text."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from textual.pilot import Pilot

from guesthouse.tui.app import MonitorApp


async def until(pilot: Pilot[None], promise: Callable[[], bool], what: str = "") -> None:
    """Let the app run until ``promise`` holds; the test fails if it never does."""
    for _ in range(500):
        await pilot.pause()
        if promise():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"never came true: {what or promise}\n{screen_text(pilot.app)}")


def screen_text(app: object) -> str:
    """The screen as the terminal would show it, without colours and without spaces at the ends."""
    assert isinstance(app, MonitorApp)
    # Textual has no public way to the composed text; an SVG would drown the differences.
    strips = app.screen._compositor.render_strips()
    return "\n".join(strip.text.rstrip() for strip in strips) + "\n"
