# Whole guests on a whole board: what a guest may do, and what ends it.

import sys
import time

import micropython
from board import Board
from house import meter, wire

_TICKER = """
import asyncio
async def main():
    while True:
        await asyncio.sleep_ms(5)
"""


# A board with one guest, run until the guest has ended.
def _ended(source, ms=5000, **spec):
    board = Board()
    instance = board.guest("g", source, **spec)
    end = board.end(instance, ms)
    board.close()
    return end, instance


# Whether a guest has more slices before long.
def _goes_on(board, guest):
    slices = guest.slices
    board.run(2000, lambda: guest.slices > slices + 3)
    return guest.slices > slices + 3


# --- programs that are all right ---


def test_async_main_runs_and_returns():
    (state, reason, *_), instance = _ended("""\
import asyncio
async def main():
 await asyncio.sleep_ms(20)
""")
    assert (state, reason) == (wire.STATE_EXITED, wire.REASON_RETURNED)


def test_a_program_that_ends_in_asyncio_run_runs_unmodified():
    source = """
import asyncio
async def main():
    for i in range(3):
        await asyncio.sleep_ms(5)
    print("done")
try:
    asyncio.run(main())
except Exception:
    print("never")
finally:
    asyncio.new_event_loop()
"""
    (state, reason, *_), instance = _ended(source, entry="run")
    assert (state, reason) == (wire.STATE_EXITED, wire.REASON_RETURNED)
    assert instance.log.lines(0)[1] == ["done"]


def test_a_loop_object_works_as_asyncio_run_does():
    for call in ("loop.run_until_complete(main())", "loop.create_task(main())\nloop.run_forever()"):
        source = """\
import asyncio
async def main():
 print('in')
 import sys
 sys.exit()
loop = asyncio.get_event_loop()
"""
        (state, reason, *_), instance = _ended(source + call, entry="run")
        assert (state, reason) == (wire.STATE_EXITED, wire.REASON_EXIT), (call, state, reason)
        assert instance.log.lines(0)[1] == ["in"]


def test_a_plain_generator_is_a_guest():
    source = """\
def main():
 for i in range(5):
  yield 3
 print('five')
"""
    (state, reason, *_), instance = _ended(source, entry="generator")
    assert (state, reason) == (wire.STATE_EXITED, wire.REASON_RETURNED)
    assert instance.log.lines(0)[1] == ["five"]


def test_asyncio_works_inside_a_guest():
    source = """
import asyncio
async def worker(n, out):
    await asyncio.sleep_ms(n)
    out.append(n)
    return n * 2
async def main():
    out = []
    assert await asyncio.gather(worker(9, out), worker(3, out)) == [18, 6]
    assert out == [3, 9]
    try:
        await asyncio.wait_for_ms(worker(1000, out), 20)
        assert False
    except asyncio.TimeoutError:
        pass
    event = asyncio.Event()
    lock = asyncio.Lock()
    async def setter():
        async with lock:
            await asyncio.sleep_ms(2)
            event.set()
    task = asyncio.create_task(setter())
    await event.wait()
    await task
    task = asyncio.create_task(worker(1000, out))
    await asyncio.sleep_ms(1)
    task.cancel()
    try:
        await task
        assert False
    except asyncio.CancelledError:
        pass
    assert asyncio.current_task() is not None
    print("all right")
"""
    end, instance = _ended(source)
    assert instance.log.lines(0)[1] == ["all right"], end
    assert end[:2] == (wire.STATE_EXITED, wire.REASON_RETURNED)


def test_streams_wake_the_guest_that_waits_for_them():
    source = """
import asyncio, io
class Pipe(io.IOBase):
    ready = False
    def ioctl(self, op, arg):
        return arg & 1 if op == 3 and self.ready else 0
    def read(self, n):
        return b"x"
async def main():
    pipe = Pipe()
    async def later():
        await asyncio.sleep_ms(10)
        pipe.ready = True
    asyncio.create_task(later())
    print(await asyncio.StreamReader(pipe).read(1))
"""
    end, instance = _ended(source)
    assert instance.log.lines(0)[1] == ["b'x'"], end


def test_two_guests_have_two_loops():
    board = Board()
    one = board.guest(
        "one",
        """\
import asyncio
async def main():
 await asyncio.sleep_ms(1)
 raise asyncio.CancelledError
""",
    )
    two = board.guest("two", _TICKER)
    board.end(one)
    board.run(2000, lambda: two.slices > 5)
    assert two.state in (wire.STATE_WAITING, wire.STATE_READY), two.state
    assert two.slices > 5
    board.close()


def test_two_guests_may_have_modules_of_one_name():
    board = Board()
    source = """\
import asyncio
import helper
async def main():
 await asyncio.sleep_ms(5)
 import helper
 print(helper.NAME, helper.N)
"""
    guests = [
        board.guest(name, source, files=(("helper.py", "NAME = '%s'\nN = [1]\n" % name),))
        for name in ("one", "two")
    ]
    board.run(5000, lambda: all(g.state == wire.STATE_EXITED for g in guests))
    assert [g.log.lines(0)[1] for g in guests] == [["one [1]"], ["two [1]"]]
    assert "helper" not in sys.modules
    board.close()


