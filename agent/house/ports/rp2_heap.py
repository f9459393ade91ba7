# Reading the interpreter's own memory on the rp2 port; ports/unix_heap.py says what a heap
# port is.

import gc

import micropython
from machine import mem32
from micropython import const
from uctypes import bytearray_at as view  # noqa: F401  (part of the interface)

from house import modules

from . import rp2_skip, rp2_stack

skip = rp2_skip.skip
modules.drop(rp2_skip)
del rp2_skip

_wipe = rp2_stack.wipe
modules.drop(rp2_stack)
del rp2_stack

WORD = 4

_RAM = 0x20000000

# Which interrupts the USB controller raises: the word, and behind it one that sets bits of it and
# one that clears some.
_USB_ENABLED = 0x50110090
_SET_WORD = const(0x800)  # 0x2000 bytes
_CLEAR_WORD = const(0xC00)
_FRAME = const(0x20000)  # once a ms, when the host begins a frame

_collect = gc.collect


def read(address):
    return mem32[address] & 0xFFFFFFFF


# The firmware's variables lie below the heap, and the collector's state is among them.
def regions():
    return ((_RAM, id([None])),)


# A collection may take 25 ms, in which the USB stack does not run: it is served by what the VM
# does between two jumps. For 16 ms after a host has opened the port the stack notes every frame,
# and has room for 16 events: one more, and what it needs to know, that a packet has come or gone,
# is dropped, and no byte passes until the board is reset. So no frames are told meanwhile. Machine
# code, in which no guest's end can be raised: without frames a packet may wait for ever.
@micropython.viper
def collect():
    enabled = ptr32(_USB_ENABLED)
    told = int(enabled[0]) & _FRAME
    enabled[_CLEAR_WORD] = _FRAME
    _wipe()
    _collect()
    enabled[_SET_WORD] = told
