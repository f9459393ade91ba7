# Two words of the VM's state on the Unix port: the pending exception and the stack limit.
#
# Offsets differ between builds, hence the search, and behaviour proves what it found.

import micropython
import struct
import sys
import uctypes
from micropython import const

WORD = const(8)
_REACH = const(400)  # words below sys.modules that are searched
# From the pending exception down: nlr_jump_cb, nlr_top, dict_globals, dict_locals, gc_lock_depth,
# stack_limit, stack_top.
_TO_LIMIT = const(6)
_TO_TOP = const(7)
_SMALLEST = const(16384)
_LARGEST = const(1 << 26)
_ROOM = const(4096)  # for the test's own calls


def _word(address):
    return struct.unpack("<Q", uctypes.bytes_at(address, WORD))[0]


# The address of the pending exception, 0 where it is not found. id(sys.modules) lies in the
# VM's state, and below it stand dict_locals and dict_globals, which both are this module's
# while its body runs: two equal neighbours name the place.
def _find_slot():
    base = id(sys.modules)
    mine = id(globals())
    above = 0
    for k in range(1, _REACH):
        word = _word(base - k * WORD)
        if word == mine and above == mine:
            return base - (k - 4) * WORD
        above = word
    return 0


SLOT = _find_slot()

# The architecture that this interpreter makes native code for, from its .mpy version.
_X64 = const(2)


def is_x64():
    return sys.implementation._mpy >> 10 & 15 == _X64


def _dive(n):
    return n and _dive(n - 1)


# Whether the C stack holds the address.
def _on_stack(address):
    with open("/proc/self/maps") as maps:
        for line in maps:
            if "[stack]" in line:
                low, high = [int(part, 16) for part in line.split()[0].split("-")]
                return low <= address < high
    return False


# The (low, high) range of executable memory around an address, (0, 0) where there is none.
def text_around(address):
    with open("/proc/self/maps") as maps:
        for line in maps:
            fields = line.split()
            low, high = [int(part, 16) for part in fields[0].split("-")]
            if low <= address < high and "x" in fields[1]:
                return low, high
    return 0, 0


# The address of the stack limit, 0 where it is not found: lowered to just above what is in
# use, it must stop a recursion that it let pass before.
def find_stack_limit():
    if not SLOT:
        return 0
    address = SLOT - _TO_LIMIT * WORD
    limit = _word(address)
    if not (_SMALLEST <= limit <= _LARGEST and _on_stack(_word(SLOT - _TO_TOP * WORD))):
        return 0
    view = uctypes.bytearray_at(address, WORD)
    stopped = False
    _dive(30)
    try:
        struct.pack_into("<Q", view, 0, micropython.stack_use() + _ROOM)
        _dive(30)
    except RuntimeError:
        stopped = True
    struct.pack_into("<Q", view, 0, limit)
    return address if stopped else 0
