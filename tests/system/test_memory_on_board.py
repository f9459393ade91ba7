"""A guest's memory as the commands tell it: to the block, and as estimates where the heap cannot be
read. One board after the other, in a state folder of their own."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from guesthouse.board import sim
from guesthouse.cli.main import main

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="Unix-port boards need Linux"
)

HOLDS = """
import asyncio
async def main():
    kept = [bytearray(1000) for _ in range(20)]
    while kept:
        await asyncio.sleep_ms(20)
"""
HOARDS = """
import asyncio
async def main():
    kept = []
    while True:
        kept.append(bytearray(1000))
        await asyncio.sleep_ms(0)
"""

Ask = Callable[..., Any]


@pytest.fixture(scope="module", params=["exact", "estimated"])
def kind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A board that has the guest ``holds``; of the second the heap is not to be read."""
    folder = tmp_path_factory.mktemp("memory")
    (folder / "holds").mkdir()
    (folder / "holds" / "main.py").write_text(HOLDS)
    quotas = '[memory]\nmin = "8k"\nhigh = "16k"\nmax = "64k"\n'
    (folder / "holds" / "guest.toml").write_text(quotas)
    (folder / "hoards.py").write_text(HOARDS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        patch.setenv("GUESTHOUSE_PORT", "sim")
        patch.chdir(folder)
        assert main(["sim"]) == 0
        if request.param == "estimated":
            board = sim.require("sim")
            sim.stop("sim")
            (Path(board.root) / "estimate.on").touch()
            assert main(["sim"]) == 0
        try:
            assert main(["deploy", "holds"]) == 0
            time.sleep(0.5)
            yield request.param
        finally:
            sim.stop("sim")


@pytest.fixture
def ask(kind: str, capsys: pytest.CaptureFixture[str]) -> Ask:
    def run(*words: str) -> Any:
        capsys.readouterr()
        assert main([*words, "--json"]) in (0, 1)
        return json.loads(capsys.readouterr().out)

    return run


def test_whether_figures_are_exact_shows_everywhere(
    kind: str, ask: Ask, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    exact = kind == "exact"
    assert [guest["mem_exact"] for guest in ask("ps")] == [exact]
    assert [guest["mem_exact"] for guest in ask("top")["guests"]] == [exact]
    assert ask("inspect", "holds", "--collect")["exact"] is exact
    mechanism = ask("doctor")["mechanisms"]["frame-table"]
    assert mechanism == {"ok": exact, "reason": "" if exact else "forced"}
    file = str(tmp_path / "memory.ghr")
    ask("record", file, "--seconds", "2")
    (boot,) = ask("analyze", file)["boots"]
    assert [guest["memory"]["exact"] for guest in boot["guests"]] == [exact]
    for words in (["ps"], ["top", "--once"], ["inspect", "holds"], ["analyze", file]):
        assert main(words) == 0
        assert ("~" in capsys.readouterr().out) is not exact, words


def test_inspect_tells_where_the_memory_goes(kind: str, ask: Ask) -> None:
    told = ask("inspect", "holds", "--collect")
    assert (told["min"], told["high"], told["max"]) == (8192, 16384, 65536)
    if kind == "exact":
        assert told["live"] == told["loop"] + told["code"] + told["data"]
        assert told["loop"] > 0 and told["code"] > 500
        assert 20_000 < told["data"] < 24_000 and told["peak"] >= told["live"]
        assert ask("ps")[0]["mem_above_high"] is True


def test_a_hoarder_is_ended_by_its_limit_either_way(kind: str) -> None:
    assert main(["run", "hoards.py", "--mem", "64k"]) == 1
