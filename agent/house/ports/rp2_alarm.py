# The interrupt handler of the rp2 port's deadlines, in machine code.
#
# It is the vector of one of the timer's four alarms itself: no code of the firmware runs
# around it, it takes no stack worth mentioning, allocates nothing, checks nothing. A Python
# handler would eat the exception that it delivers, and a native one dies where a guest sits
# at the recursion limit.
#
# It has three stages. Before the deadline it looks every ms whether the host has sent a Ctrl-C,
# for which the deadline is now, and feeds the watchdog, because a deadline that lies ahead is guard
# enough. Where blocks were handed out since the last look at memory, it has the VM call what looks
# at it, if the VM's queue has room: then that cannot raise. Behind the deadline it delivers the
# exception, every 8 to 15 us. An exception that the VM does not take sits in a call that nothing
# interrupts; from the 250th look on it looks once a millisecond, and has it looked so 1000 times,
# the watchdog resets the board, with the guest's tag in a register that survives: a reset costs the
# other guests a second, too. It counts looks and not time: none are made while a flash write or a
# guest holds the interrupts, so nobody is blamed for those.
#
# This module is needed once, at boot. Whoever has called make() should let go of it.

import sys

import micropython
from micropython import const
from uctypes import bytes_at

# Words of the state that port and handler share.
DEADLINE = const(0)  # of the running slice on the 32-bit timer, 0: disarmed
SLOT = const(1)  # address of the VM's pending exception
EXCEPTION = const(2)  # address of the exception object
DELIVERED = const(3)  # times that it was put into an empty slot
HOLD = const(4)  # not 0 while nothing may be delivered: a file-system call is under way
TAG = const(5)  # which instance runs, for whoever has to say so after a reset
UNTAKEN = const(6)  # looks in a row that found the exception still in the slot
WAITED = const(7)  # slow looks in this overrun
FOOD = const(8)  # what feeds the watchdog
# 9 and 10 are rp2_suspend.py's.
CLOCK = const(11)  # address of the allocation clock, 0 where nobody looks at memory
SEEN = const(12)  # what it said at the last look
LOOKING = const(13)  # 1 while the look is in the VM's queue
QUEUE = const(14)  # address of that queue's length
LOOK = const(15)  # address of what is called, made here
SCHEDULE = const(16)  # code of micropython.schedule
LOWEST = const(17)  # the stack pointer may not be below for it
LOOK_CODE = const(18)  # code of what looks, and its function
LOOK_SELF = const(19)

# Registers of a timer, as bytes behind its base; INTR lies elsewhere on each chip.
ALARM0 = const(0x10)
NOW = const(0x28)

# After the deadline it delivers again every so many us, never quite in step with a guest's loop.
# From the VM's taking an exception to its next look, in the handler that caught it, it is some 25
# us: with less between two deliveries a guest is hit in each of its handlers, too, and ends.
_BURST_US = const(8)
_JITTER = const(7)

_QUICK_LOOKS = const(250)

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
    mov(r0, %d)
    lsl(r0, r0, 8)
    add(r0, %d)
    lsl(r0, r0, 8)
    add(r0, %d)
    lsl(r0, r0, 8)
    ldr(r2, [r1, 0])
    cmp(r2, 0)
    bne(ARMED)
    b(END)
    label(ARMED)
    ldr(r4, [r3, %d])
    sub(r5, r4, r2)
    bpl(DELIVER)

    neg(r5, r5)
    ldr(r6, [r1, 32])
    str(r6, [r0, 4])
    mov(r7, 0x50)
    lsl(r7, r7, 8)
    add(r7, 0x10)
    lsl(r7, r7, 16)
    ldr(r6, [r7, 0x14])
    lsl(r6, r6, 16)
    lsr(r6, r6, 22)
    beq(QUIET)
    lsl(r6, r6, 6)
    add(r7, r7, r6)
    ldr(r6, [r7, 0])
    mov(r7, 4)
    label(BYTE)
    mov(r2, 255)
    and_(r2, r6)
    cmp(r2, 3)
    beq(STOP)
    lsr(r6, r6, 8)
    sub(r7, 1)
    bne(BYTE)
    label(QUIET)
    ldr(r2, [r1, 44])
    cmp(r2, 0)
    beq(FURTHER)
    ldr(r2, [r2, 0])
    ldr(r6, [r1, 48])
    sub(r2, r2, r6)
    lsr(r2, r2, 6)
    beq(FURTHER)
    ldr(r2, [r1, 52])
    cmp(r2, 0)
    bne(FURTHER)
    ldr(r2, [r1, 56])
    ldrb(r2, [r2, 0])
    cmp(r2, 3)
    bgt(FURTHER)
    mov(r2, 1)
    str(r2, [r1, 52])
    mov(r6, r1)
    mov(r7, r3)
    ldr(r0, [r1, 60])
    ldr(r3, [r1, 64])
    mov(r1, 1)
    data(2, 0x4798)
    mov(r1, r6)
    mov(r3, r7)
    label(FURTHER)
    mov(r2, 250)
    lsl(r2, r2, 2)
    cmp(r5, r2)
    bge(AHEAD)
    mov(r2, r5)
    cmp(r2, 16)
    bge(AHEAD)
    mov(r2, 16)
    b(AHEAD)

    label(STOP)
    mov(r2, 1)
    orr(r2, r4)
    str(r2, [r1, 0])

    label(DELIVER)
    ldr(r2, [r1, 16])
    cmp(r2, 0)
    bne(SOON)
    ldr(r2, [r1, 8])
    ldr(r5, [r1, 4])
    ldr(r6, [r5, 0])
    cmp(r6, r2)
    beq(STILL)
    str(r2, [r5, 0])
    mov(r6, 0)
    str(r6, [r1, 24])
    ldr(r2, [r1, 12])
    cmp(r2, 0)
    bne(AGAIN)
    str(r6, [r1, 28])
    label(AGAIN)
    add(r2, 1)
    str(r2, [r1, 12])
    b(SOON)

    label(STILL)
    ldr(r2, [r1, 24])
    add(r2, 1)
    str(r2, [r1, 24])
    cmp(r2, %d)
    blt(SOON)
    ldr(r6, [r1, 28])
    add(r6, 1)
    str(r6, [r1, 28])
    mov(r2, 250)
    lsl(r2, r2, 2)
    cmp(r6, r2)
    bge(LAST)
    b(AHEAD)

    label(LAST)
    ldr(r2, [r1, 20])
    str(r2, [r0, 16])
    mov(r2, 1)
    lsl(r2, r2, 31)
    str(r2, [r0, 0])
    b(END)

    label(SOON)
    mov(r5, %d)
    and_(r2, r5)
    add(r2, %d)
    label(AHEAD)
    add(r2, r2, r4)
    str(r2, [r3, %d])
    label(END)
