# File-system calls are never cut in the middle.
#
# When it has read, programmed or erased a block, the firmware's flash driver looks whether an
# exception waits, in the midst of littlefs. So each mounted file system gets, in the place of the
# driver's functions, a few instructions that put the waiting exception aside, call the driver
# while HOLD is set, and put the exception back: it is raised when the whole call has returned.
#
# Code in Python, or in viper, would not do: it checks the stack, and would raise RuntimeError
# inside littlefs where a guest stands near the recursion limit.
#
# This module is needed at boot and at the end. Whoever has called it should let go of it.

import array
import rp2
import sys
import uctypes
from machine import mem8, mem32
from micropython import const

# The time that a guest spends in file calls is not its own: its deadline moves by as much, up to
# this in one slice. A call is many block operations in a row. littlefs computes for up to 2.4 ms
# between two of them, so what follows an operation within 8 ms is taken for part of the same call,
# and for so long a deadline does not follow an operation.
_FORGIVEN_US = const(500000)

_RAM = 0x20000000
_RAM_END = 0x20082000 if "RP2350" in getattr(sys.implementation, "_machine", "") else 0x20042000
_FLASH = 0x10000000
_FLASH_END = 0x11000000
_REACH = const(400)  # words around sys.modules in which the mount table is searched
_LONGEST = const(64)  # of a mount point's path
_FIELDS = const(32)  # words of a file system in which its block functions are searched

# What stands for a driver's function: an object of its type, and this code as its function.
#   push {r3-r7, lr}; ip = target; goto common
_ENTRY = b"\xf8\xb5\x02\x4c\xa4\x46\x02\x4c\x20\x47\xc0\x46"
# What all of them share. Words of the state as in rp2_alarm.py; `own` is what is kept of the
# running slice: MOVED, the deadline as it was left here; LEFT of the us that are forgiven; END of
# the last operation.
#   r4 = state; r5 = state[HOLD]; if r5: goto busy     ; inside another operation
#   state[HOLD] = r4
#   r5 = state[SLOT]; r6 = *r5; *r5 = 0                ; puts the exception aside
#   if r6 == state[EXCEPTION]: state[DELIVERED] = 1    ; it could not be raised so far
#   r7 = *now; call ip                                 ; r0 to r3 are still the arguments
#   r4 = state; r1 = *now; r2 = state[DEADLINE]
#   if r2 == 0: goto done                              ; disarmed
#   if r7 >= r2: goto late
#   r3 = own
#   if r3[MOVED] != r2: r3[LEFT] = budget              ; the first in this slice
#   else if r7 - r3[END] < 8192: r7 = r3[END]
#   r3[END] = r1; took = r1 - r7
#   if r3[LEFT] <= 0: goto done
#   r3[LEFT] -= took
#   state[DEADLINE] = r3[MOVED] = max(r2 + took, r1 + 8192) | 1; goto done
# late:
#   state[DEADLINE] = r1 | 1                           ; how late it is counts from here
# done:
#   if r6: *state[SLOT] = r6
#   state[HOLD] = 0; pop {r3-r7, pc}
# busy:
#   pop {r3-r7}; pop {r3}; lr = r3; goto ip            ; the driver, as if this were not here
_CODE = (
    b"\x23\x4c\x25\x69\x00\x2d\x3e\xd1\x24\x61\x65\x68\x2e\x68\x00\x27\x2f\x60\xa7\x68"
    b"\xbe\x42\x01\xd1\x01\x27\xe7\x60\x1d\x4f\x3f\x68\x64\x46\xa0\x47\x1a\x4c\x1b\x49"
    b"\x09\x68\x22\x68\x00\x2a\x23\xd0\xbd\x1a\x1e\xd5\x18\x4b\x1d\x68\x95\x42\x02\xd0"
    b"\x17\x4d\x5d\x60\x04\xe0\x9d\x68\x7d\x1b\x6d\x0b\x00\xd1\x9f\x68\x99\x60\xc9\x1b"
    b"\x5d\x68\x00\x2d\x10\xdd\x6d\x1a\x5d\x60\x52\x18\x01\x21\x4d\x03\x9f\x68\xed\x19"
    b"\x57\x1b\x00\xd5\x2a\x00\x0a\x43\x22\x60\x1a\x60\x02\xe0\x01\x23\x19\x43\x21\x60"
    b"\x00\x2e\x01\xd0\x65\x68\x2e\x60\x00\x21\x21\x61\xf8\xbd\xf8\xbc\x08\xbc\x9e\x46"
    b"\x60\x47\xc0\x46"
)
_DATA = const(36)  # words of it; behind them state, now, own, budget
_OWN = const(40)
_SHARED = const(43)  # words in all
_ENTRY_AT = const(3)  # words in front of the entry: the longest function object
_TARGET = const(6)  # words in front of the entry's data: target, common
_STAND_IN = const(8)  # words in all


