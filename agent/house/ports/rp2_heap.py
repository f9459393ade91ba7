# Reading the interpreter's own memory on the rp2 port; ports/unix_heap.py says what a heap
# port is.

from machine import mem32
from uctypes import bytearray_at as view  # noqa: F401  (part of the interface)

WORD = 4

_RAM = 0x20000000


def read(address):
    return mem32[address] & 0xFFFFFFFF


# The firmware's variables lie below the heap, and the collector's state is among them.
def regions():
    return ((_RAM, id([None])),)
