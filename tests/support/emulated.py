"""An emulated Pico in the test's own process: its time is exact, and the test is its host.

For tests of what a host does not do: read, or be there. On a pseudo-terminal it is the kernel that
reads first, and seconds are those of a machine that is busy with other things. Here a second is
the board's, and one in which it sleeps takes no time at all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from guesthouse.board.emulator import Pico
from guesthouse.link.client import Client

_SUSPEND = 1 << 14  # interrupts of the USB controller
_RESUME = 1 << 15
PATIENCE_S = 20.0  # of the board's time, for things that happen within a few of its seconds


class EmulatedPico:
    """A board whose flash is ``file``; it runs while it is waited for.

    With ``cut_at`` the power is cut in the midst of that write to the flash, counted from 1:
    whatever runs the board raises PowerCut then.
    """

    def __init__(self, file: Path, *, cut_at: int = 0) -> None:
        self._received = bytearray()
        self._to_send = bytearray()
        self._pico = Pico(file, self._received.extend, cut_at=cut_at)
        self.attach(False)

    @property
    def seconds(self) -> float:
        """Of the board, since power-on."""
        return self._pico.emulated_s

    @property
    def resets(self) -> int:
        """How often the watchdog has reset it, and no other way is used."""
        return self._pico.resets

    @property
    def writes(self) -> int:
        """How many pages of the flash were written, and sectors erased."""
        return self._pico.flash.writes

    def attach(self, there: bool) -> None:
        """Open the port, or close it: what was sent to nobody is lost."""
        self._received.clear()
        self._pico.set_attached(there)
        self.read(there)

    def read(self, on: bool) -> None:
        """Whether the host takes what the board sends."""
        self._pico.taking = on
        if on:
            self._pico.resume()

    def pull_cable(self) -> None:
        """End the bus while a program has the port open; the board has power of its own.

        To it this is a bus that sleeps: it cannot tell the two apart.
        """
        self._pico.enumerated = False  # no frames, and nothing from the host
        self._pico.taking = False
        self._signal(_SUSPEND)

    def wake_bus(self) -> None:
        """Undo it, without a reset of the bus."""
        self._pico.enumerated = True
        self._signal(_RESUME)
        self.read(True)

    def _signal(self, interrupt: int) -> None:
        usb = self._pico._usb
        usb._int_raw |= interrupt
        usb.check_interrupts()

    def take(self) -> bytes:
        """What has arrived, after a moment if there is nothing."""
        if not self._received:
            self.run_for(0.0)
        data = bytes(self._received)
        self._received.clear()
        return data

    def send(self, data: bytes) -> None:
        self._to_send += data

    def run_for(self, seconds: float) -> None:
        """Let ``seconds`` of the board's pass, a few ms at least."""
        end = self.seconds + seconds
        while True:
            if self._to_send and (room := self._pico.room):
                self._pico.send(bytes(self._to_send[:room]))
                del self._to_send[:room]
            self._pico.run_for_a_moment()
            if self.seconds >= end:
                break

    def take_until(self, end: bytes) -> bytes:
        """What arrives, up to and with ``end``; of what follows nothing may be wanted."""
        said = b""
        limit = self.seconds + PATIENCE_S
        while end not in said:
            assert self.seconds < limit, said
            said += self.take()
        return said

    def run(self, source: str) -> str:
        """What ``source`` prints; the board is at a prompt."""
        self.start(source)
        said = self.take_until(b"\x04>")
        answer, error = said[: -len(b"\x04>")].split(b"OK", 1)[1].split(b"\x04")
        assert not error, error.decode()
        self.send(b"\x02")
        self.take_until(b">>> ")
        return answer.decode().strip()

    def start(self, source: str) -> None:
        """Run ``source``, which may not come back; the board is at a prompt."""
        self.send(b"\x01")
        self.take_until(b"raw REPL; CTRL-B to exit\r\n>")
        self.send(source.encode() + b"\x04")

    def restart(self) -> None:
        """A soft reset of a board at a prompt, which comes to a prompt again."""
        self.send(b"\x04")
        self.take_until(b">>> ")

    @contextlib.contextmanager
    def port(self) -> Iterator[None]:
        """The port is open, and what arrives is read."""
        self.attach(True)
        try:
            yield
        finally:
            self.attach(False)

    def listen(self) -> Client:
        """A client on the port, which closes it in the end; nothing is sent yet."""
        self.attach(True)
        return Client(_Line(self))

    def until(self, client: Client, condition: Callable[[], object]) -> None:
        limit = self.seconds + PATIENCE_S
        while not condition():
            assert self.seconds < limit, client.model
            client.poll(0.0)

    def close(self) -> None:
        self._pico.close()


class _Line:
    """The port of an emulated Pico, as a client wants it."""

    name = "the emulated Pico"
    patience = 40.0  # the client waits by this machine's clock, for a board that is slower

    def __init__(self, board: EmulatedPico) -> None:
        self._board = board

    def read(self, timeout: float) -> bytes:
        return self._board.take()

    def write(self, data: bytes) -> None:
        self._board.send(data)

    def close(self) -> None:
        self._board.attach(False)
