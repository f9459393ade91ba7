# Stopping a guest on the Unix port: a POSIX timer whose signal handler writes an exception into
# the VM's pending-exception slot.
#
# The platform's facts that this rests on are proved by self_test() at every start.

import array
import ffi
import micropython
import struct
import time
import uctypes
from micropython import const

from .unix_slot import SLOT, WORD, find_stack_limit, is_x64, text_around

_SIGNAL = const(38)  # a real-time signal: nothing in the port or in libffi uses it
_SIGKILL = const(9)
_SIGEV_SIGNAL = const(0)
_SIGACTION_SIZE = const(152)
_CLOCK_MONOTONIC = const(1)
_CLOCK_THREAD_CPU = const(3)
_PAGE = const(4096)
_PROT_ALL = const(7)
_MAP_PRIVATE_ANONYMOUS = const(0x22)
_HEADROOM = const(1 << 20)  # bytes of stack in all while the handler runs; Linux gives 8 MiB

# After the deadline the timer delivers the exception again every so often.
_BURST_NS = const(50000)
_BURST_US = const(50)

# An exception that still waits in the slot is not made any more pressing by another delivery: where
# so many in a row found it there, the handler looks more slowly. What it interrupts so gets on,
# however slow the machine is. After some more looks in a slice
# the guest is in calls that nothing interrupts, and the last resort is to end the board. They are
# half a second in which the guest could have taken it: time in which the machine ran others, or
# stood still, brings one look, however long it was.
_STUBBORN = const(20)
_SLOW_NS = const(1000000)
_LOST = const(500)

# So often a slice is looked into, and its memory with it, if so many blocks were handed out since
# the last look, as a power of two.
_LOOK_US = const(250)
_LOOK_BITS = const(6)

# The watchdog allows for a slice that may be so long.
_LONG_US = const(1000000)

# A guest that catches it is pursued by a scheduled callback, which the VM runs between
# two of its checks: it delivers again and schedules itself, so that hardly any of the
# guest's jumps passes without a raise. Timer signals alone took up to 490 ms to end
# nested handlers, because a handler is too short to be hit by chance.
_PURSUE_AFTER = const(2)

# A limit with this bit is one at which the slice is to be suspended, not ended. For so many signals
# the suspender is waited for, then the slice is ended after all.
SUSPENDABLE = const(1 << 29)
_PATIENCE = const(100)
TOO_DEEP = const(101)  # what the word says where too little of the stack was left

# A signal that comes later than this was held back: by the kernel, where it finds the thread
# asleep (it comes within 100 us otherwise; a file that was closed while the disk was busy held it
# for 430 us), or else by the machine itself.
_HELD_US = const(200)
_LATE_US = const(1000)

# Rounds of the self-test's loop: 0.2 s or more, so that a deadline of 2 ms lies within.
_SPINS = const(10000000)

# A gap between wall and CPU time shorter than this is not worth asking the kernel about.
_GAP_US = const(100)

_libc = ffi.open("libc.so.6")
_sigaction = _libc.func("i", "sigaction", "ipp")
_timer_create = _libc.func("i", "timer_create", "ipp")
_timer_settime = _libc.func("i", "timer_settime", "pipp")
_clock_gettime = _libc.func("i", "clock_gettime", "ip")
_mmap = _libc.func("L", "mmap", "LLiiil")
_pread = _libc.func("l", "pread", "ipLl")
_open = _libc.func("i", "open", "si")
_getpid = _libc.func("i", "getpid", "")
_kill = _libc.func("i", "kill", "ii")

ticks_us = time.ticks_us


# What the agent raises in a guest. No guest has a reason to catch it; one that does is
# hit again until it is gone.
class Preempted(BaseException):
    pass


