# The rp2 port (RP2040, RP2350): preemption by an alarm of the hardware timer, serial over USB.
#
# Facts this file rests on are proved by self_test() at every start, not assumed from a version.
#
# The RP2350 is written after its data sheet and has not been run.

import array
import gc
import micropython
import select
import sys
import time
import uctypes
from machine import mem32
from micropython import const

from house import modules

NAME = "rp2"  # of the board, where nobody says another
ROOT = ""  # the folder of images and data: the root of the file system
HEAP_RESERVE = 16 * 1024  # bytes that stay free for the agent between slices
HEAP_SLACK = 24 * 1024  # bytes that a slice may take beyond its guest's memory.max
# What admission counts with, measured on the emulated Pico with nine guests, six of which hung. The
# longest of 86 kills of 9 kinds: 3.07 ms, at the recursion limit. The longest that the agent was
# busy between two slices, collections apart: 8.2 ms of service with the longest piece of a summary,
# 8.6 ms for the end of a guest, 4.7 ms around a slice, 2.3 ms to wake sleepers; and for each guest
# less than 0.8 ms to sum up whose the time was.
KILL_US = 3100
SECTION_US = 24000
SECTION_GUEST_US = 800
NESTED_STACK = 3400  # bytes that must be left for a suspension, and there for any command
COMMAND_STACK = 4300
ASK_US = 5000  # for an answer of a guest's object; to tell where it was takes 1 to 3 ms
LOG_TAIL = 256  # bytes of last log lines kept for each guest
# Records that wait for the line: states, summaries, texts, slices. Room for the summaries of four
# guests; Summary makes more for more.
RINGS = (64, 16, 48, 32)
LOAD_MAX_US = 2000000  # time a module body may take, its compilation too, where nothing is said
TICKS_MASK = const(0x3FFFFFFF)

_RP2350 = "RP2350" in getattr(sys.implementation, "_machine", "")
_TIMER = 0x400B0000 if _RP2350 else 0x40054000
_ACKNOWLEDGE = 0x3C if _RP2350 else 0x34  # the register INTR, in bytes behind _TIMER
_ENABLE = 0x40 if _RP2350 else 0x38  # INTE

# The port uses three of the four alarms: 1 to wake from light sleep, 2 for timers in software,
# 3 for machine.Timer.
_ALARM = const(0)
_ALARM_WORD = const(4)  # of its register: (0x10 >> 2) + _ALARM
_NOW_WORD = const(10)  # of TIMERAWL

_WATCHDOG = 0x400D8000 if _RP2350 else 0x40058000
_LOAD = const(4)  # its registers, in bytes
_REASON = const(8)
_SCRATCH = const(12)
_ENABLED = 1 << 30  # in its first register
_SET = const(0x2000)  # behind a register stands one that sets bits of it, and one that clears some
_CLEAR = const(0x3000)
# What the watchdog resets: everything but the oscillators, like machine.reset().
_RESETS = 0x40018008 if _RP2350 else 0x40010008
_EVERYTHING = 0x01FFFFF3 if _RP2350 else 0x0001FFFC
# Its counter goes down twice a microsecond on the RP2040.
_PER_MS = 1000 if _RP2350 else 2000

_VTOR = 0xE000ED08
_NVIC_ENABLE = 0xE000E100
_NVIC_DISABLE = 0xE000E180
_FIRST_VECTOR = const(16)  # interrupts behind the processor's own exceptions
_RAM = 0x20000000
_RAM_END = 0x20082000

# A slice is not shorter than this: the alarm must still lie ahead when it is set.
_SHORTEST_US = const(20)
_MOVING = const(0x2B1158)  # see move_to_flash()
_MOVE_MS = const(8000)  # it takes one second, two where it writes
_LOOK_US = const(1000)  # between two looks of the handler at what the host sends, and at memory
_LOOK_STACK = const(2600)  # bytes that must be left for those
_STACK = const(7900)  # that the VM uses at most
_SOON_US = const(40)
_MISSED_US = const(1000)

# The endpoint's buffer that goes to the host: its control word, and what it says while the
# host has not taken it. The words are the chip's, the endpoint's number is MicroPython's.
_TO_HOST = 0x50100090
_FROM_HOST = 0x50100014  # the endpoint's control word, and where its buffer lies
_TAKEN_NOT = 1 << 10
_CONTROL = const(0xFFFF)  # the first of two buffers, the one that is used
# Bytes in a packet: one less than the most, because the stack sends an empty one behind a full one.
_PIECE = const(63)
_AGAIN_MS = const(1000)
_FULL_MS = const(60000)

ticks_us = time.ticks_us
ticks_ms = time.ticks_ms
cpu_us = time.ticks_us  # nobody else runs here
CPU_SLEEPS = False  # this clock goes on while the agent waits