def test_a_task_whose_exception_nobody_takes_is_logged_and_the_guest_goes_on():
    source = """
import asyncio
async def bad():
    raise ValueError("lost")
async def main():
    asyncio.create_task(bad())
    await asyncio.sleep_ms(20)
"""
    end, instance = _ended(source)
    lines = instance.log.lines(0)[1]
    assert "ValueError: lost" in lines[0] and "g/main.py:4 in bad" in lines[1], lines
    assert end[:2] == (wire.STATE_EXITED, wire.REASON_RETURNED)


# --- programs that are not ---


def test_a_syntax_error_names_its_line_and_is_not_tried_again():
    board = Board()
    guest = board.guest(
        "g",
        """\
x = 1
def main(:
""",
        restart="on-failure",
    )
    state, reason, a, b, c, where, what = board.end(guest)
    assert (state, reason) == (wire.STATE_FAILED, wire.REASON_SYNTAX)
    assert where == "g/main.py:2", where
    board.run(100)
    assert guest.state == wire.STATE_FAILED
    board.close()


def test_no_main_says_what_to_write():
    end, _ = _ended("x = 1\n")
    assert end[:2] == (wire.STATE_FAILED, wire.REASON_NO_MAIN)
    assert "async def main()" in end[6]
    end, _ = _ended("""\
def main():
 return 5
""")
    assert end[:2] == (wire.STATE_FAILED, wire.REASON_NO_MAIN)


def test_an_error_at_import_names_its_line():
    end, _ = _ended("import nothing_of_that_name\n")
    assert end[:2] == (wire.STATE_FAILED, wire.REASON_EXCEPTION)
    assert end[5] == "g/main.py:1" and "nothing_of_that_name" in end[6], end


def test_a_hang_at_import_is_stopped():
    end, instance = _ended("""\
x = 1
while True:
    x += 1
""")
    assert end[:2] == (wire.STATE_KILLED, wire.REASON_LOAD_OVERRUN)
    assert end[5].startswith("g/main.py:"), end
    assert end[2] < 4 * instance.load_max_us


def test_an_error_names_the_call_chain():
    source = """\
import asyncio
def low():
    return {}['k']
def high():
    low()
async def main():
    await asyncio.sleep_ms(1)
    high()
"""
    end, _ = _ended(source)
    assert end[:2] == (wire.STATE_FAILED, wire.REASON_EXCEPTION)
    assert end[5] == "g/main.py:3 in low < g/main.py:5 in high < g/main.py:8 in main", end
    assert end[6].startswith("KeyError")


_HOSTILE = {
    "loop": """
    while True:
        pass
""",
    "except": """
    while True:
        try:
            while True: pass
        except BaseException: pass
""",
    "bare": """
    while True:
        try:
            while True: pass
        except: continue
""",
    "finally": """
    try:
        while True: pass
    finally:
        while True: pass
""",
    "continue": """
    while True:
        try:
            while True: pass
        finally:
            continue
""",
    "nested": """
    while True:
        try:
            try:
                try:
                    while True: pass
                except: pass
            except: pass
        except: pass
""",
    "exit": """
    class E:
        def __enter__(self): pass
        def __exit__(self, *a): return True
    while True:
        with E():
            while True: pass
""",
    "alloc": """
    l = []
    while True:
        l = [l[:10] for i in range(10)]
        for i in range(100): pass
""",
    "call": """
    def f(): pass
    while True:
        try:
            while True: f()
        except BaseException: pass
""",
    "sleep": """
    import time
    time.sleep(10)
""",
    "generator": """
    while True:
        try:
            sum(i for i in range(1000))
        except BaseException: pass
""",
}


_HOSTILE_MAIN = """\
import asyncio
def hostile():
%s
async def main():
    await asyncio.sleep_ms(1)
    hostile()
"""


# Nothing that the VM can interrupt outlives its slice by more than a little. The room is for a
# busy machine; on an idle one all of them end within 0.2 ms of the deadline.
def test_every_hostile_guest_is_stopped():
    for kind in _HOSTILE:
        source = _HOSTILE_MAIN % _HOSTILE[kind]
        board = Board()
        other = board.guest("other", _TICKER)
        guest = board.guest("g", source)
        end = board.end(guest)
        assert end[:2] == (wire.STATE_KILLED, wire.REASON_OVERRUN), (kind, end)
        assert " in hostile < g/main.py:" in end[5], (kind, end)
        assert end[2] < 100000, (kind, end)
        assert _goes_on(board, other), kind
        board.close()


# Recursion ends in the guest's own RuntimeError unless it swallows that.
def test_recursion_is_stopped():
    source = """\
import asyncio
def deep():
    while True:
        try:
            deep()
        except RuntimeError:
            pass
async def main():
    await asyncio.sleep_ms(1)
    deep()
"""
    end, _ = _ended(source)
    assert end[:2] == (wire.STATE_KILLED, wire.REASON_OVERRUN), end


