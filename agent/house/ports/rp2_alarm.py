# The interrupt handler of the rp2 port's deadlines, in machine code.
#
# It is the vector of one of the timer's four alarms itself: no code of the firmware runs
# around it, it takes no stack worth mentioning, allocates nothing, checks nothing. A Python
# handler would eat the exception that it delivers, and a native one dies where a guest sits
# at the recursion limit.
#
# This module is needed once, at boot. Whoever has called make() should let go of it.

import micropython
from micropython import const

# Words of the state that port and handler share.
DEADLINE = const(0)  # of the running slice on the 32-bit timer, 0: disarmed
SLOT = const(1)  # address of the VM's pending exception
EXCEPTION = const(2)  # address of the exception object
DELIVERED = const(3)
HOLD = const(4)  # not 0 while nothing may be delivered: a file-system call is under way
TAG = const(5)  # which instance runs, for whoever has to say so after a reset

# Registers of a timer, as bytes behind its base; INTR lies elsewhere on each chip.
ALARM0 = const(0x10)
NOW = const(0x28)

# After the deadline it delivers again every so many us, never quite in step with a guest's
# loop: one that catches each exception is hit in its handler, too, and ends.
_BURST_US = const(33)
_JITTER = const(15)

_SOURCE = """
@micropython.asm_thumb
def handler():
    mov(r1, %d)
    lsl(r1, r1, 8)
    add(r1, %d)
    lsl(r1, r1, 8)
    add(r1, %d)
    lsl(r1, r1, 8)
    add(r1, %d)
    mov(r3, %d)
    lsl(r3, r3, 8)
    add(r3, %d)
    lsl(r3, r3, 8)
    add(r3, %d)
    lsl(r3, r3, 8)
    mov(r4, %d)
    str(r4, [r3, %d])
    ldr(r2, [r1, 0])
    cmp(r2, 0)
    beq(END)
    ldr(r4, [r3, %d])
    sub(r5, r4, r2)
    bmi(EARLY)
    ldr(r2, [r1, 16])
    cmp(r2, 0)
    bne(HELD)
    ldr(r2, [r1, 8])
    ldr(r5, [r1, 4])
    str(r2, [r5, 0])
    ldr(r2, [r1, 12])
    add(r2, 1)
    str(r2, [r1, 12])
    label(HELD)
    mov(r5, %d)
    and_(r2, r5)
    add(r2, %d)
    add(r2, r2, r4)
    label(EARLY)
    str(r2, [r3, %d])
    label(END)
"""


# The handler, for a state at `state` (address), the timer at `timer`, its alarm `number`
# and the byte offset of its register INTR.
def make(state, timer, number, acknowledge):
    scope = {"micropython": micropython}
    exec(
        _SOURCE
        % (
            state >> 24,
            state >> 16 & 255,
            state >> 8 & 255,
            state & 255,
            timer >> 24,
            timer >> 16 & 255,
            timer >> 8 & 255,
            1 << number,
            acknowledge,
            NOW,
            _JITTER,
            _BURST_US,
            ALARM0 + 4 * number,
        ),
        scope,
    )
    return scope["handler"]