# What the agent raises in a guest. No guest has a reason to catch it; one that does is
# hit again until it is gone.
class Preempted(BaseException):
    pass


# The VM state holds, in this order, dict_locals, dict_globals, nlr_top, nlr_jump_cb and the
# pending exception. In a module body both dicts are this module's, so two equal neighbours
# name the place. id(sys.modules) lies in the same struct, above. Offsets differ between
# builds, hence the scan, and the self-test below proves what it found.
def _find_slot():
    base = id(sys.modules)
    mine = id(globals())
    above = 0
    for k in range(1, 400):
        word = mem32[base - k * 4]
        if word == mine and above == mine:
            return base - (k - 4) * 4
        above = word
    return 0


SLOT = _find_slot()
# Shared with the interrupt handler; see rp2_alarm.py for the words.
STATE = array.array("I", [0, SLOT] + [0] * 18)
HOLD = const(4)  # a word of STATE: not 0 while nothing may be delivered
_TAG = const(5)
_FOOD = const(8)
_SUSPENDS = const(9)  # 1 while the slice's limit is one at which it is suspended; rp2_suspend.py
_ASKED = const(10)  # interrupts of this slice that asked for that
SUSPENDABLE = const(1 << 29)  # in a limit
_TOO_DEEP = const(101)
_CLOCK = const(11)
_SEEN = const(12)
_LOOKING = const(13)
QUEUE = const(14)  # a word of STATE: the address of the byte that counts what is in the VM's queue
_LOOK = const(15)
_SCHEDULE = const(16)
_LOWEST = const(17)
_LOOK_CODE = const(18)
_LOOK_SELF = const(19)
_AGENT_US = const(4)  # a word of what meter.py shares; word 0 is the last boundary's time

# Words of what the stand-ins for the flash driver share; see rp2_flash.py.
_FORGIVEN = const(39)
_LEFT = const(41)
_LAST_CALL = const(42)

_handler = None
_look_stub = None
_watch = None
_old_vector = 0
_kept = []  # type: list  # what is still needed of what has moved to flash
_exception = None
_held = ()  # where file systems call the flash driver; see rp2_flash.py


# A fresh exception object for the next kill; the old one carries the last kill's traceback.
def renew():
    global _exception
    _exception = Preempted()
    STATE[2] = id(_exception)
    STATE[3] = 0


# The exception object itself, for throwing it by hand.
def exception():
    return _exception


# How often the exception was delivered since renew().
def delivered():
    return STATE[3]


# Sets up the alarm; returns None or why preemption cannot work here.
def start():
    global _handler, _look_stub, _old_vector
    if not SLOT:
        return "the VM's pending-exception slot was not found"
    vectors = mem32[_VTOR] & 0xFFFFFFFF
    if not _RAM <= vectors < _RAM_END:
        return "the interrupt vectors are not in RAM"
    if mem32[_TIMER + _ENABLE] & (1 << _ALARM):
        return "alarm %d of the timer is in use" % _ALARM
    from . import rp2_alarm

    state = uctypes.addressof(STATE)
    _handler = rp2_alarm.make(state, _TIMER, _ALARM, _ACKNOWLEDGE, _WATCHDOG)
    _look_stub = rp2_alarm.make_look(state)
    STATE[QUEUE] = rp2_alarm.find_queue()
    modules.drop(rp2_alarm)
    STATE[_LOWEST] = mem32[vectors] - _STACK + _LOOK_STACK  # the first of them is the stack's top
    renew()
    # A function in machine code is an object of type, number of arguments, code.
    code = mem32[id(_handler) + 8] & 0xFFFFFFFF
    if not _RAM <= code < _RAM_END:
        return "the handler's code was not found"
    vector = vectors + 4 * (_FIRST_VECTOR + _ALARM)
    _old_vector = mem32[vector]
    mem32[vector] = code | 1
    mem32[_RESETS] = _EVERYTHING
    mem32[_TIMER + _ACKNOWLEDGE] = 1 << _ALARM
    mem32[_TIMER + _ENABLE + _SET] = 1 << _ALARM
    mem32[_NVIC_ENABLE] = 1 << _ALARM
    return None


# Moves what never changes of the agent out of the heap; returns None or why not. The agent runs
# either way, so nothing is raised. Should it not come back, the watchdog ends it, and the board
# does not try again while it has power.
def move_to_flash(table):
    if _kept:
        return None  # by an earlier run of the agent
    if _RP2350:
        return "not for this chip"
    if not table.exact:
        return "the heap's layout is unknown"
    if recall(3) == _MOVING:
        return "the board was reset in the midst of it"
    gc.enable()  # the move leaves much behind
    keep(3, _MOVING)
    watch(_MOVE_MS)
    try:
        table.collect()
        layout = table.layout
        room = [bytearray((layout.end - layout.pool) >> 4)]  # before the module is in its way

        from . import rp2_xip

        try:
            return rp2_xip.move(layout, room, _kept, feed)
        finally:
            modules.drop(rp2_xip)
    except Exception as error:
        return repr(error)
    finally:
        unwatch()
        keep(3, 0)
        gc.disable()