# What commands leave behind fills the heap while no guest has a slice that would show it.
# A callback that is scheduled where no stack is left leaves the VM's scheduler locked for ever.
def test_a_guest_that_swallows_at_its_recursion_limit_leaves_the_scheduler_as_it_was():
    source = """
def dive():
    try:
        dive()
    except RuntimeError:
        while True:
            try:
                while True:
                    pass
            except BaseException:
                pass
async def main():
    dive()
"""
    (state, reason, *_), instance = _ended(source, 20000)
    assert (state, reason) == (wire.STATE_KILLED, wire.REASON_OVERRUN)
    ran = []
    micropython.schedule(ran.append, 1)
    for _ in range(100):
        pass
    assert ran


def test_what_the_agent_drops_is_collected_while_nobody_runs():
    board = Board()
    kernel = board.kernel
    size = kernel.table.total * kernel.table.block // 40
    kernel.link.receive = lambda: bytearray(size)
    board.port.wait = lambda ms: None
    for _ in range(80):
        kernel.sleep()
        assert kernel.table.counts[0] < kernel.table.total - kernel.reserve_blocks
    board.close()


def test_a_guest_over_its_memory_is_ended_and_leaves_nothing():
    source = """\
import asyncio
async def main():
    l = []
    while True:
        l.append(bytearray(500))
        await asyncio.sleep_ms(0)
"""
    board = Board()
    for _ in range(3):
        guest = board.guest("g", source, mem_max=32768)
        state, reason, a, b, c, where, what = board.end(guest)
        assert (state, reason, b) == (wire.STATE_KILLED, wire.REASON_OOM, 32768)
        assert 32768 < a < 40000, a
        assert where == "g/main.py:6 in main", where
        assert board.kernel.table.counts[guest.owner] * board.kernel.table.block < 3000
        board.kernel.lifecycle.remove(guest)
    board.close()


def test_garbage_alone_is_no_reason_to_end_a_guest():
    source = """\
import asyncio
async def main():
    for i in range(300):
        bytearray(2000)
        await asyncio.sleep_ms(0)
"""
    end, _ = _ended(source, mem_max=32768)
    assert end[:2] == (wire.STATE_EXITED, wire.REASON_RETURNED), end


# Holds the timer's signal back while the CPU clock goes on, as a virtual machine does to its
# programs when its host stops it for a moment.
_STALL = """
import ffi, time
sigprocmask = ffi.open(None).func("i", "sigprocmask", "ipp")
timer = bytearray(128)
timer[37 // 8] = 1 << 37 % 8
def stall(ms):
    sigprocmask(0, timer, None)
    end = time.clock() + ms / 1000  # of CPU time
    while time.clock() < end:
        pass
    sigprocmask(1, timer, None)
async def main():
    stall(12)
"""


# More than one try, because the real machine may stand still for a moment as well.
def test_a_guest_is_not_killed_for_a_machine_that_stands_still():
    ends = []
    for _ in range(3):
        end, instance = _ended(_STALL)
        ends.append((end[0], end[1], instance.overruns))
    assert (wire.STATE_EXITED, wire.REASON_RETURNED, 0) in ends, ends


def test_a_stall_buys_a_hanging_guest_one_more_slice_and_no_second():
    end, instance = _ended(_STALL + "    stall(12)\n    while True:\n        pass\n")
    assert end[:2] == (wire.STATE_KILLED, wire.REASON_OVERRUN)


def test_a_limit_holds_for_a_guest_that_always_has_work():
    source = """\
import asyncio
async def main():
    while True:
        for i in range(500): pass
        await asyncio.sleep_ms(0)
"""
    board = Board()
    guest = board.guest("g", source, cpu_max_us=10000)
    begin = board.port.ticks_ms()
    board.run(20000, lambda: guest.cpu.us > 200000)
    elapsed_ms = board.port.ticks_ms() - begin
    us = guest.cpu.s * 1000000 + guest.cpu.us
    assert 200000 < us < 100 * elapsed_ms + 60000, (us, elapsed_ms)
    assert guest.throttled.s * 1000000 + guest.throttled.us > us
    board.close()


def test_a_task_that_nothing_can_wake_is_a_deadlock():
    source = """\
import asyncio
async def main():
    await asyncio.Event().wait()
"""
    end, _ = _ended(source)
    assert end[:2] == (wire.STATE_FAILED, wire.REASON_DEADLOCK), end


def test_stop_lets_a_guest_tidy_up():
    source = """\
import asyncio
async def main():
    try:
        while True:
            await asyncio.sleep_ms(5)
    finally:
        print('tidy')
"""
    board = Board()
    guest = board.guest("g", source)
    board.run(30)
    board.kernel.lifecycle.stop(guest)
    assert board.end(guest)[:2] == (wire.STATE_STOPPED, wire.REASON_STOP)
    assert guest.log.lines(0)[1] == ["tidy"]
    board.close()


def test_a_guest_that_ignores_stop_is_killed_after_its_grace():
    source = """\
import asyncio
async def main():
    while True:
        try:
            await asyncio.sleep_ms(5)
        except asyncio.CancelledError:
            pass
"""
    board = Board()
    guest = board.guest("g", source)
    board.run(30)
    board.kernel.lifecycle.stop(guest)
    assert board.end(guest)[:2] == (wire.STATE_STOPPED, wire.REASON_STOP)
    board.close()


