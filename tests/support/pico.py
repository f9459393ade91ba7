"""Statements for a board with MicroPython's REPL, through mpremote's transport."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from mpremote.transport import TransportError
from mpremote.transport_serial import SerialTransport

PATIENCE_S = 60  # for things that happen, however slow the machine is
_TRY_S = 5
_PROMPT_S = 2


@contextlib.contextmanager
def repl(path: str) -> Iterator[SerialTransport]:
    """The board's raw REPL; a program that runs there is stopped.

    Tried again and again: what is sent to a board that is just being reset is lost.
    """
    end = time.monotonic() + PATIENCE_S
    while True:
        transport = SerialTransport(path, exclusive=True, timeout=_PROMPT_S)
        try:
            # An agent that runs leaves for the prompt, and loses what is sent behind the Ctrl-C.
            transport.serial.write(b"\r\x03")
            transport.serial.read_until(b">>> ")
            transport.serial.timeout = _TRY_S  # of a pty mpremote reads without looking before
            transport.enter_raw_repl(soft_reset=False, timeout_overall=_TRY_S)
            transport.serial.timeout = PATIENCE_S
        except TransportError:
            transport.close()
            if time.monotonic() > end:
                raise
        else:
            break
    try:
        yield transport
        transport.exit_raw_repl()
    finally:
        transport.close()


def run(path: str, source: str) -> str:
    """What ``source`` prints on the board."""
    with repl(path) as transport:
        said, error = transport.exec_raw(source, timeout=PATIENCE_S)
    assert not error, error.decode()
    return str(said.decode().strip())


def run_and_lose(path: str, source: str) -> None:
    """Run what resets the board: it does not answer, but greets when it is back."""
    said = b""
    end = time.monotonic() + PATIENCE_S
    with contextlib.suppress(TransportError), repl(path) as transport:
        transport.exec_raw_no_follow(source)
        while b"MicroPython v" not in said:
            assert time.monotonic() < end, said
            said += transport.serial.read(transport.serial.in_waiting or 1)
        raise TransportError  # the way out without asking the board