"""

# What the VM calls. A function of bytecode or viper looks at the stack first, and raises where none
# is left: the VM would leave its scheduler locked. A guest that had room when the handler came may
# have none when the VM gets to this.
_LOOK_SOURCE = """
@micropython.asm_thumb
def look(r0):
    mov(r1, %d)
    lsl(r1, r1, 8)
    add(r1, %d)
    lsl(r1, r1, 8)
    add(r1, %d)
    lsl(r1, r1, 8)
    add(r1, %d)
    mov(r2, sp)
    ldr(r3, [r1, 68])
    cmp(r2, r3)
    bge(ROOM)
    mov(r2, 0)
    str(r2, [r1, 52])
    b(END)
    label(ROOM)
    ldr(r0, [r1, 76])
    ldr(r4, [r1, 72])
    mov(r1, 0)
    mov(r2, 0)
    mov(r3, 0)
    data(2, 0x47A0)
    label(END)
    mov(r0, 0)
"""


# The handler, for a state at `state` (address), the timer at `timer`, its alarm `number`
# and the byte offset of its register INTR, and the watchdog at `watchdog`.
def make(state, timer, number, acknowledge, watchdog):
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
            watchdog >> 24,
            watchdog >> 16 & 255,
            watchdog >> 8 & 255,
            NOW,
            _QUICK_LOOKS,
            _JITTER,
            _BURST_US,
            ALARM0 + 4 * number,
        ),
        scope,
    )
    return scope["handler"]


_REACH = const(1600)  # bytes behind sys.modules that are searched
_PLACES = const(8)  # of the queue

_seen = []  # type: list[bytes]


def _nothing(_):
    pass


# Runs as a callback: the VM's state with 0, 1 and 2 others in its queue.
def _look(_):
    for _ in range(3):
        _seen.append(bytes_at(id(sys.modules), _REACH))
        micropython.schedule(_nothing, 0)


# The address of the byte that counts what is in the VM's queue of callbacks, found by what it does;
# 0 where it is not found.
def find_queue():
    try:
        return _find_queue()
    finally:
        _seen.clear()
        # The queue keeps what it held last in each of its places, and that would keep this module.
        for _ in range(_PLACES):
            micropython.schedule(id, 0)  # type: ignore[arg-type]
            for _ in range(10):
                pass  # it runs


def _find_queue():
    places = list(range(_REACH))
    for _ in range(2):  # once it may be chance
        _seen.clear()
        micropython.schedule(_look, 0)
        for _ in range(1000):
            if len(_seen) == 3:
                break
        else:
            return 0
        for _ in range(100):
            pass  # the three run
        none, one, two = _seen
        places = [i for i in places if two[i] == 2 and one[i] == 1 and none[i] == 0]
    return id(sys.modules) + places[0] if len(places) == 1 else 0


# What the handler has the VM call, for the same state.
def make_look(state):
    scope = {"micropython": micropython}
    exec(
        _LOOK_SOURCE % (state >> 24, state >> 16 & 255, state >> 8 & 255, state & 255),
        scope,
    )
    return scope["look"]