def test_files_of_an_ended_guest_are_closed():
    import os

    source = """\
import asyncio
async def main():
    f = open('a.txt', 'w')
    f.write('x')
    await asyncio.sleep_ms(1)
    while True: pass
"""
    board = Board()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        guest = board.guest("g", source)
        board.end(guest)
        board.kernel.lifecycle.remove(guest)
    assert len(os.listdir("/proc/self/fd")) == before
    board.close()


def test_printing_much_is_limited_and_counted():
    source = """\
import asyncio
async def main():
    for i in range(20000):
        print('x' * 500)
        await asyncio.sleep_ms(0)
"""
    end, guest = _ended(source, ms=20000, slice_max_us=1000000)
    assert end[:2] == (wire.STATE_EXITED, wire.REASON_RETURNED), end
    assert guest.log_dropped > 10000
    assert len(guest.log.lines(0)[1][-1]) == 200


def test_an_error_of_the_agent_leaves_the_guests_under_guard():
    board = Board()
    guest = board.guest("g", _TICKER)
    board.run(30)
    kernel = board.kernel
    tend = kernel.summary.tend
    faults = [3]

    def broken():
        if faults[0]:
            faults[0] -= 1
            raise ValueError("injected")
        if guest.slices > 40:
            kernel.running = False
        tend()

    kernel.summary.tend = broken
    kernel.run()  # prints the injected errors to stderr
    assert kernel.faults == 3 and guest.slices > 40
    assert [t for t in board.transitions if t[2] == wire.REASON_AGENT_FAULT]
    board.close()


def test_a_guest_that_is_no_longer_throttled_does_not_say_so():
    board = Board()
    guest = board.guest("g", _TICKER, cpu_max_us=1000, cpu_period_us=10000)
    board.run(2000, lambda: guest.slices > 3)
    guest.limit.charge(20000)
    board.run(2000, lambda: guest.state == wire.STATE_THROTTLED)
    assert guest.reason == wire.REASON_THROTTLED
    board.run(2000, lambda: guest.state == wire.STATE_WAITING)
    assert guest.state == wire.STATE_WAITING and guest.reason == wire.REASON_NONE
    board.close()


def test_a_summary_has_room_for_all_of_it_however_many_there_are():
    board = Board()
    kernel = board.kernel
    telemetry = kernel.telemetry
    for n in range(6):
        board.guest("g%d" % n, _TICKER)
        while telemetry.waiting():
            telemetry.pump()
        telemetry.summary.slots = 0  # so it is made anew, as long as it has to be
        kernel.summary.begin(board.port.ticks_ms())
        board.guest("h%d" % n, _TICKER)  # one that comes in its midst is told of, too
        while kernel.summary.told >= 0:
            kernel.summary.tend()
        kernel.summary.checked_s = -100
        kernel.summary.check_heap(True)
        assert telemetry.summary.dropped == 0, n
    board.close()


def test_a_stop_is_a_stop_even_if_tidying_up_fails():
    source = """\
import asyncio
async def main():
    try:
        while True:
            await asyncio.sleep_ms(5)
    finally:
        1 // 0
"""
    board = Board()
    guest = board.guest("g", source, restart="always")
    board.run(30)
    board.kernel.lifecycle.stop(guest)
    assert board.end(guest)[:2] == (wire.STATE_FAILED, wire.REASON_EXCEPTION)
    assert guest.queued is None and guest.state == wire.STATE_FAILED
    board.close()


_EVIL = """
import asyncio, sys
class Evil:
    def __str__(self):
        while True: pass
    __repr__ = __eq__ = __getattr__ = __gt__ = lambda *a: Evil.__str__(None)
class Error(Exception):
    def __str__(self):
        while True: pass
async def main():
    await asyncio.sleep_ms(1)
    %s
    await asyncio.sleep_ms(5)
"""


# What the agent asks of a guest's objects may be the guest's code: it runs under guard as well.
def test_a_guests_objects_cannot_hang_the_agent():
    for line in (
        "raise ValueError(Evil())",
        "raise Error()",
        "raise Error(Evil())",
        "sys.exit(Evil())",
        "sys.modules['evil'] = Evil()",
        "asyncio.create_task(asyncio.sleep_ms(Evil()))",
    ):
        board = Board()
        other = board.guest("other", _TICKER)
        guest = board.guest("g", _EVIL % line)
        board.end(guest)
        assert _goes_on(board, other), line
        assert board.kernel.faults == 0, line
        assert "evil" not in sys.modules
        board.close()


def test_a_generator_cannot_hang_the_agent_with_what_it_yields():
    board = Board()
    source = """
class Number(int):
    def __gt__(self, other):
        while True: pass
def main():
    while True:
        yield Number(3)
"""
    guest = board.guest("g", source, entry="generator")
    board.run(2000, lambda: guest.slices > 3)
    assert guest.slices > 3 and board.kernel.faults == 0
    board.close()


