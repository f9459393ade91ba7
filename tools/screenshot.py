"""Make docs/images/monitor.svg: the monitor's picture in the README, from a script.

    .venv/bin/python tools/screenshot.py --recording demo.ghr [--at 20] [--select hog_loop.0]
    .venv/bin/python tools/screenshot.py --demo
    .venv/bin/python tools/screenshot.py --synthetic --out /tmp/try.svg

``--recording`` shows the board as it was at the end of the recording, or ``--at`` seconds after its
beginning; ``--demo`` runs a private demo board for a while first; ``--synthetic`` draws a board
made by hand, to try the look. The picture needs no font from the network.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from guesthouse.cli.main import main as guesthouse
from guesthouse.core.errors import ExitCode, GuesthouseError
from guesthouse.core.model import BoardModel
from guesthouse.core.recording import read_recording
from guesthouse.core.tracker import Tracker
from guesthouse.tui.app import MonitorApp
from guesthouse.tui.guests import GuestTable
from guesthouse.tui.source import LinkState, LinkStatus, News

ROOT = Path(__file__).resolve().parents[1]
DEFAULT_OUT = ROOT / "docs" / "images" / "monitor.svg"
# Ours first, then what the big systems have; the widths are in the SVG, so any will do.
FONTS = "'Fira Code', ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
STEP_NS = 250_000_000  # of a recording that is shown at once


class Steps:
    """A source that goes from step to step as fast as the screen takes them."""

    def __init__(self, model: BoardModel, steps: Iterator[News], where: str) -> None:
        self.model = model
        self.status = LinkStatus(LinkState.CONNECTED, where)
        self.done = asyncio.Event()
        self._steps = steps

    async def next(self) -> News:
        for news in self._steps:
            return news
        self.done.set()
        await asyncio.Event().wait()  # until the app is closed
        raise AssertionError

    async def command(self, verb: str, guest: str) -> str:
        raise GuesthouseError("a picture takes no commands", code=ExitCode.NO_BOARD)

    async def close(self) -> None:
        return None


def recorded(path: Path, at_s: float | None) -> Steps:
    """The recording, cut into steps."""
    meta, chunks = read_recording(path)
    tracker = Tracker()

    def steps() -> Iterator[News]:
        news, shown_ns = News(), 0
        for chunk in chunks:
            shown_ns = shown_ns or chunk.monotonic_ns
            since_s = (chunk.monotonic_ns - chunks[0].monotonic_ns) / 1e9
            if at_s is not None and since_s > at_s:
                break
            news.add(tracker.feed_bytes(chunk.data, chunk.monotonic_ns))
            if chunk.monotonic_ns - shown_ns >= STEP_NS:
                yield news
                news, shown_ns = News(), chunk.monotonic_ns
        news.add(tracker.finish())
        yield news

    return Steps(tracker.model, steps(), str(meta.get("port", path.name)))


def synthetic() -> Steps:
    """The tests' board, a minute on."""
    sys.path.insert(0, str(ROOT))
    from tests.tui.synthetic import demo_board, tick

    model = demo_board()

    def steps() -> Iterator[News]:
        for _ in range(60):
            tick(model)
            yield News()

    return Steps(model, steps(), "sim")


def demo(seconds: float) -> Steps:
    """A private demo board, recorded for so long."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "demo.ghr"
        code = guesthouse(["demo", "--headless", f"--seconds={seconds}", f"--record={path}"])
        if code != ExitCode.OK:
            raise SystemExit(code)
        return recorded(path, None)


async def picture(make: Callable[[], Steps], size: tuple[int, int], select: str, dark: bool) -> str:
    """The monitor over a source, as SVG."""
    source = make()
    app = MonitorApp(source, dark=dark, frame_s=0)
    async with app.run_test(size=size) as pilot:
        await source.done.wait()
        table = app.screen.query_one(GuestTable)
        names = {row.guest.name: row.guest.id for row in table.rows}
        if select and select not in names:
            raise SystemExit(f"no guest {select} on this board; there are: {', '.join(names)}")
        faulty = [row.guest for row in table.rows if row.guest.last_where]
        if select or faulty:
            worst = max(faulty, key=lambda guest: guest.overruns, default=None)
            table.select(names[select] if select or worst is None else worst.id)
        await pilot.pause()
        await pilot.pause()
        svg = app.export_screenshot(title="guesthouse monitor")
    svg = re.sub(r"\s*@font-face\s*\{.*?\}", "", svg, flags=re.DOTALL)
    return re.sub(r"font-family:\s*Fira Code[^;]*;", f"font-family: {FONTS};", svg)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--recording", type=Path, metavar="FILE")
    what.add_argument("--demo", action="store_true")
    what.add_argument("--synthetic", action="store_true")
    parser.add_argument("--at", type=float, metavar="SECONDS", help="moment of the recording")
    parser.add_argument("--seconds", type=float, default=30, help="how long the demo runs")
    parser.add_argument("--select", default="", metavar="GUEST", help="default: the worst offender")
    parser.add_argument("--size", default="120x36", help="columns x rows")
    parser.add_argument("--light", action="store_true")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    args = parser.parse_args()
    columns, _, rows = args.size.partition("x")

    def make() -> Steps:
        if args.recording:
            return recorded(args.recording, args.at)
        return demo(args.seconds) if args.demo else synthetic()

    try:
        svg = asyncio.run(picture(make, (int(columns), int(rows)), args.select, not args.light))
    except GuesthouseError as error:
        raise SystemExit(f"{error.message}\n{error.hint}") from error
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(svg, encoding="utf-8")
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