# Gives the alarm back.
def stop():
    global _handler
    _release_files()
    if _handler is None:
        return
    STATE[0] = 0
    mem32[_NVIC_DISABLE] = 1 << _ALARM
    mem32[_TIMER + _ENABLE + _CLEAR] = 1 << _ALARM
    mem32[(mem32[_VTOR] & 0xFFFFFFFF) + 4 * (_FIRST_VECTOR + _ALARM)] = _old_vector
    _handler = None


# Sees to it that no file-system call is cut in the middle. Returns None or why not.
def hold_files():
    global _held
    if not _held:
        from . import rp2_flash

        _held = rp2_flash.install(uctypes.addressof(STATE), _TIMER + 4 * _NOW_WORD)
        modules.drop(rp2_flash)
    return None if _held else "no file system on the flash was found"


# Us that a guest's last file calls held the board up in one slice, if they ended within `ms`.
def written_us(ms):
    if not _held or not _held[0][_LAST_CALL]:
        return 0
    own = _held[0]
    ago = mem32[_TIMER + 4 * _NOW_WORD] - own[_LAST_CALL] & TICKS_MASK
    return own[_FORGIVEN] - own[_LEFT] & TICKS_MASK if ago // 1000 <= ms else 0


# Lets the file systems call the driver again.
def _release_files():
    global _held
    if _held:
        from . import rp2_flash

        rp2_flash.remove(_held)
        modules.drop(rp2_flash)
    _held = ()


# Starts the countdown of a slice of the instance `tag`. viper: a deadline on the 32-bit timer
# is no small int. With one clock `shared` is what meter.py keeps, or 0: the agent's stretch ends.
@micropython.viper
def arm(limit_us: int, shared, cpu, tag: int):
    timer = ptr32(_TIMER)
    state = ptr32(STATE)
    common = ptr32(shared)
    if int(common) != 0:
        now = int(timer[_NOW_WORD]) & TICKS_MASK
        common[_AGENT_US] = int(common[_AGENT_US]) + ((now - int(common[0])) & TICKS_MASK)
        common[0] = now
    if limit_us < _SHORTEST_US:
        limit_us = _SHORTEST_US
    state[_TAG] = tag
    state[HOLD] = 0
    state[_SUSPENDS] = 0
    if limit_us >= SUSPENDABLE:
        limit_us -= SUSPENDABLE
        state[_SUSPENDS] = 1
        state[_ASKED] = 0
    deadline = (int(timer[_NOW_WORD]) + limit_us) | 1
    state[0] = deadline
    first = deadline
    if limit_us > _LOOK_US:
        first = deadline - limit_us + _LOOK_US
    timer[_ALARM_WORD] = first
    # Had an interrupt taken all of that time, the alarm would wait for the timer to come round.
    if int(timer[_NOW_WORD]) - first >= 0:
        timer[_ALARM_WORD] = int(timer[_NOW_WORD]) + _MISSED_US


# Straight after a slice: nothing is delivered any more, and what was delivered too late to be
# raised is not raised at all. Returns how often it was delivered since renew().
@micropython.viper
def disarm() -> int:
    state = ptr32(STATE)
    state[0] = 0
    if state[3]:
        slot = ptr32(int(state[1]))
        if slot[0] == state[2]:
            slot[0] = 0
    return int(state[3])


# Has `overrun` called on top of each slice that overruns a limit with SUSPENDABLE, where no more
# than `most` bytes of the stack are in use. Returns None or why not.
def suspend_by(overrun, most):
    from . import rp2_suspend

    return rp2_suspend.start(overrun, most)


# Whether too much of the stack was in use when the last such slice overran.
def too_deep():
    return STATE[_ASKED] == _TOO_DEEP


# Has `watch` called in the midst of slices that allocate. The table's clock stands at `address`.
# Returns None or why not.
def watch_memory(watch, address):
    global _watch
    if not STATE[QUEUE]:
        return "the VM's queue was not found"
    _watch = watch
    STATE[_LOOK] = id(_look_stub)
    STATE[_SCHEDULE] = mem32[id(micropython.schedule) + 4]
    STATE[_LOOK_SELF] = id(_look)
    STATE[_LOOK_CODE] = mem32[id(_look) + 12] | 1
    STATE[_LOOKING] = 0
    STATE[_CLOCK] = address
    return None


