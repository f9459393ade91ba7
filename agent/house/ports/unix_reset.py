# What survives a reset on the Unix port, and the watchdog.
#
# The supervisor is the hardware: it makes a page of memory that outlives the process, hands it to
# every run, and says how the last one ended. The port's STATE lies in that page. So it is there to
# be read when the process has been ended in the middle of anything.

import ffi
import os
import struct
import sys
import uctypes
from micropython import const

from house import wire

from . import unix_timer
from .unix_slot import WORD
from .unix_timer import ENDED, FED, KEPT, STATE, TAG, WATCH, cpu_us

_PAGE = const(4096)
_PROT_READ_WRITE = const(3)
_MAP_SHARED = const(1)
_SIGKILL = const(9)
_SIGEV_SIGNAL = const(0)
_CLOCK_THREAD_CPU = const(3)

# The watchdog is fed no more often than that: a feed is a system call.
_FEED_US = const(250000)
# What the supervisor knows of a process's CPU time is counted in ticks of 10 ms.
_TICK_MS = const(20)

_CAUSES = {
    "power-on": wire.RESET_POWER_ON,
    "soft": wire.RESET_SOFT,
    "fault": wire.RESET_FAULT,
}

_libc = ffi.open("libc.so.6")
_mmap = _libc.func("L", "mmap", "LLiiil")
_close = _libc.func("i", "close", "i")
_timer_create = _libc.func("i", "timer_create", "ipp")
_timer_settime = _libc.func("i", "timer_settime", "pipp")


# Moves the array into the page behind a descriptor; returns what the page held. An array is an
# object with a pointer to its elements: behaviour proves that this is the one.
def _move(words, descriptor):
    page = _mmap(0, _PAGE, _PROT_READ_WRITE, _MAP_SHARED, descriptor, 0)
    _close(descriptor)
    if page >> 63:
        raise OSError("mmap failed")
    begin = uctypes.addressof(words)
    for at in range(id(words), id(words) + 4 * WORD, WORD):
        if struct.unpack("<Q", uctypes.bytes_at(at, WORD))[0] == begin:
            break
    else:
        raise OSError("an array's elements were not found")
    size = len(words)
    held = struct.unpack("<%dI" % size, uctypes.bytes_at(page, 4 * size))
    mine = list(words)
    struct.pack_into("<Q", uctypes.bytearray_at(at, WORD), 0, page)
    for i in range(size):
        words[i] = held[i] if i >= KEPT else mine[i]
    return held


# Why the board started. A kill is the watchdog's where this agent or its timer did it; anybody
# else's says nothing about a guest.
def _judge(held):
    cause = os.getenv("GUESTHOUSE_RESET_CAUSE")
    if cause != "watchdog":
        return _CAUSES.get(cause, wire.RESET_UNKNOWN)
    cpu_ms = int(os.getenv("GUESTHOUSE_RESET_CPU_MS") or 0)
    starved = held[WATCH] and cpu_ms + _TICK_MS >= held[FED] + held[WATCH]
    if not (held[ENDED] or starved):
        return wire.RESET_UNKNOWN
    if held[0]:  # a slice was under way
        STATE[KEPT + 1] = held[TAG]
    return wire.RESET_WATCHDOG


def _begin():
    descriptor = os.getenv("GUESTHOUSE_RESET_WORDS")
    if descriptor is None:
        return wire.RESET_UNKNOWN
    try:
        return _judge(_move(STATE, int(descriptor)))
    except OSError as error:
        print("nothing will survive a reset:", error, file=sys.stderr)
        return wire.RESET_UNKNOWN


_cause = _begin()


def reset_cause():
    return _cause


# One of three words of 30 bits that survive a reset, but no end of the supervisor: that is a loss
# of power.
def recall(index):
    return STATE[KEPT + index]


def keep(index, value):
    STATE[KEPT + index] = value


# --- the watchdog -------------------------------------------------------------
#
# A second timer, on the clock of the CPU time that the agent's thread has used, whose signal is
# SIGKILL: nothing can block it, and it does not run while the process is stopped, suspended with
# the machine, or waits for a processor.

_timer = None
_setting = bytearray(32)
_fed = 0


# Ends the board when the agent has used `ms` of CPU time without feeding it. Hardly any time is
# asked for where the agent gives up; then the process ends by itself, and says why.
def watch(ms):
    global _timer
    if ms < _TICK_MS:
        return
    if _timer is None:
        event = bytearray(64)
        struct.pack_into("<Qii", event, 0, 0, _SIGKILL, _SIGEV_SIGNAL)
        handle = bytearray(WORD)
        if _timer_create(_CLOCK_THREAD_CPU, event, handle):
            return
        _timer = struct.unpack("<Q", handle)[0]
    STATE[WATCH] = ms
    _feed(cpu_us(), 0)
    unix_timer.stretch = _stretch


def feed():
    if STATE[WATCH]:
        cpu = cpu_us()
        if cpu - _fed >= _FEED_US:
            _feed(cpu, 0)


def unwatch():
    if _timer is not None:
        STATE[WATCH] = 0
        _timer_settime(_timer, 0, bytes(32), None)


# A slice comes that has so much of the time to itself. The next feed takes it back.
def _stretch(limit_us):
    global _fed
    if STATE[WATCH]:
        cpu = cpu_us()
        _feed(cpu, limit_us)
        _fed = cpu - _FEED_US


def _feed(cpu, more_us):
    global _fed
    _fed = cpu
    STATE[FED] = (cpu + more_us) // 1000
    us = STATE[WATCH] * 1000 + more_us
    struct.pack_into("<qq", _setting, 16, us // 1000000, us % 1000000 * 1000)
    _timer_settime(_timer, 0, _setting, None)