_SCHEDULER = """
import asyncio, micropython
from micropython import const
_N = const(3)
@micropython.native
def twice(n):
    return n + n
def callback(n):
    print("called", twice(n))
    %s
async def main():
    micropython.schedule(callback, _N)
    await asyncio.sleep_ms(20)
    print("on")
"""


def test_a_scheduled_callback_runs_in_a_slice_of_its_guest():
    end, guest = _ended(_SCHEDULER % "pass")
    assert end[:2] == (wire.STATE_EXITED, wire.REASON_RETURNED), end
    assert guest.log.lines(0)[1] == ["called 6", "on"]


def test_a_scheduled_callback_that_hangs_is_stopped():
    board = Board()
    other = board.guest("other", _TICKER)
    guest = board.guest("g", _SCHEDULER % "while True: pass")
    end = board.end(guest)
    assert end[:2] == (wire.STATE_KILLED, wire.REASON_OVERRUN), end
    assert " in callback" in end[5], end
    assert _goes_on(board, other)
    board.close()


def test_input_is_refused_with_words():
    end, _ = _ended("input('name? ')\n")
    assert end[:2] == (wire.STATE_FAILED, wire.REASON_EXCEPTION) and "no console" in end[6], end


def test_a_thread_is_refused_with_words():
    end, _ = _ended("""\
import _thread
_thread.start_new_thread(print, ())
""")
    assert end[:2] == (wire.STATE_FAILED, wire.REASON_EXCEPTION) and "asyncio tasks" in end[6], end


# --- the kernel's own promises ---


def test_a_dispatch_allocates_nothing():
    board = Board()
    source = """\
def main():
 while True:
  yield 0
"""
    guest = board.guest("g", source, entry="generator")
    board.run(20)
    kernel = board.kernel
    kernel.service = lambda now: None
    kernel.telemetry.set_trace(True)
    for _ in range(100):
        kernel.step()
    slices = guest.slices
    before = _blocks_after(kernel, 0)
    grown = _blocks_after(kernel, 2000) - before
    assert guest.slices == slices + 2000
    assert grown == _blocks_after(kernel, 0) - before - grown, grown
    board.close()


# Blocks in use after n more slices; the call itself may take some.
def _blocks_after(kernel, n):
    ring = kernel.telemetry.trace_ring
    while n:
        kernel.step()
        ring.tail = ring.head
        n -= 1
    kernel.table.sync(1)
    return kernel.table.counts[0]


def test_the_accounts_add_up_to_the_elapsed_time():
    board = Board()
    board.guest("a", _TICKER)
    board.guest(
        "b",
        """\
import asyncio
async def main():
    while True:
        for i in range(300): pass
        await asyncio.sleep_ms(0)
""",
        cpu_max_us=30000,
    )
    kernel = board.kernel
    board.run(100)
    kernel.billing.work()
    begin = kernel.clock.advance()
    parts = _parts(kernel)
    board.run(2000)
    kernel.billing.work()
    elapsed = kernel.clock.advance() - begin & 0x3FFFFFFF
    total = _parts(kernel) - parts
    assert abs(elapsed - total) < elapsed // 1000, (elapsed, total)
    board.close()


def _parts(kernel):
    billing = kernel.billing
    accounts = [billing.agent, billing.idle, billing.stolen, billing.departed]
    accounts += [i.cpu for i in kernel.instances]
    return sum(a.s * 1000000 + a.us for a in accounts)


# Deadlines at random places of a short slice: the exception lands in the guest, in the guard or
# nowhere, and never in the agent.
def test_no_exception_leaks_out_of_the_guard():
    import random

    board = Board()
    source = """\
def main():
 while True:
  n = 0
  for i in range(60): n += i
  yield 0
"""
    kernel = board.kernel
    random.seed(3)
    kills = 0
    guest = board.guest("g", source, entry="generator")
    board.run(10)
    for _ in range(20000):
        if not kernel.lifecycle.alive(guest):
            kills += 1
            del board.transitions[:]
            kernel.lifecycle.start(guest, wire.REASON_START)
            guest.limit_us = 5000
            while guest.loading is not None:
                kernel.step()
        guest.limit_us = random.randrange(1, 60)
        kernel.step()
    assert kills > 200, kills
    assert kernel.faults == 0
    board.close()


# The same of the loop of slices, which has the guard inline.
def test_no_exception_leaks_out_of_the_loop_of_slices():
    import random

    board = Board()
    source = """\
import asyncio
async def main():
 while True:
  n = 0
  for i in range(60): n += i
  await asyncio.sleep(0)
"""
    kernel = board.kernel
    random.seed(4)
    kills = easy = 0
    guest = board.guest("g", source)
    for _ in range(10000):
        if not kernel.lifecycle.alive(guest):
            kills += 1
            del board.transitions[:]
            guest.limit_us = 5000
            kernel.lifecycle.start(guest, wire.REASON_START)
            while guest.node.state is None:
                kernel.step()
        elif guest.node.state is not None:
            easy += 1
            guest.limit_us = random.randrange(1, 60)
            guest.be_easy()
        kernel.step()
    assert easy > 5000, easy
    assert kills > 100, kills
    assert kernel.faults == 0
    board.close()


