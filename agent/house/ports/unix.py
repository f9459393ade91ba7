# The Unix port: its figures, its clocks, and the serial line on stdin and stdout. How a guest is
# stopped stands in unix_timer.py, what survives a reset in unix_reset.py, where the heap is in
# unix_heap.py.

import ffi
import struct
import time
from micropython import const

# What the kernel asks of a port, beside the line below. STATE[0] is 0 while disarmed.
from .unix_reset import feed, keep, recall, reset_cause, unwatch, watch  # noqa: F401
from .unix_timer import (  # noqa: F401
    ASKED,
    HOLD,
    STATE,
    SUSPENDABLE,
    TOO_DEEP,
    arm,
    cpu_us,
    delivered,
    disarm,
    exception,
    quiet,
    renew,
    self_test,
    stolen_us,
    ticks_us,
    watch_memory,
)

NAME = "unix"
ROOT = "."
CPU_SLEEPS = True  # cpu_us() stands still while the agent waits
HEAP_RESERVE = 64 * 1024  # bytes that stay free for the agent between slices
HEAP_SLACK = 256 * 1024  # bytes that a slice may take beyond its guest's memory.max
# What admission counts with. The longest of 2400 kills, 12 kinds, by tools/bench/kill_latency.py:
# 3346 us. The longest that the agent was busy between two slices, collections apart: 336 us of
# service and 614 us for the end of a guest, with 13 guests, of which each adds its summary.
KILL_US = 3400
SECTION_US = 800
SECTION_GUEST_US = 20
ASK_US = 2000  # for an answer of a guest's object
NESTED_STACK = 32768  # bytes that must be left for a suspension, and there for any command
COMMAND_STACK = 0
LOG_TAIL = 2048  # bytes of last log lines kept for each guest
RINGS = (96, 64, 96, 64)  # records that wait for the line: states, summaries, texts, slices
LOAD_MAX_US = 20000  # CPU time a module body may take where the manifest says nothing

ticks_ms = time.ticks_ms


# No call on a regular file is ever cut: the kernel completes it before it lets a signal through.
def hold_files():
    return None


# Has `overrun` called on top of each slice that overruns a limit with SUSPENDABLE, where no more
# than `most` bytes of the stack are in use. Returns None or why not.
def suspend_by(overrun, most):
    from . import unix_suspend

    return unix_suspend.start(overrun, most)


# Whether too much of the stack was in use when the last such slice overran.
def too_deep():
    return STATE[ASKED] == TOO_DEEP


# Us that a guest's last write kept the board busy, if it ended within `ms`: nobody knows.
def written_us(ms):
    return 0


_POLLIN = const(1)
_F_GETFL = const(3)
_F_SETFL = const(4)
_O_NONBLOCK = const(0o4000)

_libc = ffi.open("libc.so.6")
_poll = _libc.func("i", "poll", "pLi")
_read = _libc.func("l", "read", "ipL")
_write = _libc.func("l", "write", "ipL")
_fcntl = _libc.func("i", "fcntl", "iii")

# --- serial ------------------------------------------------------------------

_pollfd = bytearray(8)


# Makes both directions raw bytes that never block.
def open_serial():
    for fd in (0, 1):
        _fcntl(fd, _F_SETFL, _fcntl(fd, _F_GETFL, 0) | _O_NONBLOCK)
    struct.pack_into("<ih", _pollfd, 0, 0, _POLLIN)


def close_serial():
    for fd in (0, 1):
        _fcntl(fd, _F_SETFL, _fcntl(fd, _F_GETFL, 0) & ~_O_NONBLOCK)


# Bytes read into buf; 0 when there are none.
def serial_read(buf):
    n = _read(0, buf, len(buf))
    return n if n > 0 else 0


# Bytes of buf[:n] that the line took: 0 while nobody reads it.
def serial_write(buf, n):
    n = _write(1, buf, n)
    return n if n > 0 else 0


# Sleeps until a byte arrives, at most ms.
def wait(ms):
    _poll(_pollfd, 1, ms)
