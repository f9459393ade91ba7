"""The monitor's sources: what the board says reaches the picture, and commands the board."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from guesthouse.cli import live
from guesthouse.cli.live import LiveBoard, Replay
from guesthouse.core import wire
from guesthouse.core.errors import ExitCode, GuesthouseError
from guesthouse.core.recording import RecordingWriter, metadata, read_recording
from guesthouse.link.client import Client
from guesthouse.link.ports import PortSpec
from guesthouse.link.serial import open_serial
from guesthouse.link.transport import Transport
from guesthouse.tui.fed import FedSource
from guesthouse.tui.source import LinkState, News
from tests.host.fake_agent import FakeAgent, Refusal


@pytest.fixture
def agent() -> Iterator[FakeAgent]:
    with FakeAgent() as fake:
        yield fake


def attach(agent: FakeAgent, recording: RecordingWriter | None = None) -> tuple[LiveBoard, Client]:
    """A live board on the fake one, running."""

    def reopen() -> Transport:
        return open_serial(PortSpec(agent.path, "fake"))

    board = LiveBoard(recording)
    client = Client(reopen(), tap=board.tap, reopen=reopen)
    client.hello()
    board.start(client)
    return board, client


async def until(source: FedSource, met: object) -> News:
    """Everything that is new until ``met()`` holds."""
    assert callable(met)
    news = News()
    async with asyncio.timeout(20):
        while not met(news):
            more = await source.next()
            news.events += more.events
            news.logs += more.logs
            news.console += more.console
    return news


async def test_what_the_board_says_reaches_the_source(agent: FakeAgent) -> None:
    guest = agent.add("hog")
    board, client = attach(agent)
    with client:
        await until(board.source, lambda news: board.source.model.instances)
        agent.change(guest, wire.STATE_KILLED, wire.REASON_OVERRUN)
        agent.log(guest, "a line")
        news = await until(board.source, lambda news: news.events and news.logs)
        assert [event.reason for event in news.events] == ["overrun"]
        assert [line.text for line in news.logs] == ["a line"]
        assert board.source.status.state is LinkState.CONNECTED
        assert board.source.status.where == "fake"
        await board.source.close()


async def test_commands_reach_the_board_and_its_refusals_come_back(agent: FakeAgent) -> None:
    agent.add("hog")
    board, client = attach(agent)
    with client:
        assert await board.source.command("stop", "hog.0") == "stopped"
        agent.refuse[wire.VERB_START] = Refusal(wire.STATUS_REFUSED, "does not fit", "stop one")
        with pytest.raises(GuesthouseError, match="does not fit") as caught:
            await board.source.command("start", "hog.0")
        assert caught.value.hint == "stop one"
        await board.source.close()
        with pytest.raises(GuesthouseError, match="link is closed"):
            await board.source.command("stop", "hog.0")


async def test_a_lost_port_is_shown_and_commands_fail_in_words(agent: FakeAgent) -> None:
    agent.add("hog")
    board, client = attach(agent)
    with client:
        agent.close()
        await until(board.source, lambda news: board.source.status.lost)
        with pytest.raises(GuesthouseError) as caught:
            await board.source.command("stop", "hog.0")
        assert caught.value.code is ExitCode.NO_BOARD
        await board.source.close()


async def test_what_is_shown_is_recorded_and_plays_again(agent: FakeAgent, tmp_path: Path) -> None:
    guest = agent.add("hog")
    file = tmp_path / "shown.ghr"
    with RecordingWriter(file, metadata("fake")) as writer:
        board, client = attach(agent, writer)
        with client:
            assert (
                await until(board.source, lambda news: board.source.model.instances)
            ) is not None
            assert board.source.status.recording == "shown.ghr"
            agent.log(guest, "remember me")
            await until(board.source, lambda news: news.logs)
            await board.source.close()
    assert read_recording(file)[1]
    replay = Replay(file, speed=0)
    replay.start()
    news = await until(replay.source, lambda news: replay.source.status.state is LinkState.ENDED)
    assert [line.text for line in news.logs] == ["remember me"]
    assert "hog.0" in {one.name for one in replay.source.model.instances.values()}
    with pytest.raises(GuesthouseError, match="no board behind"):
        await replay.source.command("stop", "hog.0")
    await replay.source.close()


async def test_a_replay_ends_at_once_when_it_is_closed(agent: FakeAgent, tmp_path: Path) -> None:
    file = tmp_path / "slow.ghr"
    with RecordingWriter(file, metadata("fake")) as writer:
        for second in range(100):
            writer.write(b"text\n", monotonic_ns=second * 10**12)
    replay = Replay(file)
    replay.start()
    await until(replay.source, lambda news: news.console)
    await replay.source.close()


async def test_a_replay_does_not_wait_through_a_silent_night(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(live, "_LONGEST_PAUSE_S", 0.01)
    file = tmp_path / "night.ghr"
    with RecordingWriter(file, metadata("fake")) as writer:
        for hour in range(10):
            writer.write(b"text\n", monotonic_ns=hour * 3600 * 10**9)
    replay = Replay(file)
    replay.start()
    await until(replay.source, lambda news: replay.source.status.state is LinkState.ENDED)
    await replay.source.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
async def test_a_full_disk_ends_the_recording_but_not_the_picture(
    agent: FakeAgent, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    agent.add("hog")
    with RecordingWriter(tmp_path / "x.ghr", metadata("fake")) as writer:
        writer._file.close()
        with Path("/dev/full").open("wb", buffering=0) as full:
            monkeypatch.setattr(writer, "_file", full)
            board, client = attach(agent, writer)
            with client:
                await until(board.source, lambda news: board.source.model.summaries > 2)
                await board.source.close()
        assert board.error is not None
        assert board.error.code is ExitCode.DISK_FULL
        assert board.source.status.recording == ""