# Words of STATE, shared with the signal handler.
_ARMED = const(0)  # 2 where the slice is to be suspended
_EXC_LO = const(1)
_EXC_HI = const(2)
_DELIVERED = const(3)
_LIMIT = const(4)
_CPU0 = const(5)
_WALL0 = const(6)
_DELAY0 = const(7)  # run delay of the thread in us when last asked
_FD = const(8)  # /proc/thread-self/schedstat, 0 where the kernel has none
_NOISE = const(9)
_FORGIVEN = const(10)  # us of this slice in sleeps that no signal ends
_STALLED = const(11)  # 1 where this slice was begun anew because the machine stood still
HOLD = const(12)  # not 0 while nothing may be delivered: a file-system call is under way
TAG = const(13)  # which instance runs, for whoever has to say so after a reset
_UNTAKEN = const(14)  # signals in a row that found the exception still in the slot, or HOLD
_PURSUED = const(15)  # 1 while _pursue is in the scheduler's queue
_PID = const(16)
_LOOKS = const(17)  # slow ones in this slice
ENDED = const(18)  # 1: the last resort ended this run
WATCH = const(19)  # CPU time in ms that the agent's watchdog allows, 0 where there is none
FED = const(20)  # CPU time in ms when it was fed last
_SLOW = const(21)  # 1 while the timer is set to slow looks
ASKED = const(22)  # signals of this slice that asked for it to be suspended
QUEUED = const(23)  # 1 while the suspender is in the scheduler's queue
_CLOCK_LO = const(24)  # address of the allocation clock, 0 where nobody looks at memory
_CLOCK_HI = const(25)
_CLOCK_SEEN = const(26)  # what it said at the last look
_LOOKING = const(27)  # 1 while _look is in the scheduler's queue
KEPT = const(28)  # three words of the agent's that survive a reset
STATE = array.array("I", [0] * 9 + [0x2F6E2B1] + [0] * 21)
_schedule = micropython.schedule
_stack_use = micropython.stack_use

_now = array.array("q", [0, 0])  # timespec for the agent
_now_h = array.array("q", [0, 0])  # timespec for the handler, which may interrupt the agent
_stat = bytearray(64)
_stat_h = bytearray(64)


