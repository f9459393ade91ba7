# Reading the interpreter's own memory on the Unix port (Linux).
#
# A heap port is a module with
#   WORD                    bytes in a machine word
#   regions()               (low, high) ranges that may hold the collector's state
#   read(address)           one word; allocates
#   view(address, length)   a bytearray over live memory
#   collect()               gc.collect(); allocates nothing
#   skip(context)           where it has one: compares what the frame table compares (rp2_skip.py)
# The agent writes only through views, and only to the one word that caps the heap.

import sys
from array import array
from gc import collect  # noqa: F401  (part of the interface)

from uctypes import bytearray_at as view

WORD = 8 if sys.maxsize > 0x7FFFFFFF else 4


# In halves: a 64-bit element comes out of an array as a long integer, however small it is,
# and every sum with it allocates.
def read(address):
    words = array("I", view(address, WORD))
    return words[0] if WORD == 4 else words[0] | words[1] << 32


# The collector's state lies in the same structure as the table of modules, so the
# region around sys.modules is the only one to search, whatever the binary is
# called. Neighbouring mappings are joined, because .data and .bss may be two; the
# C heap is not, because nothing is to be found there. Nothing outside of these
# ranges may be read: a read past a mapping's end ends the process.
def regions():
    anchor = id(sys.modules)
    low = high = 0
    with open("/proc/self/maps") as maps:
        for line in maps:
            fields = line.split()
            if not fields[1].startswith("rw") or fields[-1] == "[heap]":
                continue
            start, end = [int(part, 16) for part in fields[0].split("-")]
            if start != high:
                if low <= anchor < high:
                    break
                low = start
            high = end
    return ((low, high),) if low <= anchor < high else ()
