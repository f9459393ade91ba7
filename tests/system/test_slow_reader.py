"""A host that stops reading costs telemetry, never a guest, and every record is accounted for."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from guesthouse.board import sim
from guesthouse.core.model import BoardModel
from guesthouse.guests.image import load_image
from guesthouse.link.client import Client
from guesthouse.link.deploy import deploy
from guesthouse.link.ports import PortSpec
from guesthouse.link.serial import open_serial

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="Unix-port boards need Linux"
)

PAUSE_S = 10
PERIOD_MS = 10
TICKER = f"""
import asyncio
async def main():
    while True:
        await asyncio.sleep_ms({PERIOD_MS})
"""


def slices(model: BoardModel) -> int:
    return next(i.slices for i in model.instances.values() if i.image == "ticker")


def test_a_reader_that_pauses_loses_counted_records_and_no_guest_waits(tmp_path: Path) -> None:
    folder = tmp_path / "ticker"
    folder.mkdir()
    (folder / "guest.toml").write_text('name = "ticker"\n')
    (folder / "main.py").write_text(TICKER)
    with (
        sim.private_board() as board,
        Client(open_serial(PortSpec(board.path, board.port))) as client,
    ):
        client.hello()
        deploy(client, load_image(folder))
        client.set_trace(True)
        client.wait_for_summary(2)
        before = slices(client.model)
        dropped = sum(client.model.dropped.values())

        time.sleep(PAUSE_S)  # nobody reads: the line fills up within a second

        deadline = time.monotonic() + 30
        while sum(client.model.dropped.values()) == dropped and time.monotonic() < deadline:
            client.poll(0.1)
        client.wait_for_summary(2)
        after = slices(client.model)
        assert sum(client.model.dropped.values()) > dropped, "the board dropped nothing"
        assert client.model.missed == 0, "a record was numbered and then lost"
        # the guest ran all the time: half of what it could do is room for a busy machine
        assert after - before > PAUSE_S * 1000 / PERIOD_MS / 2
