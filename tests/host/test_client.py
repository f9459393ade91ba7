"""The client against a board's side of the wire that loses and damages what it is told to."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from guesthouse.core import wire
from guesthouse.core.errors import ExitCode, GuesthouseError
from guesthouse.core.model import Event, LogLine
from guesthouse.guests.image import Image, load_image
from guesthouse.link.client import Client, NoAgent
from guesthouse.link.commands import CommandError, encode_command
from guesthouse.link.deploy import deploy
from guesthouse.link.holder import find_holder
from guesthouse.link.ports import PortSpec
from guesthouse.link.serial import open_serial
from guesthouse.link.transport import PortLost, Transport
from tests.host.fake_agent import FakeAgent, Refusal, encode_line


@pytest.fixture
def agent() -> Iterator[FakeAgent]:
    with FakeAgent() as fake:
        yield fake


@pytest.fixture
def client(agent: FakeAgent) -> Iterator[Client]:
    with Client(connect(agent)) as one:
        yield one


@pytest.fixture
def image(tmp_path: Path) -> Image:
    folder = tmp_path / "sampler"
    folder.mkdir()
    (folder / "main.py").write_text("async def main():\n    pass\n" + "# 0123456789\n" * 60)
    (folder / "table.bin").write_bytes(bytes(range(256)) * 3)
    (folder / "empty.txt").write_bytes(b"")
    return load_image(folder)


def connect(agent: FakeAgent) -> Transport:
    return open_serial(PortSpec(agent.path, "fake"))


def patient(agent: FakeAgent) -> Client:
    return Client(open_serial(PortSpec(agent.path, "fake", patience=10_000.0)))


def test_a_patient_port_has_longer_for_the_first_frame_and_for_replies(agent: FakeAgent) -> None:
    agent.talking.clear()
    threading.Timer(0.5, agent.talking.set).start()
    with patient(agent) as client:
        client.wait_for_agent(timeout=0.01)
        client.command(wire.VERB_PING, timeout=0.0005)


def test_a_board_at_its_prompt_needs_no_patience(agent: FakeAgent) -> None:
    agent.talking.clear()
    later = threading.Timer(3.0, agent.talking.set)
    with patient(agent) as client:
        later.start()
        os.write(agent.master, b"MicroPython v1.28.0 on 2026-04-06; Raspberry Pi Pico\r\n>>> ")
        with pytest.raises(NoAgent, match="at its REPL"):
            client.wait_for_agent(timeout=0.2)
    later.cancel()


def test_a_command_line_is_what_the_protocol_says() -> None:
    line = encode_command(wire.VERB_STOP, 0x01020304, {"g": "a.0"})
    assert line == encode_line(wire.VERB_STOP, 0x01020304, b'{"g":"a.0"}')
    assert not {0x03, 0x04} & set(encode_command(wire.VERB_PUT, 3, bytes(range(256))[:196]))
    with pytest.raises(GuesthouseError, match="does not fit"):
        encode_command(wire.VERB_SET, 1, {"x": "y" * 400})
    longest = encode_command(wire.VERB_PUT, 2**32 - 1, bytes(4 + wire.PUT_CHUNK))
    assert len(longest) <= wire.COMMAND_LINE_MAX


def test_nothing_is_sent_before_a_frame_of_the_agent_was_seen(agent: FakeAgent) -> None:
    agent.talking.clear()
    with Client(connect(agent)) as client:
        with pytest.raises(NoAgent, match="no agent answers on fake; it is silent") as caught:
            client.wait_for_agent(0.3)
        assert caught.value.code is ExitCode.NO_BOARD
        assert agent.raw == b""
        agent.talking.set()
        client.hello()
    assert agent.raw.startswith(b"\x16")


def test_a_board_at_its_repl_is_named_and_not_written_to(agent: FakeAgent) -> None:
    agent.summary_every = 1e9
    agent.talking.clear()
    with Client(connect(agent)) as client:
        agent._send(b"\r\nMicroPython v1.25.0\r\n>>> ")
        with pytest.raises(NoAgent, match=r"at its REPL \(>>>\)"):
            client.wait_for_agent(0.3)
    assert agent.raw == b""


def test_hello_and_a_summary_make_the_model_complete(agent: FakeAgent, client: Client) -> None:
    agent.add("sampler", cpu_max_us=20_000, mem_max=32768)
    assert client.hello()["board"] == "fake"
    model = client.wait_for_summary(2)
    assert model.board == "fake"
    guest = client.instance("sampler")
    assert guest is client.instance("sampler.0")
    assert (guest.state, guest.cpu_max, guest.mem_max) == ("running", 0.2, 32768)
    with pytest.raises(GuesthouseError, match="no guest hog") as caught:
        client.instance("hog")
    assert "sampler.0" in caught.value.hint


def test_a_guest_is_found_although_older_summaries_arrive_before_its_name(
    agent: FakeAgent, client: Client
) -> None:
    client.wait_for_agent()
    agent.add("hog")
    agent.overtaken = 5
    client.hello()
    assert client.instance("hog").name == "hog.0"
    agent.add("other")
    agent.overtaken = 5
    client.hello()
    client.wait_for_summary()
    assert sorted(one.name for one in client.model.instances.values()) == ["hog.0", "other.0"]


def test_a_board_is_shown_although_the_line_has_lost_a_name(
    agent: FakeAgent, client: Client
) -> None:
    client.wait_for_agent()
    agent.overtaken = 1_000_000
    agent.add("hog")
    model = client.wait_for_summary(timeout=1.0)
    assert [one.name for one in model.instances.values()] == [f"#{wire.FIRST_GUEST}"]


def test_events_lines_and_console_text_come_out_of_poll(agent: FakeAgent, client: Client) -> None:
    guest = agent.add("hog")
    client.hello()
    client.wait_for_summary()
    client.poll()
    agent.change(guest, wire.STATE_KILLED, wire.REASON_OVERRUN, 5200, 5000, 1)
    agent.log(guest, "a line that is longer than one record can hold, by far")
    agent.say(b"plain text\n")
    seen: list[object] = []
    for _ in range(100):
        seen += client.poll(0.05)
        if len(seen) >= 3:
            break
    events = [one for one in seen if isinstance(one, Event)]
    lines = [one for one in seen if isinstance(one, LogLine)]
    assert [(one.name, one.new, one.reason) for one in events] == [("hog.0", "killed", "overrun")]
    assert [one.text for one in lines] == ["a line that is longer than one record can hold, by far"]
    assert "plain text\n" in seen


@pytest.mark.parametrize("fault", ["lose_reply", "damage_reply", "damage_command"])
def test_a_damaged_line_is_sent_again_and_nothing_happens_twice(
    agent: FakeAgent, client: Client, fault: str
) -> None:
    agent.add("hog")
    client.wait_for_agent()
    setattr(agent, fault, lambda n: n < 2)
    assert client.command(wire.VERB_STOP, {"g": "hog.0"}) == {"state": "stopped"}
    assert agent.executed == [wire.VERB_STOP]
    ids = {command_id for _, command_id, _ in agent.received}
    assert len(ids) == 1
    assert len(agent.received) == (1 if fault == "damage_command" else 3)


def test_a_reply_to_an_earlier_command_is_not_taken_for_this_one(
    agent: FakeAgent, client: Client
) -> None:
    agent.add("hog")
    client.wait_for_agent()
    stale = client.command(wire.VERB_PING)
    assert stale == {}
    for payload in list(agent._memory.values()):  # the same reply comes once more, late
        agent._send_reply(payload)
    assert client.command(wire.VERB_STOP, {"g": "hog.0"}) == {"state": "stopped"}


def test_the_boards_refusal_is_an_error_with_its_hint(agent: FakeAgent, client: Client) -> None:
    agent.refuse[wire.VERB_START] = Refusal(wire.STATUS_REFUSED, "does not fit", "lower cpu min")
    with pytest.raises(CommandError, match="does not fit") as caught:
        client.command(wire.VERB_START, {"g": "hog.0"})
    assert (caught.value.hint, caught.value.code) == ("lower cpu min", ExitCode.REFUSED)
    assert len(agent.received) == 1


def test_an_agent_that_stops_answering_is_told_with_the_number_of_tries(
    agent: FakeAgent, client: Client
) -> None:
    client.wait_for_agent()
    agent.lose_reply = lambda n: True
    with pytest.raises(NoAgent, match=r"does not answer \(asked [23] times\)"):
        client.command(wire.VERB_PING, timeout=1.5)


def test_a_line_that_damages_everything_ends_in_words(agent: FakeAgent, client: Client) -> None:
    client.wait_for_agent()
    agent.damage_command = lambda n: True
    with pytest.raises(NoAgent) as caught:
        client.command(wire.VERB_PING)
    assert "damages" in caught.value.hint
    assert agent.executed == []


def test_a_deploy_puts_every_byte_in_its_place(
    agent: FakeAgent, client: Client, image: Image
) -> None:
    seen: list[tuple[int, int, str]] = []
    done = deploy(client, image, progress=lambda *figures: seen.append(figures))
    assert (done.instance, done.transfers) == ("sampler.0", 1)
    stored = agent.images["sampler"].files
    assert {path: bytes(data) for path, data in stored.items()} == {
        file.path: file.data for file in image.files
    }
    assert agent.images["sampler"].digest == image.digest
    assert seen[-1][:2] == (image.size, image.size)
    assert [figures[0] for figures in seen] == sorted(figures[0] for figures in seen)


def test_a_deploy_survives_a_noisy_line(agent: FakeAgent, client: Client, image: Image) -> None:
    client.wait_for_agent()
    agent.damage_command = lambda n: n % 5 == 1
    agent.damage_reply = lambda n: n in (3, 9)
    agent.lose_reply = lambda n: n == 6
    deploy(client, image)
    stored = agent.images["sampler"].files
    assert {path: bytes(data) for path, data in stored.items()} == {
        file.path: file.data for file in image.files
    }
    assert agent.executed.count(wire.VERB_COMMIT) == 1


def test_an_image_whose_hash_does_not_match_is_sent_again_as_a_whole(
    agent: FakeAgent, client: Client, image: Image
) -> None:
    agent.corrupt_put = lambda n: n == 2
    assert deploy(client, image).transfers == 2
    assert bytes(agent.images["sampler"].files["main.py"]) == image.files[2].data
    agent.corrupt_put = lambda n: True
    with pytest.raises(CommandError, match="damaged") as caught:
        deploy(client, image)
    assert caught.value.code is ExitCode.DAMAGED


def test_a_deploy_that_is_interrupted_leaves_the_old_version(
    agent: FakeAgent, client: Client, image: Image
) -> None:
    def interrupt(done: int, total: int, path: str) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deploy(client, image, progress=interrupt)
    assert agent.executed[-1] == wire.VERB_ABORT
    assert agent.upload is None
    assert agent.images == {}


def test_a_port_that_goes_away_is_an_error_that_says_so(agent: FakeAgent, client: Client) -> None:
    client.wait_for_agent()
    agent.close()
    with pytest.raises(PortLost, match="fake went away"):
        for _ in range(100):
            client.poll(0.05)


def test_a_port_that_comes_back_is_opened_again_and_greeted(tmp_path: Path) -> None:
    link = tmp_path / "board"
    first, second = FakeAgent(), FakeAgent()
    second.boot_id = 77

    def reopen() -> Transport:
        return open_serial(PortSpec(str(link), "board"))

    link.symlink_to(first.path)
    with first, second:
        first.add("old")
        second.add("new")
        with Client(reopen(), reopen=reopen) as client:
            client.hello()
            client.set_trace(True)
            client.wait_for_summary()
            link.unlink()
            first.close()
            deadline = time.monotonic() + 20
            while client.connected and time.monotonic() < deadline:
                client.poll(0.05)
            assert not client.connected
            with pytest.raises(PortLost):
                client.command(wire.VERB_PING)
            link.symlink_to(second.path)
            while not second.trace and time.monotonic() < deadline:
                client.poll(0.05)
            client.wait_for_summary()
            assert client.instance("new").state == "running"
            assert client.reconnects == 1
    assert second.executed == [wire.VERB_HELLO, wire.VERB_LEVEL]


def test_a_board_that_starts_anew_is_greeted_anew(agent: FakeAgent, client: Client) -> None:
    agent.add("hog")
    client.hello()
    client.set_trace(True)
    client.wait_for_summary()
    agent.reboot()
    deadline = time.monotonic() + 10
    while not agent.trace and time.monotonic() < deadline:
        client.poll(0.05)
    assert agent.trace
    assert client.instance("hog").state == "running"


def test_the_tap_sees_every_byte(agent: FakeAgent) -> None:
    chunks: list[bytes] = []
    with Client(connect(agent), tap=lambda data, now: chunks.append(data)) as client:
        client.hello()
        client.wait_for_summary(2)
        assert client.tracker.damaged == 0
    data = b"".join(chunks)
    assert data.count(wire.MAGIC) >= 3


HOLD = """
import sys, time
from guesthouse.link.ports import PortSpec
from guesthouse.link.serial import open_serial
port = open_serial(PortSpec(sys.argv[1], "fake"))
print("held", flush=True)
sys.stdin.read()
"""


OPEN = """
import sys
line = open(sys.argv[1], "rb", buffering=0)
print("open", flush=True)
sys.stdin.read()
"""


def run_script(path: Path, source: str, port: str) -> subprocess.Popen[bytes]:
    """A Python process that has done something to the port once it has said a line."""
    path.write_text(source)
    process = subprocess.Popen(
        [sys.executable, str(path), port],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_the_holder_is_who_locked_the_port_not_who_has_it_open(
    agent: FakeAgent, tmp_path: Path
) -> None:
    # As a simulated board's own process has; before and after the one that counts.
    with (
        run_script(tmp_path / "before.py", OPEN, agent.path) as before,
        run_script(tmp_path / "owner.py", HOLD, agent.path) as owner,
        run_script(tmp_path / "after.py", OPEN, agent.path) as after,
    ):
        holder = find_holder(agent.path)
        for process in (before, owner, after):
            process.communicate()
    assert holder is not None
    assert (holder.pid, holder.locked) == (owner.pid, True)
    assert holder.command.startswith("owner.py")


def test_a_held_port_names_the_program_and_the_process(agent: FakeAgent, tmp_path: Path) -> None:
    with run_script(tmp_path / "holder_script.py", HOLD, agent.path) as holder:
        with pytest.raises(GuesthouseError) as caught:
            connect(agent)
        holder.communicate()
    assert caught.value.code is ExitCode.BUSY
    assert f"fake is held by holder_script.py {agent.path}"[:40] in caught.value.message
    assert f"(process {holder.pid})" in caught.value.message
    connect(agent).close()
