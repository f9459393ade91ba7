# The word in which the VM says whether scheduled callbacks may run, found by what it does.
#
# The VM locks its scheduler while it runs a callback. One that runs for long, with programs of its
# own, holds up everybody else's for as long: soft interrupts, and the pursuit of a guest. So it
# takes the lock off and puts it back before it returns.
#
# This module is needed once, when the first guest asks to be suspended.

import micropython
import sys
import uctypes
from micropython import const

# Values of the word, a halfword: PENDING makes the VM look into the queue at its next check.
_PENDING = const(0)
_IDLE = const(1)
_LOCKED = const(0xFFFF)

_REACH = const(1600)  # bytes behind sys.modules that are searched
_TURNS = const(1000)  # of a loop in which a callback must have run

_seen = []  # type: list[bytes]
_ran = []  # type: list[int]


@micropython.viper
def _put(address: int, value: int):
    word = ptr16(address)
    word[0] = value


def _look(_):
    _seen.append(uctypes.bytes_at(id(sys.modules), _REACH))


def _inner(_):
    _ran.append(2)


def _turn(done):
    for _ in range(_TURNS):
        if done():
            return


# Runs as a callback: with the lock off another one runs before it returns.
def _outer(address):
    _ran.append(1)
    micropython.schedule(_inner, 0)
    _put(address, _PENDING)
    _turn(lambda: len(_ran) == 2)
    _put(address, _LOCKED)
    _ran.append(3)


# The word's address, 0 where it is not found. `high` is the end of the memory that may be read.
def find(high):
    base = id(sys.modules)
    if base + _REACH > high:
        return 0
    before = uctypes.bytes_at(base, _REACH)
    micropython.schedule(_look, 0)
    _turn(lambda: _seen)
    if not _seen:
        return 0
    inside = _seen.pop()
    places = []
    for i in range(0, _REACH, 2):
        # before, something may have waited in the queue
        if inside[i] == inside[i + 1] == 0xFF and before[i] <= _IDLE and before[i + 1] == 0:
            places.append(base + i)
    if len(places) != 1:
        return 0
    micropython.schedule(_outer, places[0])
    _turn(lambda: len(_ran) == 3)
    proven = _ran == [1, 2, 3]
    _ran.clear()
    return places[0] if proven else 0
