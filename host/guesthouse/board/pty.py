"""The serial line of a board that is a process: a raw pseudo-terminal.

The only module that imports terminal modules, so that everything else runs on Windows too.
"""

from __future__ import annotations

import contextlib
import os
import platform
import select
import struct
import sys
from dataclasses import dataclass

from guesthouse.core.errors import GuesthouseError

if sys.platform != "win32":
    import fcntl
    import termios
    import tty


def require_supported() -> None:
    """GuesthouseError that says what to do, where Unix-port boards cannot run."""
    system = platform.system()
    if system == "Linux":
        return
    where = {"Windows": "in WSL", "Darwin": "in a Linux virtual machine or container"}
    instead = "connect a board: guesthouse devs lists them"
    raise GuesthouseError(
        f"a Unix-port board (sim) needs Linux; {system} lacks the timers that stop guests",
        f"run it {where[system]}, or {instead}" if system in where else instead,
    )


@dataclass(frozen=True, slots=True)
class RawPty:
    """A pseudo-terminal: descriptors of both ends and the path a host opens.

    Every byte value passes unchanged both ways. The slave's descriptor is kept open so that the
    master never sees a hang-up when the host closes the port; without it (``slave`` is None) the
    master tells whether a host has the port open, as the lines of a USB cable do.
    """

    master: int
    slave: int | None
    path: str

    def close(self) -> None:
        for descriptor in self._descriptors():
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def make_raw(self) -> None:
        """Raw on both ends: nothing echoed, translated, or taken as a signal."""
        for descriptor in self._descriptors():
            tty.setraw(descriptor, termios.TCSANOW)

    def without_slave(self) -> RawPty:
        """The same line without our own slave; this one must not be used any more."""
        if self.slave is not None:
            os.close(self.slave)
        return RawPty(self.master, None, self.path)

    def _descriptors(self) -> tuple[int, ...]:
        return (self.master,) if self.slave is None else (self.master, self.slave)

    def waiting(self) -> int:
        """Bytes that the board has sent and no host has read yet; 0 without our own slave."""
        if self.slave is None:
            return 0
        counted = fcntl.ioctl(self.slave, termios.FIONREAD, b"\0" * 4)
        return int(struct.unpack("i", counted)[0])

    def discard_input(self) -> None:
        """Drop what the host has sent and the board has not read, as a reset of the board does.

        What the board has sent stays: its last words say why it was reset.
        """
        # What is under way, and what the master has received: two buffers of the kernel.
        if self.slave is not None:
            termios.tcflush(self.slave, termios.TCOFLUSH)
        termios.tcflush(self.master, termios.TCIFLUSH)


def open_raw() -> RawPty:
    """A new pseudo-terminal, raw before its first byte. It is nobody's controlling terminal."""
    require_supported()
    try:
        master, slave = os.openpty()
    except OSError as error:
        raise GuesthouseError(
            f"the system gives no pseudo-terminal: {error.strerror}",
            "is /dev/pts mounted, and is kernel.pty.max reached?",
        ) from error
    line = RawPty(master, slave, os.ttyname(slave))
    line.make_raw()
    return line


def host_is_there(master: int, milliseconds: float = 0) -> tuple[bool, bool]:
    """Whether a host has the port open, and whether it has sent something; waits for that.

    For a line without a slave of our own. Waits at most ``milliseconds``, and not at all while
    no host is there: the system would return at once.
    """
    poll = select.poll()
    poll.register(master, select.POLLIN)
    events = dict(poll.poll(milliseconds)).get(master, 0)
    return not events & select.POLLHUP, bool(events & select.POLLIN)