# The thread's time waiting for a processor, in us modulo 2**32: the second number of
# /proc/thread-self/schedstat, in ns.
@micropython.viper
def _run_delay(text, n: int) -> int:
    b = ptr8(text)
    i = 0
    while i < n and b[i] != 32:
        i += 1
    i += 1
    v = 0
    while i < n and b[i] != 32:
        v = v * 10 + b[i] - 48
        i += 1
    return (v // 1000) & 0xFFFFFFFF


# Delivers at random, one time in two: at every time, a loop whose handler is two jumps
# long could stay in step and meet every raise in the same place.
@micropython.viper
def _pursue(_):
    p = ptr32(STATE)
    if p[_ARMED] == 0:
        p[_PURSUED] = 0
        return
    p[_UNTAKEN] = 0
    if p[HOLD]:
        _schedule(_pursue, 0)
        return
    r = (int(p[_NOISE]) * 1103515245 + 12345) & 0x7FFFFFFF
    p[_NOISE] = r
    if r & 0x10000:
        q = ptr32(_slot_view)
        q[0] = p[_EXC_LO]
        q[1] = p[_EXC_HI]
        p[_DELIVERED] = int(p[_DELIVERED]) + 1
    _schedule(_pursue, 0)


# The handler. It raises only when the guest really held the processor for its limit: by
# its CPU time, or by sleeping in a call that nobody else can run beside. Time that the
# machine gave to other processes is not the guest's, and neither is a sleep that no signal
# ends: then the kernel waits for a disk, and the handler comes late. A virtual machine that its
# host stops for a moment charges the stop to whoever was running; no program can keep the signal
# waiting that long, so the slice then begins anew, once. It allocates nothing. `at` is the
# instruction that it interrupts.
@micropython.viper
def _on_timer(at):
    p = ptr32(STATE)
    if p[_ARMED] == 0:
        _timer_settime(_timer, 0, _disarmed, None)
        return
    untaken = int(p[_UNTAKEN]) + 1
    if p[HOLD]:
        p[_UNTAKEN] = untaken
        if untaken == _STUBBORN:
            p[_SLOW] = 1
            _timer_settime(_timer, 0, _slowly, None)
        return
    limit = int(p[_LIMIT])
    pause = _LOOK_US
    if p[_CLOCK_LO] and int(p[_LOOKING]) + int(p[_DELIVERED]) == 0:
        c = ptr32(int(p[_CLOCK_LO]) | (int(p[_CLOCK_HI]) << 32))
        if (int(c[0]) - int(p[_CLOCK_SEEN])) >> _LOOK_BITS != 0:
            if _may_lock(at):
                p[_LOOKING] = 1
                _schedule(_scheduled_look, 0)
            else:
                pause = _BURST_US
    wall = (int(ticks_us()) - int(p[_WALL0])) & 0x3FFFFFFF  # type: ignore[call-overload]
    if wall < limit:
        left = limit - wall
        if left > pause:
            left = pause
        s = ptr32(_rest)
        s[6] = left * 1000
        _timer_settime(_timer, 0, _rest, None)
        return
    _clock_gettime(_CLOCK_THREAD_CPU, _now_h)
    t = ptr32(_now_h)
    used = (int(t[0]) * 1000000 + int(t[2]) // 1000 - int(p[_CPU0])) & 0xFFFFFFFF
    if used < limit:
        stolen = wall - used
        if p[_FD]:
            n = int(_pread(int(p[_FD]), _stat_h, 64, 0))
            stolen = (int(_run_delay(_stat_h, n)) - int(p[_DELAY0])) & 0xFFFFFFFF
        over = wall - stolen - int(p[_FORGIVEN]) - limit
        if over < 0:
            left = 0 - over
            if left > limit - used:
                left = limit - used
            if left > pause:
                left = pause
            if left > _BURST_US:  # else the interval comes back to look again
                s = ptr32(_rest)
                s[6] = left * 1000
                _timer_settime(_timer, 0, _rest, None)
            return
        if over > _LATE_US:
            p[_FORGIVEN] = wall - stolen - used
            return
        if over > _HELD_US and p[_FORGIVEN] == 0:
            p[_FORGIVEN] = limit // 2  # not sure: a sleeper of its own will is given no more
            return
    elif used - limit > _LATE_US and p[_DELIVERED] + p[_STALLED] == 0:
        p[_STALLED] = 1
        p[_CPU0] = int(p[_CPU0]) + used
        p[_WALL0] = int(ticks_us())  # type: ignore[call-overload]
        return
    q = ptr32(_slot_view)
    n = int(p[_DELIVERED]) + 1
    if int(p[_ARMED]) == 2 and int(p[ASKED]) < _PATIENCE and n == 1:
        if int(_stack_use()) > int(suspend_above):
            p[ASKED] = TOO_DEEP
            return
        p[ASKED] = int(p[ASKED]) + 1
        if p[QUEUED] == 0 and _may_lock(at):
            p[QUEUED] = 1
            _schedule(suspender, 0)
        return
    if n > 1 and q[0] == p[_EXC_LO] and q[1] == p[_EXC_HI]:
        p[_UNTAKEN] = untaken
        if untaken == _STUBBORN:
            p[_SLOW] = 1
            _timer_settime(_timer, 0, _slowly, None)
        elif untaken > _STUBBORN:
            p[_LOOKS] = int(p[_LOOKS]) + 1
            if p[_LOOKS] == _LOST:
                p[ENDED] = 1
                _kill(int(p[_PID]), _SIGKILL)
    else:
        p[_UNTAKEN] = 0
        if p[_SLOW]:
            p[_SLOW] = 0
            _timer_settime(_timer, 0, _soon, None)
    q[0] = p[_EXC_LO]
    q[1] = p[_EXC_HI]
    p[_DELIVERED] = n
    if (
        n >= _PURSUE_AFTER
        and p[_PURSUED] == 0
        and _may_lock(at)
        and int(_stack_use()) < int(_schedule_above)
    ):
        p[_PURSUED] = 1
        _schedule(_pursue, 0)


# The callback: looks at the memory of the guest that runs. What that takes is no time of the
# slice's. What it calls answers whether the guest is to be ended.
@micropython.viper
def _look(_):
    p = ptr32(STATE)
    p[_LOOKING] = 0
    armed = int(p[_ARMED])
    if armed == 0 or p[_DELIVERED] or p[HOLD]:
        return
    p[_ARMED] = 0
    cpu = int(cpu_us())
    wall = int(ticks_us())  # type: ignore[call-overload]
    ended = int(_watch())  # type: ignore[misc]
    c = ptr32(int(p[_CLOCK_LO]) | (int(p[_CLOCK_HI]) << 32))
    p[_CLOCK_SEEN] = c[0]
    p[_CPU0] = int(p[_CPU0]) + int(cpu_us()) - cpu
    p[_WALL0] = int(p[_WALL0]) + int(ticks_us()) - wall  # type: ignore[call-overload]
    if ended:
        p[_LIMIT] = 0
        p[_STALLED] = 1
        armed = 1
    p[_ARMED] = armed
    _timer_settime(_timer, 0, _soon, None)


# Has `watch` called in the midst of slices that allocate. The table's clock stands at `address`.
# The callback is a C function for the VM: a guest that was well above its recursion limit when the
# signal came may stand at it when the VM runs the callback. Returns None.
def watch_memory(watch, address):
    global _watch, _look_callback, _scheduled_look
    _watch = watch
    if _scheduled_look is None:
        _look_callback = ffi.callback("v", _look, "i")
        code = _with_headroom(_look_callback.cfun(), find_stack_limit(), False)
        _scheduled_look = ffi.func("v", code, "i")
    STATE[_CLOCK_LO] = address & 0xFFFFFFFF
    STATE[_CLOCK_HI] = address >> 32


# Whether the VM's scheduler may be called by a handler that interrupted the instruction `at`. It
# takes a mutex, and where the thread is about to take or to leave that one itself, it would wait
# for itself for ever. So nowhere in the library that has the mutex, except in a system call.
@micropython.viper
def _may_lock(at) -> bool:
    a = int(at)
    if a < int(_LOCKS_BEGIN) or a >= int(_LOCKS_END):
        return True
    code = ptr8(a - 2)
    return code[0] == 0x0F and code[1] == 0x05


_LOCKS_BEGIN, _LOCKS_END = text_around(ffi.open(None).addr("pthread_mutex_lock"))
_slot_view = uctypes.bytearray_at(SLOT, WORD) if SLOT else bytearray(WORD)
# No lock: the handler allocates nothing, and a lock can deadlock on the atomic section.
_callback = ffi.callback("v", _on_timer, "l")
_timer = None
_disarmed = bytes(32)


# Settings of the timer: interval and first expiry, each in seconds and nanoseconds.
_setting = bytearray(struct.pack("<qqqq", 0, _BURST_NS, 0, 0))
_rest = bytearray(_setting)
_soon = struct.pack("<qqqq", 0, _BURST_NS, 0, _BURST_NS)
_slowly = struct.pack("<qqqq", 0, _SLOW_NS, 0, _SLOW_NS)
_exception = None
# A callback that finds no stack left leaves the VM's scheduler locked for ever: none is scheduled
# where more than so many bytes of it are in use.
_schedule_above = 0
_MARGIN = const(8192)  # the signal's own frame is part of what is in use

_watch = _look_callback = _scheduled_look = None  # see watch_memory()
suspender = None  # see unix_suspend.py, as for the next
suspend_above = 0


# A fresh exception object for the next kill; the old one carries the last kill's traceback.
def renew():
    global _exception
    _exception = Preempted()
    address = id(_exception)
    STATE[_EXC_LO] = address & 0xFFFFFFFF
    STATE[_EXC_HI] = address >> 32
    STATE[_DELIVERED] = 0


# The exception object itself, for throwing it by hand.
def exception():
    return _exception


# How often the exception was delivered since renew().
def delivered():
    return STATE[_DELIVERED]


_NOP = b"\x0f\x1f\x80\x00\x00\x00\x00"


# Machine code (x86-64) around a C function: it raises the VM's stack limit for the time of the
# call. A guest may stand at the limit when the signal comes; the handler's own stack check
# would fail there and throw RuntimeError out of the middle of whatever C code was running,
# which ended in a segmentation fault each time. A handler is given the interrupted instruction.
def _with_headroom(function, limit, handler=True):
    code = _mmap(0, _PAGE, _PROT_ALL, _MAP_PRIVATE_ANONYMOUS, -1, 0)
    view = uctypes.bytearray_at(code, _PAGE)
    struct.pack_into("<B2sQ", view, 0, 0x53, b"\x48\xbb", limit)  # push rbx; mov rbx, limit
    struct.pack_into("<6s", view, 11, b"\xff\x33\x48\x83\xec\x08")  # push [rbx]; sub rsp, 8
    struct.pack_into("<3sI", view, 17, b"\x48\xc7\x03", _HEADROOM)  # mov qword [rbx], headroom
    struct.pack_into("<2sQ", view, 24, b"\x48\xb8", function)  # mov rax, function
    # mov rdi, [rdx + 168]: the instruction pointer in the context, the handler's third argument
    struct.pack_into("<7s", view, 34, b"\x48\x8b\xba\xa8\x00\x00\x00" if handler else _NOP)
    # call rax; add rsp, 8; pop [rbx]; pop rbx; ret
    struct.pack_into("<10s", view, 41, b"\xff\xd0\x48\x83\xc4\x08\x8f\x03\x5b\xc3")
    return code


# Sets up signal, timer and clocks; returns None or why preemption cannot work here.
def start():
    global _timer, _schedule_above
    if not is_x64():
        return "the Unix port needs an x86-64 machine"
    if not SLOT:
        return "the VM's pending-exception slot was not found"
    limit = find_stack_limit()
    if not limit:
        return "the VM's stack limit was not found"
    _schedule_above = struct.unpack("<Q", uctypes.bytes_at(limit, WORD))[0] - _MARGIN
    action = bytearray(_SIGACTION_SIZE)
    struct.pack_into("<Q", action, 0, _with_headroom(_callback.cfun(), limit))
    # No NODEFER: a handler on top of another would not see where the VM was interrupted. No
    # RESTART: a guest that sleeps in a system call must come back to the VM to be stopped.
    if _sigaction(_SIGNAL, action, None):
        return "sigaction failed"
    event = bytearray(64)
    struct.pack_into("<Qii", event, 0, 0, _SIGNAL, _SIGEV_SIGNAL)
    handle = bytearray(WORD)
    if _timer_create(_CLOCK_MONOTONIC, event, handle):
        return "timer_create failed"
    _timer = struct.unpack("<Q", handle)[0]
    STATE[_PID] = _getpid()
    fd = _open("/proc/thread-self/schedstat", 0)
    if fd > 0 and _pread(fd, _stat, 64, 0) > 0:
        STATE[_FD] = fd
    renew()
    return None


# CPU time of the thread in us. viper, because reading an 'q' array makes a big integer each time.
@micropython.viper
def cpu_us() -> int:
    _clock_gettime(_CLOCK_THREAD_CPU, _now)
    t = ptr32(_now)
    return int(t[0]) * 1000000 + int(t[2]) // 1000


# Is told of a slice that may be longer than the watchdog waits, which takes this function's place.
def stretch(limit_us):
    pass


# Starts the countdown of a slice of the instance `tag` that began at these readings of the clocks.
@micropython.viper
def arm(limit_us: int, wall: int, cpu: int, tag: int):
    p = ptr32(STATE)
    armed = 1
    if limit_us >= _LONG_US:
        if limit_us >= SUSPENDABLE:
            limit_us -= SUSPENDABLE
            p[ASKED] = 0
            armed = 2
        if limit_us >= _LONG_US:
            stretch(limit_us)
    p[TAG] = tag
    p[_LIMIT] = limit_us
    p[_FORGIVEN] = 0
    p[_STALLED] = 0
    p[_UNTAKEN] = 0
    p[_LOOKS] = 0
    p[_SLOW] = 0
    p[_WALL0] = wall
    p[_CPU0] = cpu
    if limit_us > _LOOK_US:
        limit_us = _LOOK_US
    first = ptr32(_setting)  # seconds, then nanoseconds of the first expiry
    first[4] = 0
    first[6] = limit_us * 1000
    p[_ARMED] = armed
    _timer_settime(_timer, 0, _setting, None)


# Straight after a slice: nothing is delivered any more, and what was delivered too late to be
# raised is not raised at all. Returns how often it was delivered since renew().
@micropython.viper
def disarm() -> int:
    p = ptr32(STATE)
    p[_ARMED] = 0
    if p[_DELIVERED]:
        q = ptr32(_slot_view)
        if int(q[0]) == int(p[_EXC_LO]) and int(q[1]) == int(p[_EXC_HI]):
            q[0] = 0
            q[1] = 0
    return int(p[_DELIVERED])


# Ends the burst. Between slices an armed timer costs one signal at most, so this is called
# when the agent is about to sleep and after a kill, not after every slice.
def quiet():
    STATE[_ARMED] = 0
    _timer_settime(_timer, 0, _disarmed, None)


# How much of `gap` us (wall time less CPU time of a stretch) the machine gave to others.
# The rest of the gap the thread slept of its own will, in a call that blocks.
def stolen_us(gap):
    if gap < _GAP_US:
        return gap
    fd = STATE[_FD]
    if not fd:
        return gap
    n = _pread(fd, _stat, 64, 0)
    delay = _run_delay(_stat, n)
    stolen = (delay - STATE[_DELAY0]) & 0xFFFFFFFF
    STATE[_DELAY0] = delay
    return min(gap, stolen)


# Longer than any deadline, and not for ever.
def _spin():
    for _ in range(_SPINS):
        pass


# Proves that the slot stops a loop that never calls anything. Returns None or why not.
def self_test():
    if _timer is None:
        reason = start()
        if reason:
            return reason
    caught = False
    # Bytecode, so a late exception can be raised in here, too: three nested tries (decision 1).
    try:
        try:
            try:
                arm(2000, ticks_us(), cpu_us(), 0)  # type: ignore[arg-type]
                _spin()
            finally:
                STATE[_ARMED] = 0
            if caught:
                pass
        except Preempted:
            caught = True
    except Preempted:
        caught = True
    quiet()
    renew()
    return None if caught else "a loop was not stopped"
