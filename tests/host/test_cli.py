"""The command line against a board's side of the wire: data on stdout, words on stderr, codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from guesthouse.cli.main import build_parser, main
from guesthouse.core import wire
from guesthouse.core.errors import ExitCode
from guesthouse.core.model import InstanceModel
from guesthouse.core.recording import read_recording
from tests.host.fake_agent import FakeAgent, Refusal

MAIN = "async def main():\n    print('hello')\n"


@pytest.fixture
def agent() -> Iterator[FakeAgent]:
    with FakeAgent() as fake:
        yield fake


@pytest.fixture
def cli(
    agent: FakeAgent, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs a command line on the fake board: (exit code, stdout, stderr)."""

    def call(*words: str) -> tuple[int, str, str]:
        code = main(["-p", agent.path, *words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


Cli = Callable[..., tuple[int, str, str]]


def start(agent: FakeAgent, *words: str, **options: Any) -> subprocess.Popen[str]:
    """The same in a process of its own, for signals and pipes."""
    return subprocess.Popen(
        [sys.executable, "-m", "guesthouse.cli.main", "-p", agent.path, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": "1"},
        **options,
    )


def test_ps_prints_a_table_or_data(agent: FakeAgent, cli: Cli) -> None:
    agent.add("sampler", cpu_max_us=20_000, mem_max=32768)
    agent.add("hog")
    code, out, err = cli("ps")
    assert (code, err) == (0, "")
    assert [line.split()[:2] for line in out.splitlines()][1:] == [
        ["sampler.0", "running"],
        ["hog.0", "running"],
    ]
    code, out, _ = cli("ps", "--json")
    guests = {guest["name"]: guest for guest in json.loads(out)}
    assert guests["sampler.0"]["cpu_max"] == 0.2
    assert guests["sampler.0"]["mem_max"] == 32768
    assert guests["hog.0"]["cpu_max"] is None
    # 1 ms more at each summary, which are some 50 ms apart
    assert guests["hog.0"]["cpu_share"] > 0


def test_top_is_one_screen_in_a_pipe(agent: FakeAgent, cli: Cli) -> None:
    agent.add("sampler")
    code, out, _ = cli("top")
    assert code == 0
    assert "fake" in out and "sampler.0" in out
    assert "\x1b" not in out
    code, out, _ = cli("top", "--json")
    board = json.loads(out)
    assert board["board"] == "fake"
    assert [guest["name"] for guest in board["guests"]] == ["sampler.0"]
    assert {"elapsed_us", "agent_us", "idle_us", "steal_us", "unaccounted_us"} <= board.keys()


def test_why_names_the_line(agent: FakeAgent, cli: Cli) -> None:
    agent.log(agent.add("hog"), "last words")
    code, out, _ = cli("why", "hog")
    assert code == 0
    assert "main.py:4 in spin" in out and "main.py:9 in main" in out and "last words" in out
    assert json.loads(cli("why", "hog.0", "--json")[1])["reason"] == "overrun"


def test_why_without_a_guest_tells_the_journal(agent: FakeAgent, cli: Cli) -> None:
    assert cli("why")[1] == "nothing in the board's journal\n"
    agent.journal = [
        event("agent-fault", reset="watchdog", count=3),
        *[event("too-many-failures", f"g{number}.0") for number in range(9)],
        event("escalated", "hog.0", boot=agent.boot_id),
    ]
    code, out, _ = cli("why")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].startswith("this boot, 7") and "hog.0 held the processor" in lines[0]
    assert lines[-1].startswith("boot 0000aa, 7")
    assert lines[-1].endswith("the agent hung, and the watchdog reset the board (3 times)")
    assert len(lines) == 11
    data = json.loads(cli("why", "--json")[1])
    assert data == {"events": agent.journal, "damaged": False}


def event(
    reason: str, guest: str = "", reset: str = "unknown", count: int = 1, boot: int = 0xAA
) -> dict[str, object]:
    """An event as a board's journal has it."""
    return {"reason": reason, "guest": guest, "reset": reset, "count": count, "boot": boot, "s": 7}


def test_logs_are_whole_and_in_order(agent: FakeAgent, cli: Cli) -> None:
    guest = agent.add("hog")
    guest.logs = [f"line {number}" for number in range(10)]
    code, out, _ = cli("logs", "hog")
    assert (code, out) == (0, "".join(f"line {number}\n" for number in range(10)))
    assert json.loads(cli("logs", "hog", "--json")[1])["lines"] == guest.logs
    code, _, err = cli("logs")
    assert code == ExitCode.USAGE
    assert "-f" in err


def test_guests_are_controlled_by_their_short_names(agent: FakeAgent, cli: Cli) -> None:
    agent.add("hog")
    agent.add("other")
    for verb, number in (
        ("stop", wire.VERB_STOP),
        ("start", wire.VERB_START),
        ("kill", wire.VERB_KILL),
        ("restart", wire.VERB_RESTART),
    ):
        agent.received.clear()
        code, out, err = cli(verb, "hog")
        assert (code, out) == (0, "")
        assert "hog.0 is" in err
        assert agent.received[-1][0] == number
        assert json.loads(agent.received[-1][2]) == {"g": "hog.0"}
    code, out, _ = cli("stop", "hog", "other.0", "--json")
    assert json.loads(out) == [
        {"name": "hog.0", "state": "stopped"},
        {"name": "other.0", "state": "stopped"},
    ]


def test_set_sends_what_changes_and_checks_it_beside_the_rest(agent: FakeAgent, cli: Cli) -> None:
    agent.add("hog", cpu_max_us=20_000, mem_max=32768)
    code, _, err = cli("set", "hog", "--cpu", "40%", "--weight", "300")
    assert code == 0, err
    body = json.loads(next(body for verb, _, body in agent.received if verb == wire.VERB_SET))
    assert body == {"g": "hog.0", "cpu_max_us": 40_000, "cpu_period_us": 100_000, "weight": 300}
    code, out, _ = cli("set", "hog", "--mem", "none", "--json")
    assert json.loads(out)["mem_max"] is None
    code, _, err = cli("set", "hog", "--cpu", "-5%")
    assert code == ExitCode.USAGE
    assert "--cpu is '-5%'" in err
    code, _, err = cli("set", "hog", "--mem", "16M")
    assert code == ExitCode.USAGE
    assert "above this board's heap" in err
    code, _, err = cli("set", "hog")
    assert code == ExitCode.USAGE
    assert cli("set", "nobody", "--cpu", "5%")[0] == ExitCode.USAGE


def test_set_says_how_far_limits_may_add_up(agent: FakeAgent, cli: Cli) -> None:
    code, out, err = cli("set", "--oversubscription", "cpu=4.0")
    assert (code, out) == (0, "")
    assert "cpu 400%" in err and "ram 100%" in err
    body = json.loads(next(body for verb, _, body in agent.received if verb == wire.VERB_SET))
    assert body == {"g": "board", "oversubscription_cpu_ppm": 4_000_000}
    words = ("--oversubscription", "cpu=2", "--oversubscription", "ram=1.5")
    code, out, _ = cli("set", *words, "--json")
    assert json.loads(out) == {"oversubscription_cpu": 2.0, "oversubscription_ram": 1.5}
    for wrong in ("cpu", "cpu=x", "cpu=0", "disk=2", "cpu=nan", "cpu=1e9"):
        code, _, err = cli("set", "--oversubscription", wrong)
        assert code == ExitCode.USAGE and repr(wrong) in err, wrong
    # a guest has no such quota, and a quota needs its guest
    assert cli("set", "hog", "--oversubscription", "cpu=2")[0] == ExitCode.USAGE
    assert cli("set", "--cpu", "20%")[0] == ExitCode.USAGE
    assert cli("set")[0] == ExitCode.USAGE


def test_top_shows_what_of_the_cpu_is_promised(agent: FakeAgent, cli: Cli) -> None:
    agent.add("sampler", cpu_max_us=20_000)
    agent.add("hog", cpu_max_us=50_000)
    code, out, _ = cli("top")
    assert code == 0
    assert "cpu reserved 0.0% of 90% · limits 70% of 200% · used " in out
    board = json.loads(cli("top", "--json")[1])
    assert (board["cpu_capacity"], board["cpu_reserved"], board["cpu_limits"]) == (0.9, 0.0, 0.7)
    assert (board["oversubscription_cpu"], board["oversubscription_ram"]) == (2.0, 1.0)


def test_a_new_period_keeps_the_share_and_a_stated_one_wins() -> None:
    from guesthouse.cli.control import quota_changes
    from guesthouse.guests.manifest import ManifestError

    guest = InstanceModel(2, "hog.0", "hog", cpu_max_us=20_000, cpu_min_us=1_000,
                          cpu_min_period_us=10_000, slice_max_us=5_000)  # fmt: skip
    assert quota_changes(guest, {("cpu", "period"): "50ms"}) == {
        "cpu_max_us": 10_000,
        "cpu_period_us": 50_000,
    }
    assert quota_changes(guest, {("cpu", "max"): "3ms/10ms"}) == {
        "cpu_max_us": 3_000,
        "cpu_period_us": 10_000,
    }
    assert quota_changes(guest, {("cpu", "min"): "none"}) == {
        "cpu_min_us": None,
        "cpu_min_period_us": None,
    }
    with pytest.raises(ManifestError, match="above max"):
        quota_changes(guest, {("cpu", "max"): "5%"})


def test_deploy_sends_the_folder_and_the_options_win(
    agent: FakeAgent, cli: Cli, tmp_path: Path
) -> None:
    folder = tmp_path / "sampler"
    folder.mkdir()
    (folder / "main.py").write_text(MAIN)
    (folder / "guest.toml").write_text("[cpu]\nmax = '10%'\n")
    code, out, err = cli("deploy", str(folder), "--mem", "64k")
    assert (code, out) == (0, "")
    assert "sampler.0 is ready" in err
    config = json.loads(bytes(agent.images["sampler"].files["guest.json"]))
    assert (config["cpu_max_us"], config["mem_max"]) == (10_000, 65536)
    assert config["autostart"] is True
    code, out, _ = cli("deploy", str(folder), "--no-start", "--json")
    assert json.loads(out)[0]["state"] == "stopped"
    code, _, err = cli("deploy", str(folder), "--mem", "2M")
    assert code == ExitCode.USAGE
    assert "above this board's heap (1 MiB)" in err


def test_a_mistake_in_a_manifest_is_told_without_a_board(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "main.py").write_text(MAIN)
    (tmp_path / "guest.toml").write_text("[cpu]\nmaxx = '10%'\n")
    code, out, err = cli("-p", "/dev/nonexistent", "deploy", str(tmp_path))
    assert (code, out) == (ExitCode.USAGE, "")
    assert err.splitlines()[0].endswith("guest.toml: [cpu] maxx: there is no such key")
    assert err.splitlines()[1] == "  did you mean 'max'?"


def test_run_follows_the_guest_to_its_end(agent: FakeAgent, cli: Cli, tmp_path: Path) -> None:
    program = tmp_path / "My Program.py"
    program.write_text(MAIN)

    def board() -> None:
        while "my_program.0" not in agent.guests:
            time.sleep(0.01)
        guest = agent.guests["my_program.0"]
        time.sleep(0.3)
        agent.log(guest, "hello")
        agent.log(guest, "bye")
        agent.change(guest, wire.STATE_EXITED, wire.REASON_RETURNED)

    thread = threading.Thread(target=board)
    thread.start()
    code, out, err = cli("run", str(program), "--cpu", "20%", "--mem", "32k")
    thread.join()
    assert (code, out) == (0, "hello\nbye\n")
    assert "my_program.0 exited" in err
    config = json.loads(bytes(agent.images["my_program"].files["guest.json"]))
    assert (config["cpu_max_us"], config["mem_max"]) == (20_000, 32768)
    assert (config["autostart"], config["restart"]) == (False, "never")


def test_run_reports_a_failure_by_its_exit_code(agent: FakeAgent, cli: Cli, tmp_path: Path) -> None:
    program = tmp_path / "crash.py"
    program.write_text(MAIN)

    def board() -> None:
        while "crash.0" not in agent.guests:
            time.sleep(0.01)
        time.sleep(0.2)
        agent.change(agent.guests["crash.0"], wire.STATE_FAILED, wire.REASON_EXCEPTION)

    thread = threading.Thread(target=board)
    thread.start()
    code, _, err = cli("run", str(program))
    thread.join()
    assert code == ExitCode.FAILURE
    assert "crash.0 failed" in err


def test_ctrl_c_stops_a_program_that_runs_in_front(agent: FakeAgent, tmp_path: Path) -> None:
    program = tmp_path / "loop.py"
    program.write_text(MAIN)
    with start(agent, "run", str(program)) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "Ctrl-C stops it" in line:
                break
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == ExitCode.INTERRUPTED
    assert "loop.0 is stopped" in err
    assert "Traceback" not in err
    assert agent.executed[-1] == wire.VERB_STOP


def test_detached_it_goes_on(agent: FakeAgent, cli: Cli, tmp_path: Path) -> None:
    program = tmp_path / "loop.py"
    program.write_text(MAIN)
    code, out, err = cli("run", "--detach", str(program))
    assert (code, out) == (0, "")
    assert "loop.0 is ready" in err
    assert wire.VERB_STOP not in agent.executed


def test_rm_removes_by_image(agent: FakeAgent, cli: Cli) -> None:
    agent.add("hog")
    assert cli("rm", "hog.0")[0] == 0
    assert json.loads(agent.received[-1][2]) == {"g": "hog"}
    code, out, err = cli("rm", "hog")
    assert (code, out) == (ExitCode.USAGE, "")
    assert err.splitlines() == ["guesthouse: there is no image hog", "  deploy it"]


def test_the_boards_refusal_reaches_the_user(agent: FakeAgent, cli: Cli) -> None:
    agent.add("hog")
    agent.refuse[wire.VERB_START] = Refusal(wire.STATUS_REFUSED, "does not fit", "lower cpu min")
    code, _, err = cli("start", "hog")
    assert code == ExitCode.REFUSED
    assert err.splitlines() == ["guesthouse: does not fit", "  lower cpu min"]


def test_record_writes_what_came_and_says_how_much(
    agent: FakeAgent, cli: Cli, tmp_path: Path
) -> None:
    agent.add("hog")
    file = tmp_path / "night.ghr"
    code, out, err = cli("record", "-o", str(file), "--seconds", "0.5", "--trace")
    assert (code, out) == (0, "")
    assert "records in 0.5 s, 0 missed" in err
    meta, chunks = read_recording(file)
    assert meta["port"] == agent.path
    data = b"".join(chunk.data for chunk in chunks)
    assert data.count(wire.MAGIC) >= 3
    assert agent.executed == [wire.VERB_HELLO, wire.VERB_LEVEL, wire.VERB_LEVEL]
    assert not agent.trace
    report = json.loads(cli("analyze", str(file), "--json")[1])
    assert [guest["name"] for guest in report["boots"][0]["guests"]] == ["hog.0"]
    assert "hog.0" in cli("analyze", str(file))[1]
    code, _, err = cli("record", str(file), "--seconds", "0.5")
    assert code == ExitCode.USAGE
    assert "not overwritten" in err
    code, out, _ = cli("record", str(tmp_path / "b.ghr"), "--seconds", "0.5", "--json")
    figures = json.loads(out)
    assert figures["records"] > 0
    assert (figures["missed"], figures["reconnects"]) == (0, 0)


def test_record_ends_well_at_ctrl_c_and_sigterm(agent: FakeAgent, tmp_path: Path) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        file = tmp_path / f"{number}.ghr"
        with start(agent, "record", str(file)) as process:
            assert process.stderr is not None
            assert "recording" in process.stderr.readline()
            process.send_signal(number)
            _, err = process.communicate(timeout=30)
        assert process.returncode == 0
        assert "records in" in err
        assert "Traceback" not in err
        assert read_recording(file)[1]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_ends_a_recording_in_words(cli: Cli) -> None:
    code, _, err = cli("record", "/dev/full", "--seconds", "5")
    assert code == ExitCode.DISK_FULL
    assert err.startswith("guesthouse: no space left for /dev/full")


def test_what_is_no_recording_is_refused_in_words(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "x.ghr").write_text("hello")
    code, out, err = cli("analyze", str(tmp_path / "x.ghr"))
    assert (code, out) == (ExitCode.DAMAGED, "")
    assert "is not a recording" in err
    assert cli("analyze", str(tmp_path / "none.ghr"))[0] == ExitCode.USAGE


def test_nothing_recorded_leaves_no_file(tmp_path: Path, agent: FakeAgent, cli: Cli) -> None:
    agent.close()
    file = tmp_path / "x.ghr"
    assert cli("record", str(file))[0] == ExitCode.NO_BOARD
    assert not file.exists()


def test_follow_goes_on_until_ctrl_c(agent: FakeAgent) -> None:
    guest = agent.add("hog")
    guest.logs = ["first"]
    with start(agent, "logs", "-f", "hog") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "first\n"
        agent.log(guest, "second")
        assert process.stdout.readline() == "second\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == ExitCode.INTERRUPTED
    assert err == ""


def test_a_reader_that_leaves_ends_the_command_quietly(agent: FakeAgent) -> None:
    guest = agent.add("hog")
    guest.logs = ["first"]
    with start(agent, "logs", "-f", "hog") as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        agent.log(guest, "second")
        err = process.stderr.read()
        assert process.wait(30) == 141
    assert err == ""


def test_a_second_command_is_told_who_holds_the_port(agent: FakeAgent, cli: Cli) -> None:
    with start(agent, "logs", "-f") as process:
        while not agent.executed:
            time.sleep(0.01)
        code, _, err = cli("ps")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert code == ExitCode.BUSY
    assert f"(process {process.pid})" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pss"], "did you mean ps?"),
        (["kill"], "GUEST"),
        (["set", "hog", "--weight", "much"], "--weight"),
        (["record", "--seconds", "0"], "number of seconds"),
        (["top", "--sometimes"], "--sometimes"),
        (["monitor"], "needs a terminal"),
        (["replay", "x.ghr"], "needs a terminal"),
    ],
)
def test_a_wrong_command_line_is_two_lines_of_words(
    capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(words) == ExitCode.USAGE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 2
    assert said in captured.err


def test_no_verb_prints_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == ExitCode.USAGE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "verbs:" in captured.err


def test_devs_lists_boards_as_data(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert main(["devs", "--json"]) == 0
    for device in json.loads(capsys.readouterr().out):
        assert {"port", "path", "kind", "description"} <= device.keys()
    assert main(["sim", "--list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert main(["sim", "--stop"]) == ExitCode.NO_BOARD


def test_every_verb_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    actions = [action for action in build_parser()._actions if action.dest == "==SUPPRESS=="]
    verbs = list(actions[0].choices or ())
    assert {"sim", "devs", "run", "deploy", "rm", "ps", "top", "why", "logs", "start", "stop",
            "kill", "restart", "set", "record", "analyze", "monitor",
            "doctor", "new"} <= set(verbs)  # fmt: skip
    for verb in verbs:
        with pytest.raises(SystemExit) as caught:
            main([verb, "--help"])
        assert caught.value.code == 0
        assert "usage: guesthouse" in capsys.readouterr().out


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from guesthouse.cli.main import build_parser; build_parser().format_help();"
        "print(*sorted(set(sys.modules) & {'polars', 'textual', 'serial', 'asyncio'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
    )
    assert done.stdout.strip() == ""


def test_output_that_cannot_show_line_drawing_gets_ascii(agent: FakeAgent) -> None:
    agent.add("sampler")
    with start(agent, "top") as process:
        process.communicate(timeout=30)
    done = subprocess.run(
        [sys.executable, "-m", "guesthouse.cli.main", "-p", agent.path, "top"],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "ascii"},
        check=True,
    )
    done.stdout.decode("ascii")
    assert b"?????" not in done.stdout
