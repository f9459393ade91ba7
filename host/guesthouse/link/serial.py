"""A serial port, opened so that one process owns it; every way it can fail, in words."""

from __future__ import annotations

import contextlib
import errno
import sys
from typing import TYPE_CHECKING

from guesthouse.core.errors import ExitCode, GuesthouseError
from guesthouse.link.holder import find_holder
from guesthouse.link.permission import permission_remedy
from guesthouse.link.ports import PortError, PortSpec
from guesthouse.link.transport import PortLost

if TYPE_CHECKING:
    import serial

BAUD = 115200  # USB CDC and ptys ignore it
WRITE_TIMEOUT_S = 3.0


class SerialTransport:
    """An open port behind the Transport protocol."""

    def __init__(self, port: serial.SerialBase, spec: PortSpec) -> None:
        self._port = port
        self._spec = spec

    @property
    def name(self) -> str:
        return self._spec.name

    @property
    def patience(self) -> float:
        return self._spec.patience

    def read(self, timeout: float) -> bytes:
        import serial

        try:
            if self._port.timeout != timeout:
                self._port.timeout = timeout
            data: bytes = self._port.read(1)
            if data:
                data += self._port.read(self._port.in_waiting)
            return data
        except (OSError, serial.SerialException, TypeError) as error:
            # TypeError: pyserial's own answer where another thread closed the port.
            raise PortLost(self.name, _detail(error)) from error

    def write(self, data: bytes) -> None:
        import serial

        try:
            self._port.write(data)
        except serial.SerialTimeoutException as error:
            raise GuesthouseError(
                f"the board on {self.name} does not read what is sent to it",
                "it may hang: reset it, or end the simulated board with: guesthouse sim --stop",
            ) from error
        except (OSError, serial.SerialException) as error:
            raise PortLost(self.name, _detail(error)) from error

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._port.close()


def open_serial(spec: PortSpec) -> SerialTransport:
    """Open ``spec`` exclusively. Opening never resets or interrupts the board.

    Raises PortError: BUSY with the program and process that holds the port, NO_BOARD with the
    remedy where it is missing or may not be opened.
    """
    import serial

    try:
        port = serial.serial_for_url(
            spec.url,
            do_not_open=True,
            baudrate=BAUD,
            timeout=0.1,
            write_timeout=WRITE_TIMEOUT_S * spec.patience,
        )
        if spec.kind != "url" and sys.platform != "win32":
            port.exclusive = True  # Windows opens every port exclusively
        port.open()
    except (OSError, serial.SerialException, ValueError) as error:
        raise _open_error(spec, error) from error
    return SerialTransport(port, spec)


def _open_error(spec: PortSpec, error: Exception) -> PortError:
    number = getattr(error, "errno", None)
    text = str(error)
    if number in (errno.EBUSY, errno.EAGAIN, errno.EWOULDBLOCK) or "exclusively lock" in text:
        return busy_error(spec)
    if number in (errno.EACCES, errno.EPERM) or "PermissionError" in text:
        if sys.platform == "win32":
            return busy_error(spec)
        return PortError(f"{spec.name}: no permission to open it", permission_remedy(spec.url))
    if number in (errno.ENOENT, errno.ENODEV, errno.ENXIO) or "FileNotFoundError" in text:
        return PortError(
            f"{spec.name}: there is no such port",
            "was the board unplugged? `guesthouse devs` lists what is there",
        )
    return PortError(
        f"{spec.name}: cannot be opened: {_detail(error)}", "`guesthouse devs` lists the boards"
    )


def busy_error(spec: PortSpec) -> PortError:
    """Another process owns the port: say which, where the system tells."""
    holder = find_holder(spec.url)
    if holder is None:
        return PortError(
            f"{spec.name} is held by another program",
            "end the program that uses it (a monitor, a recording, an editor), then try again",
            ExitCode.BUSY,
        )
    return PortError(
        f"{spec.name} is held by {holder.command} (process {holder.pid})",
        f"end it, or use it instead; if it hangs: kill {holder.pid}",
        ExitCode.BUSY,
    )


def _detail(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