# A stand-in for the driver's function at `place`, None where that is not understood.
def _make(place, shared):
    made = array.array("I", bytes(4 * _STAND_IN))
    at = uctypes.addressof(made)
    uctypes.bytearray_at(at + 4 * _ENTRY_AT, len(_ENTRY))[:] = _ENTRY
    for i in range(_ENTRY_AT):
        word = mem32[place + 4 * i]
        # The code's address is odd. The number of arguments, if there, is even.
        if i and not made[_TARGET] and word & 1:
            made[_TARGET] = word & 0xFFFFFFFF
            word = at + 4 * _ENTRY_AT + 1
        made[i] = word & 0xFFFFFFFF
    made[_TARGET + 1] = shared + 1
    return made if made[_TARGET] else None


# The addresses of the driver's functions.
def _driver():
    flash = rp2.Flash()
    # a bound method is type, function, self
    return [mem32[id(each) + 4] for each in (flash.readblocks, flash.writeblocks, flash.ioctl)]


# An object that is at least as long as _FIELDS.
def _is_object(address):
    return _RAM <= address < _RAM_END - 4 * _FIELDS and not address & 3


def _is_path(address, length):
    readable = _FLASH <= address < _FLASH_END or _RAM <= address < _RAM_END
    return readable and 0 < length <= _LONGEST and mem8[address] == 0x2F


# The addresses of what may be mounted file systems. The mount table is a list of (path, length of
# the path, file system, next), and its head lies in the VM's state like sys.modules.
def _mounted():
    base = id(sys.modules)
    for k in range(-_REACH, _REACH):
        node = mem32[base + 4 * k]
        while _is_object(node) and _is_path(mem32[node], mem32[node + 4]):
            system = mem32[node + 8]
            if not _is_object(system):
                break
            yield system
            node = mem32[node + 12]


# In every mounted file system, in the place of each word that is a key of `words`, its value.
# Returns how many there were.
def _replace(words):
    n = 0
    for system in _mounted():
        for address in range(system + 4, system + 4 * _FIELDS, 4):
            word = mem32[address]
            if word in words:
                mem32[address] = words[word]
                n += 1
    return n


# Puts stand-ins into every file system on the firmware's flash. Returns what remove() takes, empty
# where there is none.
def install(state, now):
    shared = array.array("I", bytes(4 * _SHARED))
    at = uctypes.addressof(shared)
    uctypes.bytearray_at(at, len(_CODE))[:] = _CODE
    for i, word in enumerate((state, now, at + 4 * _OWN, _FORGIVEN_US)):
        shared[_DATA + i] = word
    made = [shared]
    words = {}
    for place in _driver():
        stand_in = _make(place, at)
        if stand_in is None:
            return ()
        made.append(stand_in)
        words[place] = uctypes.addressof(stand_in)
    return tuple(made) if _replace(words) else ()


# Gives the file systems the driver's functions back.
def remove(made):
    _replace(dict(zip((uctypes.addressof(stand_in) for stand_in in made[1:]), _driver())))
