"""The monitor's sources: a board on a port, and a recording played again.

Each is a thread that feeds bytes to a FedSource; everything about widgets is in tui.
"""

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from guesthouse.core import wire
from guesthouse.core.errors import ExitCode, GuesthouseError
from guesthouse.core.model import BoardModel
from guesthouse.core.recording import RecordingReader, RecordingWriter
from guesthouse.core.tracker import Tracker
from guesthouse.link.client import Client
from guesthouse.tui.fed import FedSource
from guesthouse.tui.source import LinkState, LinkStatus

_VERBS = {
    "start": wire.VERB_START,
    "stop": wire.VERB_STOP,
    "kill": wire.VERB_KILL,
    "restart": wire.VERB_RESTART,
}
_LONGEST_PAUSE_S = 2.0  # of a replay: what happened is wanted, not the waiting for it


@dataclass(slots=True)
class _Order:
    verb: str
    guest: str
    done: Future[str]


class LiveBoard:
    """Owns a client in a thread of its own; ``source`` is what the monitor shows.

    ``error`` is what ended the thread, or the recording, for the command to report at its end.
    """

    def __init__(self, recording: RecordingWriter | None = None) -> None:
        self.error: GuesthouseError | None = None
        self._recording = recording
        self._orders: queue.SimpleQueue[_Order] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._client: Client | None = None
        self._port = ""
        self.source = FedSource(
            Tracker(BoardModel()), self._status(True), commander=self._command, on_close=self.close
        )

    def tap(self, data: bytes, wall_ns: int) -> None:
        """Where the client's bytes go first: into the recording, and to the monitor."""
        if self._recording is not None:
            try:
                self._recording.write(data, wall_ns)
            except GuesthouseError as error:
                # The board is worth watching without a disk, too.
                self.error = error
                self._recording = None
                self.source.set_status(self._status(True))
        self.source.feed(data, wall_ns)

    def start(self, client: Client) -> None:
        """Take over ``client``, which was made with this object's tap, and run."""
        self._client = client
        self._port = client.port
        self.source.set_status(self._status(True))
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread. May be called twice."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(10)

    def _run(self) -> None:
        client = self._client
        assert client is not None
        connected = True
        try:
            while not self._stop.is_set():
                client.poll(0.05)
                if client.connected != connected:
                    connected = client.connected
                    self.source.set_status(self._status(connected))
                self._serve(client)
        except GuesthouseError as error:
            self.error = error
            self.source.set_status(self._status(False))
        self._stop.set()
        self._serve(None)

    def _serve(self, client: Client | None) -> None:
        while True:
            try:
                order = self._orders.get_nowait()
            except queue.Empty:
                return
            try:
                if client is None:
                    raise self.error or GuesthouseError("the link is closed")
                reply = client.command(_VERBS[order.verb], {"g": order.guest})
                order.done.set_result(str(reply.get("state", "")))
            except GuesthouseError as error:
                order.done.set_exception(error)

    def _command(self, verb: str, guest: str) -> str:
        order = _Order(verb, guest, Future())
        self._orders.put(order)
        while True:
            try:
                return order.done.result(0.5)
            except TimeoutError:
                if self._stop.is_set():
                    raise GuesthouseError(
                        f"cannot {verb} {guest}: the link is closed", "", ExitCode.NO_BOARD
                    ) from None

    def _status(self, connected: bool) -> LinkStatus:
        state = LinkState.CONNECTED if connected else LinkState.DISCONNECTED
        recording = self._recording.path.name if self._recording is not None else ""
        return LinkStatus(state, self._port, recording)


class Replay:
    """Plays a recording; ``speed`` 2 is twice as fast as it was, 0 all at once."""

    def __init__(self, path: Path, speed: float = 1.0) -> None:
        self._reader = RecordingReader(path)
        self._path = path
        self._speed = speed
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.source = FedSource(
            Tracker(BoardModel()), LinkStatus(LinkState.REPLAY, path.name), on_close=self.close
        )

    def start(self) -> None:
        """Run, in a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="replay", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread. May be called twice."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(10)

    def _run(self) -> None:
        before: int | None = None
        due = time.monotonic()
        with self._reader as reader:
            for chunk in reader.chunks():
                if self._speed > 0 and before is not None:
                    pause = max(0, chunk.monotonic_ns - before) / 1e9 / self._speed
                    due += min(pause, _LONGEST_PAUSE_S)
                    if self._stop.wait(max(0.0, due - time.monotonic())):
                        return
                if self._stop.is_set():
                    return
                before = chunk.monotonic_ns
                self.source.feed(chunk.data, chunk.wall_ns)
        self.source.end(LinkStatus(LinkState.ENDED, self._path.name))
