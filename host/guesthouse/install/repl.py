"""A board's raw REPL through mpremote: the one module that knows mpremote."""

from __future__ import annotations

import contextlib
import errno
import io
import re
import struct
import time
from collections.abc import Iterator
from typing import Self

import serial
from mpremote.transport import TransportError
from mpremote.transport_serial import SerialTransport

from guesthouse.core.errors import ExitCode, GuesthouseError
from guesthouse.link.ports import PortSpec
from guesthouse.link.serial import open_serial
from guesthouse.link.strangers import identify
from guesthouse.link.transport import PortLost

PROMPT = b">>> "
_PROMPT_S = 1.5  # an agent leaves within 100 ms, and its prompt follows
_PROMPT_TRIES = 3
_ENTER_S = 8.0
_EXEC_S = 10.0
_READ_S = 5.0
_CODE = re.compile(r"OSError: (?:\[Errno )?(\d+)")


class BoardError(GuesthouseError):
    """A program failed on the board. ``errno`` is that of an OSError, 0 where it was another."""

    def __init__(self, name: str, said: str) -> None:
        last = said.strip().splitlines()[-1] if said.strip() else "nothing"
        found = _CODE.search(last)
        self.errno = int(found[1]) if found else 0
        if self.errno == errno.ENOSPC:
            super().__init__(
                f"the flash of {name} is full",
                "remove files or guests from the board, then run the command again",
                ExitCode.REFUSED,
            )
        else:
            super().__init__(
                f"{name} failed: {last}", "run it again; if it fails again, reset the board first"
            )


class Repl:
    """The raw REPL of the board on a port, with the board's own programs stopped."""

    def __init__(self, spec: PortSpec) -> None:
        open_serial(spec).close()  # it says in words why a port cannot be opened
        self.name = spec.name
        self.patience = spec.patience
        self._console = b""
        try:
            self._transport = SerialTransport(spec.url, exclusive=True, timeout=_PROMPT_S)
        except (TransportError, OSError, serial.SerialException) as error:
            raise PortLost(self.name, str(error)) from error
        try:
            with self._words():
                self._enter()
        except BaseException:
            self.close()
            raise

    def _enter(self) -> None:
        """Stop what runs and start anew without main.py: a clean heap, no timers of others."""
        port = self._transport.serial
        port.write_timeout = _READ_S * self.patience
        for _ in range(_PROMPT_TRIES):
            # Ctrl-B leaves a raw REPL in which a tool has left the board. An agent that runs
            # leaves at the Ctrl-C, and loses what comes right behind it.
            port.write(b"\r\x03\x02")
            if self._read_until(PROMPT, _PROMPT_S * self.patience):
                break
        else:
            there = identify(self._console)
            raise GuesthouseError(
                f"no MicroPython answers on {self.name}; {there.what}",
                "flash needs a board with MicroPython on it: guesthouse devs lists what is there, "
                "and a board in BOOTSEL mode takes guesthouse flash --bootsel",
                ExitCode.NO_BOARD,
            )
        # mpremote reads a pty without looking whether there is anything: never without end.
        port.timeout = _READ_S * self.patience
        self._transport.enter_raw_repl(
            soft_reset=b"CircuitPython" not in self._console,
            timeout_overall=_ENTER_S * self.patience,
        )

    def _read_until(self, end: bytes, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        port = self._transport.serial
        port.timeout = 0.1
        while time.monotonic() < deadline:
            self._console = (self._console + port.read(port.in_waiting or 1))[-4000:]
            if self._console.endswith(end):
                return True
        return False

    def run(self, source: str, seconds: float = _EXEC_S) -> str:
        """What ``source`` prints. Raises BoardError with its exception, PortLost."""
        with self._words():
            said, error = self._transport.exec_raw(source, timeout=seconds * self.patience)
        if error:
            raise BoardError(self.name, error.decode(errors="replace"))
        return bytes(said).decode(errors="replace")

    def begin(self, source: str) -> None:
        """Start what reads what ``send`` sends."""
        with self._words():
            self._transport.exec_raw_no_follow(source)

    def send(self, line: bytes) -> None:
        """A line for the program that runs."""
        with self._words():
            self._transport.serial.write(line + b"\n")

    def answer(self) -> str:
        """The next character that the program prints. Raises BoardError where it has ended."""
        with self._words():
            character = self._transport.serial.read(1)
            if not character:
                raise TransportError("it does not answer")
            if character == b"\x04":
                error = self._transport.read_until(1, b"\x04", timeout=_READ_S)[:-1]
                raise BoardError(self.name, error.decode(errors="replace"))
        return str(character.decode(errors="replace"))

    def end(self) -> None:
        """Wait for the end of the program that was begun."""
        with self._words():
            _, error = self._transport.follow(timeout=_EXEC_S * self.patience)
        if error:
            raise BoardError(self.name, error.decode(errors="replace"))

    def restart(self) -> None:
        """Start the board's programs anew, as after power on, and leave it to them."""
        with self._words():
            port = self._transport.serial
            port.write(b"\r\x03\x02")
            self._console = b""
            self._read_until(PROMPT, _PROMPT_S * self.patience)
            port.write(b"\x04")
            port.flush()
        self.close()

    def close(self) -> None:
        """Give the port back. May be called twice."""
        with contextlib.suppress(OSError, TransportError, TypeError, serial.SerialException):
            self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # Whatever ended the work: the board goes on with what it has.
        if kind is not None and not issubclass(kind, PortLost):
            with contextlib.suppress(GuesthouseError):
                self.restart()
        self.close()

    @contextlib.contextmanager
    def _words(self) -> Iterator[None]:
        """What goes wrong on the line, in words; mpremote prints some of it."""
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                yield
        except GuesthouseError:
            raise
        except TransportError as error:
            raise GuesthouseError(
                f"{self.name} stopped answering ({error})",
                "run it again; if it fails again, reset the board first",
                ExitCode.NO_BOARD,
            ) from error
        # struct.error: mpremote's own answer to a window size that does not come.
        except (OSError, serial.SerialException, TypeError, struct.error) as error:
            raise PortLost(self.name, str(error)) from error
