# The Unix port's timer: its handler may interrupt the VM anywhere.

import ffi
import micropython
from house.ports import unix_timer
from house.ports.unix_timer import STATE, Preempted

assert unix_timer.self_test() is None  # which starts the timer


# Runs `body` in an endless loop that takes every exception, for a slice of `limit_us`; returns how
# often the exception was delivered. Guarded as the port's self-test is.
def _slice(body, limit_us):
    caught = False
    unix_timer.renew()
    try:
        try:
            try:
                unix_timer.arm(limit_us, unix_timer.ticks_us(), unix_timer.cpu_us(), 0)
                while True:
                    try:
                        while True:
                            body()
                    except Preempted:
                        pass
            finally:
                STATE[0] = 0
            if caught:
                pass
        except Preempted:
            caught = True
    except Preempted:
        caught = True
    unix_timer.quiet()
    return unix_timer.delivered()


_libc = ffi.open("libc.so.6")
_bsearch = _libc.func("p", "bsearch", "ppLLC")
_byte = bytes(1)


@micropython.viper
def _equal(a, b) -> int:
    return 0


# A callback that locks the scheduler: its mutex is taken and left all the time.
_locking = ffi.callback("i", _equal, "pp", lock=True)


def _lock():
    _bsearch(_byte, _byte, 1, 1, _locking)


def test_a_handler_that_needs_a_lock_does_not_wait_for_itself():
    for _ in range(2000):
        assert _slice(_lock, 200) > 1


def test_while_held_nothing_is_delivered_and_the_work_goes_on():
    seen = []

    def body():
        if seen:
            return
        STATE[unix_timer.HOLD] = 1
        before = unix_timer.delivered()
        for _ in range(1000000):
            pass
        seen.append(unix_timer.delivered() - before)
        STATE[unix_timer.HOLD] = 0

    assert _slice(body, 200) > 0
    assert seen == [0]
