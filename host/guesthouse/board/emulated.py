"""The program of an emulated Pico: ``python -m guesthouse.board.emulated FLASH [--cut-at N]``.

Its standard input and output are the master of a pseudo-terminal, as the supervisor gives it. It
runs until it is killed, or the power is cut (status CUT): the flash's file is always up to date.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from pathlib import Path

from guesthouse.board import pty
from guesthouse.board.emulator import Pico, PowerCut
from guesthouse.board.supervisor import READY_FILE

CUT = 75  # the exit status after a power cut that was asked for

_LINE = 0  # standard input and output are the same
_PENDING_MAX = 4096  # bytes for the host that a packet may add to: then the board has to wait
_BOOT_MAX_S = 3.0  # emulated; a board that is silent and busy for so long has started as well


class Cable:
    """Carries bytes between the board's USB and the pseudo-terminal, and who has it open."""

    def __init__(self, flash: Path, cut_at: int) -> None:
        self._pending = bytearray()
        self.pico = Pico(flash, self._pending.extend, cut_at=cut_at)
        self.pico.taking = self._host_is_there = False
        os.set_blocking(_LINE, False)

    def serve(self, pause_s: float) -> None:
        """Carry what there is; then wait for more from the host, at most ``pause_s``."""
        there, readable = pty.host_is_there(_LINE, 0)
        if there != self._host_is_there:
            self._host_is_there = there
            self.pico.set_attached(there)
            if not there:
                self._pending.clear()  # a closed port loses what nobody has read
        self._write()
        room = self.pico.room
        if pause_s and not (readable and room):
            if there and room:
                readable = pty.host_is_there(_LINE, pause_s * 1000)[1]
            else:  # the line would be ready at once, and for nothing
                time.sleep(pause_s)
        if readable and room:  # a host that has gone may have sent something before
            with contextlib.suppress(OSError):
                self.pico.send(os.read(_LINE, room))

    def _write(self) -> None:
        while self._pending:
            try:
                del self._pending[: os.write(_LINE, self._pending)]
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                self._pending.clear()
        taking = self._host_is_there and len(self._pending) < _PENDING_MAX
        if taking != self.pico.taking:
            self.pico.taking = taking
            if taking:
                self.pico.resume()


def _has_booted(pico: Pico, pause_s: float) -> bool:
    """It speaks, or sleeps until there is input, as at the REPL's prompt."""
    return pico.has_something or pause_s > 0 or pico.emulated_s > _BOOT_MAX_S


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m guesthouse.board.emulated")
    parser.add_argument("flash", type=Path)
    parser.add_argument("--cut-at", type=int, default=0)
    options = parser.parse_args(arguments)
    cable = Cable(options.flash, options.cut_at)
    pico = cable.pico
    ready = options.flash.with_name(READY_FILE)
    pause_s = 0.0
    try:
        while True:
            cable.serve(pause_s)
            pause_s = pico.run_for_a_moment()
            if ready is not None and pico.enumerated and _has_booted(pico, pause_s):
                ready.touch()
                ready = None
    except PowerCut:
        print(f"the power was cut at write {pico.flash.writes}", file=sys.stderr)
        return CUT
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
