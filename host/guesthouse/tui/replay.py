"""A recording as a source: at the pace at which it was made, or faster."""

from __future__ import annotations

import threading
from pathlib import Path

from guesthouse.core.recording import RecordingReader
from guesthouse.core.tracker import Tracker
from guesthouse.tui.fed import FedSource
from guesthouse.tui.source import LinkState, LinkStatus

# A board that was away for an hour is away for this long in the replay.
_LONGEST_GAP_S = 5.0
_NS = 1_000_000_000


def open_replay(path: Path | str, speed: float = 1.0) -> FedSource:
    """Replay ``path`` at ``speed`` times its pace; 0 is as fast as the screen takes it.

    Raises GuesthouseError where the file is no recording.
    """
    reader = RecordingReader(path)
    stop = threading.Event()
    name = reader.path.name
    source = FedSource(Tracker(), LinkStatus(LinkState.REPLAY, name), on_close=stop.set)

    def play() -> None:
        before: int | None = None
        with reader:
            for chunk in reader.chunks():
                if before is not None and speed > 0:
                    gap = min((chunk.monotonic_ns - before) / _NS, _LONGEST_GAP_S)
                    if gap > 0:
                        stop.wait(gap / speed)
                if stop.is_set():
                    return
                before = chunk.monotonic_ns
                source.feed(chunk.data, chunk.monotonic_ns)
        source.end(LinkStatus(LinkState.ENDED, name))

    threading.Thread(target=play, name="replay", daemon=True).start()
    return source
