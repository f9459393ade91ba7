# What the Unix port makes of the page that outlived the run before.

import array
import os
import struct

import ffi
from house import wire
from house.ports import unix_reset
from house.ports.unix_timer import ENDED, FED, KEPT, STATE, TAG, WATCH

_GUEST = 0x1234567


# (cause, culprit) of a run that was ended by `how` after `cpu_ms`, with these words in its page.
def _judge(how, cpu_ms=100, armed=1, **words):
    held = [0] * len(STATE)
    held[0] = armed
    held[TAG] = _GUEST
    for index, value in ((ENDED, "ended"), (WATCH, "watch"), (FED, "fed")):
        held[index] = words.get(value, 0)
    os.putenv("GUESTHOUSE_RESET_CAUSE", how)
    os.putenv("GUESTHOUSE_RESET_CPU_MS", str(cpu_ms))
    unix_reset.keep(1, 0)
    return unix_reset._judge(held), unix_reset.recall(1)


def test_the_guest_whose_slice_the_handler_ended_the_run_in_is_the_culprit():
    assert _judge("watchdog", ended=1) == (wire.RESET_WATCHDOG, _GUEST)


def test_a_kill_from_outside_is_nobodys():
    assert _judge("watchdog", watch=8000, fed=50) == (wire.RESET_UNKNOWN, 0)
    assert _judge("watchdog") == (wire.RESET_UNKNOWN, 0)


def test_the_watchdog_blames_the_guest_that_ran_and_else_nobody():
    assert _judge("watchdog", 8060, watch=8000, fed=50) == (wire.RESET_WATCHDOG, _GUEST)
    assert _judge("watchdog", 8060, 0, watch=8000, fed=50) == (wire.RESET_WATCHDOG, 0)


def test_other_ends_are_what_they_are():
    assert _judge("power-on") == (wire.RESET_POWER_ON, 0)
    assert _judge("soft", ended=1) == (wire.RESET_SOFT, 0)
    assert _judge("fault", 9000, watch=8000) == (wire.RESET_FAULT, 0)
    assert _judge("something else") == (wire.RESET_UNKNOWN, 0)


def test_an_array_moves_into_the_page_and_keeps_the_words_that_are_kept():
    path = "/tmp/guesthouse-test-%d" % int.from_bytes(os.urandom(4), "little")
    with open(path, "wb") as page:
        page.write(struct.pack("<%dI" % (KEPT + 3), *range(KEPT + 3)) + bytes(4000))
    words = array.array("I", [1000 + i for i in range(KEPT + 3)])
    descriptor = ffi.open(None).func("i", "open", "si")(path, 2)
    assert unix_reset._move(words, descriptor)[5] == 5  # what it held is told
    assert words[5] == 1005 and list(words)[KEPT:] == list(range(KEPT, KEPT + 3))
    words[6] = 77
    with open(path, "rb") as page:
        assert struct.unpack("<7I", page.read(28))[5:] == (1005, 77)
    os.remove(path)
