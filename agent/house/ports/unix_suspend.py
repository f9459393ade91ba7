# Suspension on the Unix port: the timer's handler has a callback scheduled, which the VM runs
# between two of the guest's jumps, on top of its stack. Loaded when the first guest asks for it.

import micropython
from micropython import const

from house import modules

from . import unix_timer
from .unix_heap import regions
from .unix_timer import STATE, _soon, _timer_settime

# Words of STATE, see unix_timer.py.
_ARMED = const(0)
_DELIVERED = const(3)
_HOLD = const(12)
_ASKED = const(22)
_QUEUED = const(23)

_overrun = None
_timer = None
_scheduler = 0


# The callback. A slice that has yielded before it came, or is being ended, is left alone. What it
# calls answers 1 when the guest goes on, with a limit of its own, 0 when it is to be ended, 2 when
# it cannot be suspended right here.
@micropython.viper
def _suspend(_):
    p = ptr32(STATE)
    p[_QUEUED] = 0
    if int(p[_ARMED]) != 2 or p[_DELIVERED] or p[_HOLD] or int(p[_ASKED]) == 0:
        return
    p[_ARMED] = 0
    lock = ptr16(int(_scheduler))
    lock[0] = 0
    answer = int(_overrun())
    if answer != 1:
        p[_ARMED] = 1 + (answer >> 1)
        _timer_settime(_timer, 0, _soon, None)
    lock[0] = 0xFFFF


# Returns None or why not.
def start(overrun, most):
    global _overrun, _timer, _scheduler
    from house import vmlock

    base = id(modules.loaded)
    for low, high in regions():
        if low <= base < high:
            _scheduler = vmlock.find(high)
    modules.drop(vmlock)
    if not _scheduler:
        return "the VM's scheduler was not found"
    _overrun = overrun
    _timer = unix_timer._timer
    unix_timer.suspender = _suspend  # type: ignore[assignment]
    unix_timer.suspend_above = most
    return None