_SLEEPER = """\
import asyncio
async def main():
    while True:
        await asyncio.sleep(0)
"""


def test_slices_of_guests_that_sleep_allocate_nothing():
    board = Board()
    guests = [board.guest("g%d" % i, _SLEEPER, cpu_max_us=90000) for i in range(3)]
    board.run(30)
    kernel = board.kernel
    far = board.port.ticks_ms() + 10000
    kernel.schedule.due = far

    def used(n):
        assert kernel.slices(n) is None
        kernel.table.sync(1)
        return kernel.table.counts[0]

    used(10)
    slices = sum([g.slices for g in guests])
    before = used(10)
    assert used(3000) - before == used(10) - before
    assert sum([g.slices for g in guests]) == slices + 3020
    assert max([g.slices for g in guests]) < 2 * min([g.slices for g in guests])
    board.close()


# A raise that comes after the guest has yielded is not raised at all.
def test_an_exception_that_comes_too_late_is_taken_back():
    from house.kernel import guard

    board = Board()
    port = board.port

    class Late:
        def send(self, _):
            port.STATE[4] = 0  # a limit that is over at once: the handler delivers
            return late()

    for delivered in (0, 1):
        late = (lambda: 1) if not delivered else _deliver(port)
        assert guard(port, Late(), None, 1000000, port.ticks_us(), port.cpu_us(), 1) == 1
        for _ in range(10):
            pass  # would be raised here
        assert port.delivered() == delivered
        port.quiet()
        port.renew()
    board.close()


# What the handler does, in machine code: no jump of bytecode raises it before the guard ends.
def _deliver(port):
    from house.ports.unix_slot import SLOT
    from uctypes import bytearray_at

    slot = bytearray_at(SLOT, 8)
    state = port.STATE

    @micropython.native
    def deliver():
        state[3] = 1
        for i in range(8):
            slot[i] = state[1 + i // 4] >> 8 * (i % 4) & 255
        return 1

    return deliver


_CANCELS = """\
import asyncio
async def nap(ms):
    try:
        await asyncio.sleep_ms(ms)
    except asyncio.CancelledError:
        print("cancelled", ms)
        raise
async def main():
    for ms in (0, 1, 50):
        task = asyncio.create_task(nap(ms))
        await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            print("ended")
    asyncio.sleep_ms(5000)
    try:
        await asyncio.wait_for(asyncio.sleep(0.001), 1)
    except TypeError as error:
        print("refused")
    try:
        await asyncio.sleep_ms("long")
    except TypeError:
        print("no number")
    t = time.ticks_ms()
    await asyncio.sleep(0.02)
    print(20 <= time.ticks_diff(time.ticks_ms(), t) < 2000)
"""


def test_a_sleep_is_what_asyncio_says_it_is():
    end, guest = _ended("import time\n" + _CANCELS)
    assert end[:2] == (wire.STATE_EXITED, wire.REASON_RETURNED), end
    lines = guest.log.lines(0)[1]
    told = "cancelled 0,ended,cancelled 1,ended,cancelled 50,ended,refused,no number,True"
    assert ",".join(lines) == told, lines


def test_a_sleep_that_nobody_awaits_is_nobody_elses():
    board = Board()
    other = board.guest("other", _SLEEPER)
    source = """\
import asyncio
async def main():
    while True:
        asyncio.sleep_ms(100)
        asyncio.sleep(0)
        await asyncio.sleep_ms(1)
"""
    guest = board.guest("g", source)
    board.run(5000, lambda: other.slices > 100 and guest.slices > 20)
    assert other.slices > 100 and guest.slices > 20, (other.slices, guest.slices)
    assert board.kernel.lifecycle.alive(other) and board.kernel.lifecycle.alive(guest)
    board.close()


# As on a microcontroller: arm() ends the agent's stretch, charge() the guest's.
def test_the_accounts_add_up_where_one_clock_tells_all():
    import board as boards
    from house import meter
    from house.ports import unix

    class Port(boards.Port):
        CPU_SLEEPS = False

        def cpu_us(self):
            return unix.ticks_us()

        def arm(self, limit_us, shared, cpu, tag):
            now = unix.ticks_us() & 0x3FFFFFFF
            shared[meter.AGENT_US] += now - shared[meter.NOW] & 0x3FFFFFFF
            shared[meter.NOW] = now
            unix.arm(limit_us, now, unix.cpu_us(), tag)

        def self_test(self):
            return unix.self_test()

    boards.Port = Port
    board = Board()
    for n in range(3):
        board.guest("g%d" % n, _SLEEPER, cpu_max_us=90000, slice_max_us=50000)
    kernel = board.kernel
    board.run(100)
    kernel.billing.work()
    begin = kernel.clock.advance()
    parts = _parts(kernel)
    for _ in range(100):
        kernel.step(100)
    kernel.billing.work()
    elapsed = kernel.clock.advance() - begin & 0x3FFFFFFF
    total = _parts(kernel) - parts
    assert abs(elapsed - total) < elapsed // 200, (elapsed, total)
    board.close()


_HOG = """\
import asyncio
async def main():
    while True:
        for i in range(%d): pass
        await asyncio.sleep(0)
"""

_TINY = """\
import asyncio
async def task():
    while True:
        await asyncio.sleep_ms(%d)
async def main():
    await asyncio.gather(*[task() for _ in range(20)])
"""


# CPU time that its instances have used, in us.
def _used(instances):
    return sum([i.cpu.s * 1000000 + i.cpu.us for i in instances])


# The machine may give its time to others: then nobody has it. Where a guest without a reservation
# got a share, the one that has it must have got its budget.
def test_a_reserved_guest_gets_its_budget_in_every_period_beside_hogs():
    board = Board()
    guest = board.guest(
        "r", _HOG % 3000, cpu_min_us=2000, cpu_min_period_us=20000, slice_max_us=3000, weight=1
    )
    others = [
        board.guest("hog%d" % n, _HOG % 10000, weight=10000, slice_max_us=20000) for n in range(3)
    ]
    others.append(board.guest("tiny", _TINY % 0, weight=10000))
    others.append(board.guest("sleepers", _TINY % 10, weight=10000))
    kernel = board.kernel
    board.run(2000, lambda: guest.main is not None)
    reservation = guest.reservation
    served = periods = missed = 0
    deadline = reservation.deadline
    had = 0
    theirs = _used(others)
    end = kernel.port.ticks_ms() + 2000
    while kernel.port.ticks_ms() < end:
        left = reservation.left
        before = _used([guest])
        kernel.step(1)
        if left > 0:
            had += _used([guest]) - before
        if reservation.deadline != deadline:
            deadline = reservation.deadline
            periods += 1
            served += had
            # what it overdrew before is taken off: half of the budget is sure to be there
            if had < 1000 and _used(others) - theirs > 10000:
                missed += 1
            had = 0
            theirs = _used(others)
    assert periods > 20, periods
    assert missed * 10 <= periods, (missed, periods)
    assert served <= 101 * 2000 + 3000, served
    assert served >= min(100 * 2000, _used([guest] + others)) // 3, (served, _used(others))
    board.close()


_WORKER = """\
import asyncio, time
async def main():
    while True:
        end = time.ticks_us() + 1000
        while time.ticks_us() < end: pass
        await asyncio.sleep(0)
"""


def _wakeups(instance):
    return list(instance.meter)[meter.WAKEUPS : meter.WAKEUPS + wire.WAKEUP_BUCKETS]


# A wake-up is the first slice after a wait, and is late by what ran in its way.
def test_wakeups_are_counted_by_how_long_they_waited():
    board = Board()
    sleeper = board.guest("s", _TICKER)
    board.run(300)
    alone = _wakeups(sleeper)
    assert 5 <= sum(alone) <= 61, alone
    worker = board.guest("w", _WORKER)
    board.run(300)
    beside = [count - alone[i] for i, count in enumerate(_wakeups(sleeper))]
    # more of them waited a good part of a ms than before
    assert sum(beside) >= 5 and sum(beside[3:]) > sum(alone[3:]) * sum(beside) // sum(alone), (
        alone,
        beside,
    )
    assert sum(_wakeups(worker)) == 0
    board.close()


