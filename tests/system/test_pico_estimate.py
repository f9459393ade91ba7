"""A Pico whose heap is not to be read: figures are estimates, and every view says so."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from guesthouse.board import picosim, processes
from guesthouse.board.firmware import Firmware
from guesthouse.cli.connect import sim_candidates
from guesthouse.cli.main import main
from guesthouse.core.errors import ExitCode
from guesthouse.guests.image import load_image
from guesthouse.install.filesystem import flash_image
from guesthouse.install.guests import files_of
from guesthouse.install.package import BoardFile, build_package
from guesthouse.install.target import target_of_family
from guesthouse.link import ports
from guesthouse.link.client import Client
from guesthouse.link.serial import open_serial

pytestmark = [
    pytest.mark.skipif(platform.system() != "Linux", reason="these boards need Linux"),
    pytest.mark.soak,
]

PATIENCE_S = 300

HOLDS = """
import asyncio
async def main():
    kept = bytearray(3000)
    while kept:
        await asyncio.sleep_ms(100)
"""


@pytest.fixture(scope="module")
def state(firmware: Firmware, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The board pico-sim with the guest holds; the switch for estimates is on."""
    folder = tmp_path_factory.mktemp("pico")
    (folder / "holds").mkdir()
    (folder / "holds" / "main.py").write_text(HOLDS)
    target = target_of_family(firmware.family)
    assert target is not None
    files = [*build_package(target).everything(), *files_of([load_image(folder / "holds")])]
    files.append(BoardFile("estimate.on", b""))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        patch.setenv("GUESTHOUSE_PORT", "pico-sim")
        flash = processes.folder_of("pico-sim", picosim.NAME) / "root" / picosim.FLASH_FILE
        flash.parent.mkdir(parents=True)
        flash.write_bytes(flash_image(firmware, files, picosim.FLASH_SIZE))
        picosim.start(firmware=firmware)
        try:
            spec = ports.resolve("pico-sim", sims=sim_candidates())
            with Client(open_serial(spec)) as client:
                client.wait_for_agent(PATIENCE_S / client.patience)
            yield folder
        finally:
            picosim.stop()


def test_estimates_are_called_so_everywhere(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def ask(*words: str) -> Any:
        capsys.readouterr()
        code = main([*words, "--json"])
        said = capsys.readouterr()
        assert code in (ExitCode.OK, ExitCode.FAILURE), said.err
        return json.loads(said.out)

    assert [guest["mem_exact"] for guest in ask("ps")] == [False]
    assert [guest["mem_exact"] for guest in ask("top")["guests"]] == [False]
    assert ask("inspect", "holds", "--collect")["exact"] is False
    assert ask("doctor")["mechanisms"]["frame-table"] == {"ok": False, "reason": "forced"}
    file = str(state / "estimated.ghr")
    ask("record", file, "--seconds", "2")
    (boot,) = ask("analyze", file)["boots"]
    assert [guest["memory"]["exact"] for guest in boot["guests"]] == [False]
    for words in (["ps"], ["top", "--once"], ["inspect", "holds"], ["analyze", file]):
        capsys.readouterr()
        assert main(words) == 0
        assert "~" in capsys.readouterr().out, words
