"""``bench quotas`` on a simulated board: what its contract says; figures are no test's matter."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from typing import Any

import pytest

from guesthouse.bench import kills, quotas, quotas_emulated, shares
from guesthouse.board.firmware import Firmware
from guesthouse.board.micropython import MicroPython, find_or_provide
from guesthouse.board.sim import private_board
from guesthouse.core.errors import ExitCode, GuesthouseError
from guesthouse.link.client import Client
from guesthouse.link.ports import PortSpec
from guesthouse.link.serial import open_serial
from tests.system.test_bench import bench

pytestmark = pytest.mark.skipif(platform.system() != "Linux", reason="these boards need Linux")

SMALL = quotas.Scale(windows=1, kills=1, releases=10)


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    done = bench(tmp_path_factory.mktemp("bench"), "quotas", "--json", "--quick")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def micropython() -> MicroPython:
    return find_or_provide()


@pytest.fixture
def client(micropython: MicroPython) -> Iterator[Client]:
    with (
        private_board("bench", micropython=micropython) as board,
        Client(open_serial(PortSpec(board.path, "bench", "sim"))) as client,
    ):
        client.hello()
        client.wait_for_summary()
        yield client


def test_the_object_has_the_keys_of_the_contract(printed: dict[str, Any]) -> None:
    assert {"board", "firmware", "shares", "kills", "wakeups"} <= set(printed)
    assert printed["how"]
    assert printed["missing"] == []
    for row in printed["shares"]:
        assert {"mix", "guest", "requested", "delivered", "error"} <= set(row)
        assert row["error"] == pytest.approx(row["delivered"] - row["requested"], abs=2e-5)
    for row in printed["kills"]:
        assert {"kind", "n", "p50_us", "p99_us", "max_us", "survived"} <= set(row)
        assert 0 < row["p50_us"] <= row["p99_us"] <= row["max_us"]
    for row in printed["wakeups"]:
        assert {"setup", "releases", "missed", "p50_us", "p99_us", "max_us"} <= set(row)
        assert 0 <= row["p50_us"] <= row["p99_us"] <= row["max_us"]


def test_every_mix_kind_and_setup_is_there(printed: dict[str, Any]) -> None:
    assert len({row["mix"] for row in printed["shares"]}) >= 4
    assert {row["kind"] for row in printed["kills"]} == set(kills.KINDS)
    assert all(row["n"] == quotas.QUICK.kills for row in printed["kills"])
    assert {row["setup"] for row in printed["wakeups"]} == {"alone", "hogs", "asyncio-hogs"}
    assert all(row["releases"] == quotas.QUICK.releases for row in printed["wakeups"])


def test_the_worst_comes_first(printed: dict[str, Any]) -> None:
    errors = [abs(row["error"]) for row in printed["shares"]]
    assert errors == sorted(errors, reverse=True)
    for rows in (printed["kills"], printed["wakeups"]):
        worst = [row["max_us"] for row in rows]
        assert worst == sorted(worst, reverse=True)


def test_a_hog_holds_the_loop_up_in_plain_asyncio_and_not_in_the_house(
    printed: dict[str, Any],
) -> None:
    missed = {row["setup"]: row["missed"] for row in printed["wakeups"]}
    assert missed["asyncio-hogs"] > printed["wakeups"][0]["releases"] // 2
    assert missed["hogs"] < missed["asyncio-hogs"] // 2


def test_limits_add_up_to_four_times_the_board() -> None:
    for crowd in (False, True):
        mixes = shares.mixes((1_000, 10_000), (4_000, 40_000), crowd)
        assert max(mix.limits for mix in mixes) == pytest.approx(4.0)


def test_a_guest_loses_the_task_that_hangs_and_goes_on_until_it_is_stopped(client: Client) -> None:
    with quotas._installed(client, kills.lasting_images(64), print):
        kills.set_warden(client)
        found = [kills.measure_tasks(client, kind, 3, print, 60.0) for kind in kills.KINDS]
        assert [one.kind for one in found] == list(kills.KINDS)
        for one in found:
            assert (one.n, one.survived, one.otherwise) == (3, 0, 0), one
            assert one.p50_us is not None
            assert one.p50_us > 0
        client.wait_for_summary()
        hung = [client.instance(kind) for kind in kills.KINDS]
        assert {guest.state for guest in hung} == {"killed"}
        # each loaded once, and stopped more often
        assert all(guest.kills > 3 and not guest.restarts for guest in hung)
        # no time is left: one all the same
        one = kills.measure_tasks(client, "loop", 3, print, 0.0)
        assert 1 <= one.n <= 3, one


@pytest.mark.parametrize("error", [GuesthouseError("it broke"), KeyboardInterrupt()])
def test_the_board_is_as_it_was_whatever_ends_the_bench(
    client: Client,
    micropython: MicroPython,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    before = client.model.oversubscription_cpu
    raised = []

    def broken(*_: Any) -> Any:
        client.wait_for_summary()
        raised.append((client.model.oversubscription_cpu, len(client.model.instances)))
        raise error

    monkeypatch.setattr(shares, "_windows", broken)
    if isinstance(error, GuesthouseError):
        found = quotas.measure(client, micropython, SMALL, lambda text: None, pytest.fail)
        assert not found.shares
        assert {one.why for one in found.missing} == {"it broke"}
        assert len(found.missing) == len(raised) >= 4  # each mix was tried
        assert len(found.wakeups) == 3
    else:
        with pytest.raises(type(error)):
            quotas.measure(client, micropython, SMALL, lambda text: None, pytest.fail)
    client.hello()
    client.wait_for_summary()
    assert raised[0][0] == pytest.approx(4.0)
    assert raised[0][1] > 0
    assert client.model.oversubscription_cpu == before
    assert not client.model.instances


def test_options_of_the_other_bench_are_refused(tmp_path: Any) -> None:
    for arguments in (("quotas", "--rounds", "1"), ("dispatch", "--quick")):
        assert bench(tmp_path, *arguments).returncode == ExitCode.USAGE


@pytest.mark.soak
def test_it_runs_on_emulated_picos_as_well(firmware: Firmware) -> None:
    found = quotas_emulated.measure(firmware, quotas_emulated.QUICK, print).to_json_dict()
    assert found["missing"] == []
    assert len({row["mix"] for row in found["shares"]}) >= 4
    assert {row["kind"] for row in found["kills"]} == set(kills.KINDS)
    assert {row["setup"] for row in found["wakeups"]} == {"alone", "hogs", "asyncio-hogs"}