# Called by rp2_alarm.py's stub. The time that it takes is not the slice's.
@micropython.viper
def _look():
    timer = ptr32(_TIMER)
    state = ptr32(STATE)
    state[_LOOKING] = 0
    deadline = int(state[0])
    if deadline == 0 or state[3] or state[HOLD]:
        return
    begin = int(timer[_NOW_WORD])
    state[0] = 0
    if _watch():
        state[_SUSPENDS] = 0
        deadline = begin
    clock = ptr32(int(state[_CLOCK]))
    state[_SEEN] = int(clock[0])
    now = int(timer[_NOW_WORD])
    state[0] = (deadline + now - begin) | 1
    timer[_ALARM_WORD] = now + _SOON_US


# Ends the burst: the alarm that is still set finds nothing to do.
def quiet():
    STATE[0] = 0


# Nobody takes the processor from us.
def stolen_us(gap):
    return 0


# --- what survives a reset ----------------------------------------------------


# One of four words of 30 bits that survive a reset, but no loss of power: the watchdog's scratch
# registers. The boot ROM and the SDK use 4 to 7. Word 3 is this port's own.
def recall(index):
    return mem32[_WATCHDOG + _SCRATCH + 4 * index] & TICKS_MASK


def keep(index, value):
    mem32[_WATCHDOG + _SCRATCH + 4 * index] = value


# Why the board started, as a number of wire.py. The register that says so stays as it is over a
# soft reset, and so it goes for what recovery.py knows better.
def reset_cause():
    reason = mem32[_WATCHDOG + _REASON] & 3
    if reason & 1:
        return 3  # the watchdog's time was up
    if reason or recall(0):
        return 2  # a program asked for it
    return 1


# The watchdog, which resets a board whose agent has not fed it for `ms`, 8388 at most. machine.WDT
# cannot be stopped, its register can.
def watch(ms):
    unwatch()
    STATE[_FOOD] = ms * _PER_MS
    mem32[_RESETS] = _EVERYTHING
    feed()
    mem32[_WATCHDOG + _SET] = _ENABLED


def feed():
    mem32[_WATCHDOG + _LOAD] = STATE[_FOOD]


def unwatch():
    mem32[_WATCHDOG + _CLEAR] = _ENABLED
    STATE[_FOOD] = 0


# --- serial ------------------------------------------------------------------

_stdin = sys.stdin.buffer
_stdout = sys.stdout.buffer
_in = select.poll()
_one = bytearray(1)
_before = -1  # the endpoint's control word at the last write
_again = ticks_ms()  # when to write although it is the same


# Ctrl-C becomes a byte like any other: the link reads it.
def open_serial():
    buffer = mem32[_FROM_HOST] & 0xFFC0
    if buffer:
        mem32[_FROM_HOST & ~0xFFFF | buffer] = 0  # a Ctrl-C from before the agent
    _in.register(sys.stdin, select.POLLIN)
    micropython.kbd_intr(-1)


def close_serial():
    micropython.kbd_intr(3)
    _in.unregister(sys.stdin)
    stop()


# Bytes read into buf; 0 when there are none. One by one: a read of more waits for them all.
def serial_read(buf):
    n = 0
    size = len(buf)
    while n < size:
        for _ in _in.ipoll(0):
            break
        else:
            break
        _stdin.readinto(_one)
        buf[n] = _one[0]
        n += 1
    return n


# Bytes of buf[:n] that the line took: 0 while nobody reads it. A write that finds no room waits for
# half a second, and where no host has the port open it overwrites what was written before. So the
# USB stack gets one packet, and the next when the host has taken it: the endpoint's control word is
# another then. It stays as it was while the bus sleeps, or the cable is pulled from a board with
# power of its own. Only a write makes the stack go on after that: one byte now and then, rarely
# where no more fit.
def serial_write(buf, n):
    global _before, _again
    word = mem32[_TO_HOST] & _CONTROL
    if word & _TAKEN_NOT:
        return 0
    if n > _PIECE:
        n = _PIECE
    if word == _before:
        if time.ticks_diff(ticks_ms(), _again) < 0:
            return 0
        n = 1
    _before = word
    n = _stdout.write(memoryview(buf)[:n]) or 0
    _again = time.ticks_add(ticks_ms(), _AGAIN_MS if n else _FULL_MS)
    return n


# Sleeps until a byte arrives, at most ms.
def wait(ms):
    for _ in _in.ipoll(ms):
        break


# --- self-tests ----------------------------------------------------------------


def _spin():
    while True:
        pass


# Proves that the slot stops a loop that never calls anything. Returns None or why not.
def self_test():
    if _handler is None:
        reason = start()
        if reason:
            return reason
    caught = False
    # Bytecode, so a late exception can be raised in here, too: three nested tries (decision 1).
    try:
        try:
            try:
                arm(2000, 0, 0, 0)
                _spin()
            finally:
                STATE[0] = 0
            if caught:
                pass
        except Preempted:
            caught = True
    except Preempted:
        caught = True
    quiet()
    renew()
    return None if caught else "a loop was not stopped"
