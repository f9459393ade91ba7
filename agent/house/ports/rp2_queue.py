# The VM's queue of scheduled callbacks: where it says how many it holds, found by what it does,
# like the lock of vmlock.py. And where the stack begins.
#
# This module is needed once, at boot: rp2.py lets go of it.

import micropython
from machine import mem8
from micropython import const

from house import modules

# Where in the VM's state the length of the queue lies, behind the scheduler's lock.
_TO_LENGTH = const(24)


@micropython.asm_thumb
def _stack_pointer():
    mov(r0, sp)  # type: ignore[name-defined]  # noqa: F821


def stack_top():
    return _stack_pointer() + micropython.stack_use()


def _nothing(_):
    pass


_lengths = bytearray(3)


# Runs as a callback: what the word says with 0, 1 and 2 others in the queue.
def _count(address):
    for i in range(3):
        _lengths[i] = mem8[address]
        micropython.schedule(_nothing, 0)


# The address of the byte that counts what is in the scheduler's queue, 0 where it is not found.
# `high` is the end of the memory that may be read.
def find(high):
    from house import vmlock

    lock = vmlock.find(high)
    modules.drop(vmlock)
    if not lock:
        return 0
    for address in range(lock + 2, lock + _TO_LENGTH):
        _lengths[2] = 0
        micropython.schedule(_count, address)
        for _ in range(100):
            if _lengths[2]:
                break
        for _ in range(100):
            pass  # the three run
        if _lengths == b"\x00\x01\x02":
            return address
    return 0