def test_a_reservation_that_a_load_breaks_is_told():
    board = Board()
    guest = board.guest("g", _WORKER, cpu_min_us=2000, cpu_min_period_us=20000)
    board.run(100)
    source = "import time\nend = time.ticks_us() + 100000\nwhile time.ticks_us() < end: pass\n"
    told = []
    put = board.kernel.telemetry.put

    def record(ring, kind, owner, body, *values):
        if kind == wire.RECORD_BREACH:
            told.append((owner,) + values)
        put(ring, kind, owner, body, *values)

    board.kernel.telemetry.put = record
    before = guest.reservation.breaches
    other = board.guest("o", source + "async def main(): pass", load_max_us=1000000)
    # at once, or where this second had one already, in the next
    board.run(3000, lambda: [one for one in told if one[5] > 4000])
    assert guest.reservation.breaches >= before + 4, guest.reservation.breaches
    # unless the machine was away for longer than the load
    cause, by, _, length, missing, count, least, period = max(told, key=lambda one: one[5])[1:]
    assert cause in (wire.BLACKOUT_LOAD, wire.BLACKOUT_STOLEN), told
    assert cause == wire.BLACKOUT_STOLEN or (by == other.id and length > 20000), told
    assert missing > 4000 and (least, period) == (2000, 20000), told
    answer = board.commands.handle(wire.VERB_WHY, {"g": "g"})[1]
    assert answer["breach"]["count"] >= 4, answer
    board.close()


_MAKER = """\
import asyncio
async def main():
    while True:
        for i in range(50): bytearray(1000)
        for i in range(%d): pass
        await asyncio.sleep(0)
"""


# Uses so many us of CPU time.
def _burn(us):
    from house.ports import unix

    begin = unix.cpu_us()
    while unix.cpu_us() - begin & 0x3FFFFFFF < us:
        pass


