# Suspension on the rp2 port. Loaded when the first guest asks for it.
#
# A handler stands in front of the one of rp2_alarm.py: behind the deadline of a slice that is to be
# suspended it puts a callback into the VM's queue, which the VM runs between two of the guest's
# jumps, on top of its stack. For all else, and where the callback does not come, the other is
# called.

import array
import micropython
import uctypes
from machine import mem32
from micropython import const

from house import hooks, modules

from . import rp2
from .rp2 import STATE

# Words of STATE, see rp2.py.
_DEADLINE = const(0)
_DELIVERED = const(3)
_HOLD = const(4)
_SUSPENDS = const(9)
_ASKED = const(10)

# Words of what the handler needs.
_QUEUED = const(2)  # 1 while the callback is in the queue
_OWN = const(8)
_own = array.array("I", [0] * _OWN)

_PATIENCE = const(100)  # interrupts that ask; then the slice is ended after all
_TOO_DEEP = const(101)
_AGAIN_US = const(40)
_FULL = const(3)  # places of the scheduler's queue, of 8, that may be taken before
_VECTOR = const(64)  # bytes before that of alarm 0
_ALARM_WORD = const(4)
_NOW_WORD = const(10)

# A deadline that is less than 16 us ahead counts as passed: the other handler, which would look a
# moment later, might find it so.
#
# r4 = own: STATE, the timer, QUEUED, the lowest stack pointer, the queue's length, the callback,
# micropython.schedule's code, the other handler.
_SOURCE = """
@micropython.asm_thumb
def handler():
    mov(r4, %d)
    lsl(r4, r4, 8)
    add(r4, %d)
    lsl(r4, r4, 8)
    add(r4, %d)
    lsl(r4, r4, 8)
    add(r4, %d)
    ldr(r2, [r4, 0])
    ldr(r3, [r2, 36])
    cmp(r3, 0)
    beq(OTHER)
    ldr(r3, [r2, 0])
    cmp(r3, 0)
    beq(OTHER)
    ldr(r5, [r4, 4])
    ldr(r6, [r5, 40])
    sub(r6, r6, r3)
    add(r6, 16)
    bmi(OTHER)
    ldr(r3, [r2, 12])
    cmp(r3, 0)
    bne(OTHER)
    ldr(r3, [r2, 16])
    cmp(r3, 0)
    bne(OTHER)
    ldr(r3, [r2, 40])
    cmp(r3, %d)
    bge(OTHER)
    mov(r6, sp)
    ldr(r7, [r4, 12])
    cmp(r6, r7)
    bge(ASK)
    mov(r3, %d)
    str(r3, [r2, 40])
    label(OTHER)
    ldr(r3, [r4, 28])
    data(2, 0x4798)
    b(END)
    label(ASK)
    add(r3, 1)
    str(r3, [r2, 40])
    ldr(r3, [r4, 8])
    cmp(r3, 0)
    bne(AGAIN)
    ldr(r3, [r4, 16])
    ldrb(r3, [r3, 0])
    cmp(r3, %d)
    bgt(AGAIN)
    mov(r3, 1)
    str(r3, [r4, 8])
    ldr(r0, [r4, 20])
    mov(r1, 1)
    ldr(r3, [r4, 24])
    data(2, 0x4798)
    label(AGAIN)
    mov(r3, 1)
    str(r3, [r5, %d])
    ldr(r3, [r5, 40])
    add(r3, %d)
    str(r3, [r5, 16])
    label(END)
"""

_overrun = None
_handler = None
_lock = 0


# The callback. A slice that has yielded before it came, or is being ended, is left alone, and so is
# a file-system call. What it calls answers 1 when the guest goes on, with a limit of its own, 0
# when it is to be ended, 2 when it cannot be suspended right here.
@micropython.viper
def _suspend(_):
    own = ptr32(_own)
    state = ptr32(STATE)
    own[_QUEUED] = 0
    if state[_DEADLINE] == 0 or state[_SUSPENDS] == 0 or state[_ASKED] == 0:
        return
    if state[_DELIVERED] or state[_HOLD]:
        return
    state[_DEADLINE] = 0
    lock = ptr16(int(_lock))
    lock[0] = 0
    answer = int(_overrun())
    if answer != 1:
        timer = ptr32(int(own[1]))
        state[_SUSPENDS] = answer >> 1
        state[_DEADLINE] = int(timer[_NOW_WORD]) | 1
        timer[_ALARM_WORD] = int(timer[_NOW_WORD]) + _AGAIN_US
    lock[0] = 0xFFFF


@micropython.asm_thumb
def _stack_pointer():
    mov(r0, sp)  # type: ignore[name-defined]  # noqa: F821


# Returns None or why not.
def start(overrun, most):
    global _overrun, _handler, _lock
    from house import vmlock

    _lock = vmlock.find(id(_own))
    modules.drop(vmlock)
    length = STATE[rp2.QUEUE]
    if not _lock or not length:
        return "the VM's scheduler was not found"
    _overrun = overrun
    top = _stack_pointer() + micropython.stack_use()
    schedule = mem32[id(hooks.micropython.schedule) + 4]  # the function itself
    address = uctypes.addressof(_own)
    vector = (mem32[rp2._VTOR] & 0xFFFFFFFF) + _VECTOR
    for i, word in enumerate(
        (
            uctypes.addressof(STATE),
            rp2._TIMER,
            0,
            top - most,
            length,
            id(_suspend),
            schedule,
            mem32[vector],
        )
    ):
        _own[i] = word & 0xFFFFFFFF
    scope = {"micropython": micropython}
    exec(
        _SOURCE
        % (
            address >> 24,
            address >> 16 & 255,
            address >> 8 & 255,
            address & 255,
            _PATIENCE,
            _TOO_DEEP,
            _FULL,
            rp2._ACKNOWLEDGE,
            _AGAIN_US,
        ),
        scope,
    )
    _handler = scope["handler"]
    mem32[vector] = mem32[id(_handler) + 8] | 1
    return None
