"""Bytes from threads become updates on the monitor's loop."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest

from guesthouse.cli.live import Replay
from guesthouse.core.errors import ExitCode, GuesthouseError
from guesthouse.core.recording import RecordingWriter, metadata
from guesthouse.core.tracker import Tracker, Update
from guesthouse.tui.app import MonitorApp
from guesthouse.tui.fed import FedSource
from guesthouse.tui.source import LinkState, LinkStatus, Source
from tests.tui.driving import screen_text, until

LIVE = LinkStatus(LinkState.CONNECTED, "u0")


async def soon(source: Source, seconds: float = 5) -> list[str]:
    return (await asyncio.wait_for(source.next(), seconds)).console


async def test_what_a_thread_feeds_arrives_once_and_in_order() -> None:
    """Nothing is lost between the threads, however they interleave."""
    source = FedSource(Tracker(), LIVE)
    pieces = [f"{number};" for number in range(2_000)]

    def feed() -> None:
        for number, piece in enumerate(pieces):
            source.feed(piece.encode(), number)

    thread = threading.Thread(target=feed)
    thread.start()
    got = ""
    while got.count(";") < len(pieces):
        got += "".join(await soon(source))
    thread.join()
    assert got == "".join(pieces)


async def test_what_was_fed_before_anybody_asked_is_not_lost() -> None:
    """The reader may be quicker than the screen."""
    source = FedSource(Tracker(), LIVE)
    source.feed(b"early", 1)
    assert await soon(source) == ["early"]


async def test_the_model_changes_only_while_somebody_waits() -> None:
    """So the screen may read it without a lock."""
    tracker = Tracker()
    fed: list[bytes] = []
    feed_bytes = tracker.feed_bytes

    def spy(data: bytes, host_time_ns: int) -> list[Update]:
        fed.append(data)
        return feed_bytes(data, host_time_ns)

    tracker.feed_bytes = spy  # type: ignore[method-assign]
    source = FedSource(tracker, LIVE)
    source.feed(b"x", 1)
    await asyncio.sleep(0.02)
    assert fed == []
    await soon(source)
    assert fed == [b"x"]


async def test_silence_is_no_news() -> None:
    """A reader that tells the time with empty reads does not make the screen paint."""
    source = FedSource(Tracker(), LIVE)
    source.feed(b"", 1)
    with pytest.raises(TimeoutError):
        await soon(source, 0.1)


async def test_a_change_of_the_link_is_news_after_what_came_before_it() -> None:
    """The last bytes are shown as live, then the link is lost."""
    source = FedSource(Tracker(), LIVE)
    source.feed(b"last words", 1)
    source.set_status(LinkStatus(LinkState.DISCONNECTED, "u0"))
    assert await soon(source) == ["last words"]
    assert source.status.lost


async def test_a_big_recording_comes_in_portions() -> None:
    """The screen gets its turn between them."""
    source = FedSource(Tracker(), LIVE)
    for _ in range(40):
        source.feed(b"." * 10_000, 1)
    first = len("".join(await soon(source)))
    assert 100_000 < first < 200_000
    total = first
    while total < 400_000:
        total += len("".join(await soon(source)))
    assert total == 400_000


async def test_a_command_runs_beside_the_screen_and_without_a_board_says_so() -> None:
    """The commander may block; a replay has none."""

    def commander(verb: str, guest: str) -> str:
        time.sleep(0.01)
        return f"{verb} {guest} in {threading.current_thread() is threading.main_thread()}"

    assert await FedSource(Tracker(), LIVE, commander).command("kill", "a.0") == "kill a.0 in False"
    with pytest.raises(GuesthouseError, match="no board behind this picture") as caught:
        await FedSource(Tracker(), LIVE).command("kill", "a.0")
    assert caught.value.code is ExitCode.NO_BOARD and caught.value.hint


async def test_a_recording_is_replayed_on_the_same_screen(tmp_path: Path) -> None:
    """Its text is shown, its end is said, and closing ends the thread."""
    path = tmp_path / "night.ghr"
    with RecordingWriter(path, metadata("u0")) as writer:
        writer.write(b"first line\n")
        writer.write(b"second line\n")
    replay = Replay(path, speed=0)
    replay.start()
    app = MonitorApp(replay.source, frame_s=0)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "second line" in screen_text(app))
        assert "first line" in screen_text(app)
        await until(pilot, lambda: "end of night.ghr" in screen_text(app))


async def test_the_end_of_the_stream_tells_what_was_held_back() -> None:
    """A frame that was cut at the end is given up on, and what stood in it is shown as text."""
    source = FedSource(Tracker(), LIVE)
    source.feed(b"\xfeG\x01\x01", 1)  # a frame's first bytes
    source.end(LinkStatus(LinkState.ENDED, "night.ghr"))
    await soon(source)
    assert source.status.state is LinkState.ENDED
    tracker = source._tracker
    assert isinstance(tracker, Tracker) and tracker.damaged == 1