# CPU time of an instance in us.
def _cpu(instance):
    return instance.cpu.s * 1000000 + instance.cpu.us


def test_who_makes_the_garbage_pays_for_the_collections():
    board = Board()
    maker = board.guest("maker", _MAKER % 1)
    other = board.guest("other", _MAKER % 20000)
    board.run(50)  # loaded
    collections = maker.collections + other.collections
    loads = other.collections
    board.run(20000, lambda: maker.collections + other.collections > collections + 40)
    # else about half of them would be the other's
    assert maker.collections > 2 * (other.collections - loads), other.collections
    # Whoever runs when it is due: the other has made a tenth of it.
    kernel = board.kernel
    table = kernel.table
    collect = table.collect

    def slow(owner):
        collect(owner)
        _burn(20000)

    table.collect = slow
    for index in range(len(table.allocated)):
        table.allocated[index] = 0
    table.allocated[maker.owner] = 9000
    table.allocated[other.owner] = 1000
    before = _cpu(maker), _cpu(other)
    kernel.collect(other, True)
    most = _cpu(maker) - before[0]
    least = _cpu(other) - before[1]
    assert most > 7 * least > 0, (most, least)
    # for its own quota it pays alone
    before = _cpu(maker), _cpu(other)
    kernel.collect(other)
    assert _cpu(maker) == before[0] and _cpu(other) > before[1]
    board.close()


# Attached, and then not read: the state ring is full, and more is to be told.
def test_a_stuck_line_does_not_keep_an_idle_board_awake():
    board = Board()
    board.guest("guest", "import asyncio\nasync def main(): await asyncio.sleep(60)\n")
    board.run(100)
    kernel = board.kernel
    summary = kernel.summary
    board.port.serial_write = lambda buf, n: 0
    for _ in range(100):
        summary.announce_all()
        summary.tend()
        summary.tend()
        kernel.link.send()
    assert summary.board_due or kernel.instances[0].announce
    steps = 0
    end = time.ticks_ms() + 300
    while time.ticks_ms() < end:
        kernel.step()
        steps += 1
    assert steps < 100, steps
    board.close()


def test_who_says_much_pays_for_the_line():
    board = Board()
    write = board.port.serial_write

    # As slow as a line is.
    def slow(buf, n):
        _burn(5000)
        return write(buf, n)

    board.port.serial_write = slow
    chatty = board.guest("chatty", "async def main():\n  for i in range(40): print('word ' * 8)\n")
    silent = board.guest("silent", _SLEEPER)
    kernel = board.kernel
    board.run(50)
    while kernel.telemetry.waiting():
        kernel.link.send()
    before = _cpu(chatty), _cpu(silent), _parts(kernel)
    billing = kernel.billing
    billing.work()
    begin = billing.agent.s * 1000000 + billing.agent.us
    kernel.lifecycle.start(chatty, wire.REASON_START)
    chatty.log_tokens = 100
    for _ in range(15):
        kernel.hooks.line(chatty, "word " * 8)
    kernel.link.send()
    agent = billing.agent.s * 1000000 + billing.agent.us - begin
    assert _cpu(silent) == before[1]
    assert _cpu(chatty) - before[0] > 3 * agent > 0, (_cpu(chatty) - before[0], agent)
    assert chatty.meter[meter.SAID] == 0
    board.close()


def test_a_guest_pays_for_its_end():
    board = Board()
    guest = board.guest("guest", _SLEEPER)
    board.run(50)
    kernel = board.kernel
    close = kernel.hooks.close_files

    def slow(instance):
        _burn(20000)
        close(instance)

    kernel.hooks.close_files = slow
    kernel.billing.work()
    agent = kernel.billing.agent
    before = agent.s * 1000000 + agent.us
    used = _cpu(guest)
    kernel.lifecycle.end(guest, wire.STATE_STOPPED, wire.REASON_STOP)
    kernel.billing.work()
    least = agent.s * 1000000 + agent.us - before
    assert _cpu(guest) - used > 4 * least, (_cpu(guest) - used, least)
    board.close()


def test_a_service_tells_of_one_instance_at_most():
    board = Board()
    guests = [board.guest("g%d" % n, _SLEEPER) for n in range(3)]
    board.run(50)
    summary = board.kernel.summary
    told = []

    def note(name):
        tell = getattr(summary, name)

        def noted(*what):
            told.append((name, what[0] if what else None))
            tell(*what)

        setattr(summary, name, noted)

    for name in ("tell_board", "tell_instance", "tell_usage", "tell_board_usage", "tell_times"):
        note(name)
    summary.told = -1
    summary.announce_all()
    while not told or told[-1][0] != "tell_times":
        before = len(told)
        summary.tend()
        assert len(told) <= before + 1, told
        assert summary.due_ms() <= 0 or told[-1][0] == "tell_times"  # nobody sleeps on it
    assert told == (
        [("tell_board", None)]
        + [("tell_instance", guest) for guest in guests]
        + [("tell_usage", guest) for guest in guests]
        + [("tell_board_usage", None), ("tell_times", None)]
    )
    board.close()
