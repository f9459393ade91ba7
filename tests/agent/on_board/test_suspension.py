# A guest that overruns with on_overrun = "suspend" is set aside and goes on.
#
# The kernel runs on top of the suspended guest: a step of the board's returns when the guest's
# slice has ended. So what is done to it meanwhile is done by the line, in Board.at().

from time import ticks_add, ticks_diff

from board import Board
from house import eviction, meter, wire

_LAST_MS = 60000  # that a test may take

_CONTROL = """
from house import guest
async def main():
    async for _ in guest.every(20):
        pass
"""

_WORK = """
def work(n):
    x = 1
    for i in range(n):
        x = (x * 31 + i) % 1000003
    return x
"""

_LONG = _WORK + """
async def main():
    print(work(1000000))
"""

_BUSY = """
import asyncio
async def main():
    while True:
        await asyncio.sleep(0)
"""

_TICKER = """
import asyncio
async def main():
    while True:
        await asyncio.sleep_ms(1)
"""

_PRINTER = """
import asyncio
async def main():
    n = 0
    while True:
        n += 1
        print("o", n)
        await asyncio.sleep_ms(1)
"""

_SWALLOWER = """
async def main():
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass
"""

_ENDLESS = """
async def main():
    print("begun")
    while True:
        pass
"""


def _work(n):
    x = 1
    for i in range(n):
        x = (x * 31 + i) % 1000003
    return x


# A board whose line calls action() once, at the `rounds`th look at it with somebody suspended. What
# nobody ends is ended by it at last: no time of Board.run() runs out while a guest that never ends
# lies below on the stack.
class Lined(Board):
    def __init__(self):
        super().__init__()
        self.action = None
        self.kernel.link.receive = self.receive
        self.left = 0
        self.last = ticks_add(self.port.ticks_ms(), _LAST_MS)

    def at(self, rounds, action):
        self.left = rounds
        self.action = action

    def receive(self):
        if self.kernel.suspended is None:
            return
        if ticks_diff(self.port.ticks_ms(), self.last) > 0:
            self.kernel.running = False
        elif self.action is not None:
            self.left -= 1
            if self.left <= 0:
                action = self.action
                self.action = None
                action()

    def suspending(self, name, source, **spec):
        full = {"on_overrun": "suspend", "slice_max_us": 1000}
        full.update(spec)
        return self.guest(name, source, **full)

    # What every test ends with: nothing is left of a suspension, and every block has its owner.
    def close(self):
        kernel = self.kernel
        assert kernel.suspended is None
        assert kernel.running is True, kernel.running
        assert kernel.faults == 0, kernel.faults
        assert kernel.table.exact and kernel.table.check(), kernel.table.reason
        super().close()


def _ended(source, **spec):
    board = Lined()
    instance = board.suspending("g", source, **spec)
    end = board.end(instance, 20000)
    board.close()
    return end, instance


def _suspensions(board, instance):
    return [t for t in board.transitions if t[0] == instance.id and t[1] == wire.STATE_SUSPENDED]


# --- an honest guest ---


def test_a_long_computation_is_right_and_a_reserved_loop_beside_it_goes_on():
    board = Lined()
    control = board.guest("control", _CONTROL, cpu_min_us=1000, cpu_min_period_us=20000)
    hog = board.guest("hog", _BUSY)
    long = board.suspending("long", _LONG.replace("1000000", "8000000"))
    loop = []
    board.at(5, lambda: loop.append(control.slices))
    end = board.end(long)
    assert end[:2] == (wire.STATE_EXITED, wire.REASON_RETURNED), end
    assert long.log.lines(0)[1] == [str(_work(8000000))]
    assert long.kills == 0 and long.overruns == 1, (long.kills, long.overruns)
    state, reason, used, limit = _suspensions(board, long)[0][1:5]
    assert reason == wire.REASON_OVERRUN and used >= limit == 1000, (used, limit)
    # all of that was one slice of it
    ms = long.cpu.s * 1000 + long.cpu.us // 1000
    assert ms > 200 and long.slices > ms // 8, (ms, long.slices)
    assert control.slices - loop[0] > ms // 40, (control.slices, loop, ms)
    assert hog.slices > ms, (hog.slices, ms)
    board.close()


def test_one_that_goes_on_is_not_explained_by_its_suspension():
    board = Lined()
    long = board.suspending("long", "import asyncio\n" + _LONG + "    await asyncio.sleep(60)\n")
    board.run(5000, lambda: long.state == wire.STATE_WAITING)
    answer = board.commands.why({"g": "long"})
    assert (answer["state"], answer["reason"]) == ("waiting", "none"), answer
    assert answer["used"]["overruns"] == 1 and answer["limits"]["on_overrun"] == "suspend", answer
    board.close()


def test_what_a_guest_was_in_the_midst_of_goes_on():
    source = _WORK + """
import asyncio, sys
def deep(n):
    return work(3000) + (deep(n - 1) if n else 0)
def many(n):
    for i in range(n):
        try:
            yield work(3000)
        finally:
            done.append(i)
class Held:
    def __enter__(self):
        return work(9000)
    def __exit__(self, *_):
        done.append("out")
done = []
def run():
    try:
        try:
            done.append(work(50000))
            raise ValueError(work(50000))
        except ValueError as error:
            done.append(work(50000) + error.args[0])
            raise KeyError
        finally:
            done.append(work(50000))
    except KeyError:
        done.append(sorted(range(30), key=lambda i: work(2000)))
    with Held() as held:
        done.append(held)
    done.append(deep(30))
    done.append([x for x in many(20)])
    done.append(sum(many(20)))
    done.append(max(map(lambda n: work(n), range(2000, 2050))))
    return done
"""
    main = """
async def main():
    import helper
    print(helper.NAME)
    print(run() == __import__("json").loads(open("right").read()))
"""
    scope = {}
    exec(source, scope)
    import json

    right = json.dumps(scope["run"]())
    helper = "from main_work import work\nNAME = str(work(100000))\n"
    board = Lined()
    board.guest("other", _BUSY)
    files = (("right", right), ("helper.py", helper), ("main_work.py", _WORK))
    instance = board.suspending("g", source + main, files=files)
    end = board.end(instance, 20000)
    assert instance.log.lines(0)[1] == [str(_work(100000)), "True"], (end, instance.log.lines(0))
    assert instance.slices > 20, instance.slices  # fewer on a machine that is faster
    assert "helper" not in __import__("sys").modules
    board.close()


def test_its_other_tasks_wait_and_its_sleeps_are_its_own():
    source = _WORK + """
import asyncio
order = []
async def ticker(name):
    for _ in range(3):
        order.append(name)
        await asyncio.sleep_ms(1)
async def main():
    tasks = [asyncio.create_task(ticker(i)) for i in range(2)]
    await asyncio.sleep_ms(1)
    order.append(asyncio.current_task() is not None)
    me = asyncio.current_task()
    for _ in range(5):
        order.append("w")
        nap = asyncio.sleep_ms(30)
        work(100000)
        order.append("W")
        await nap
    assert me is asyncio.current_task()
    await asyncio.gather(*tasks)
    print("".join(str(x) for x in order if x in ("w", "W")), len(order))
"""
    board = Lined()
    other = board.guest("other", _TICKER)
    instance = board.suspending("g", source)
    end = board.end(instance, 20000)
    assert instance.log.lines(0)[1] == ["wWwWwWwWwW 17"], (end, instance.log.lines(0))
    assert other.slices > 20
    assert not instance.meter[meter.RESERVES]  # its ordinary slices are in the fast loop again
    board.close()


def test_a_plain_generator_is_suspended_too():
    (state, reason, *_), instance = _ended(
        _WORK + "def main():\n yield 2\n print(work(300000))\n yield\n", entry="generator"
    )
    assert (state, reason) == (wire.STATE_EXITED, wire.REASON_RETURNED)
    assert instance.log.lines(0)[1] == [str(_work(300000))]
    assert instance.overruns == 1


def test_a_guest_that_writes_and_prints_loses_nothing():
    source = """
async def main():
    with open("data", "w") as f:
        for i in range(20000):
            f.write("%d\\n" % i)
            if i % 1000 == 0:
                print("line", i)
    n = 0
    with open("data") as f:
        for line in f:
            assert int(line) == n
            n += 1
    print(n)
"""
    board = Lined()
    others = [board.guest("o%d" % i, _PRINTER) for i in range(2)]
    instance = board.suspending("g", source)
    end = board.end(instance, 20000)
    lines = instance.log.lines(0)[1]
    assert lines == ["line %d" % i for i in range(0, 20000, 1000)] + ["20000"], (end, lines)
    for other in others:
        first, lines = other.log.lines(0)
        assert lines == ["o %d" % (first + 1 + i) for i in range(len(lines))]
    board.close()


def test_a_limit_holds_for_it():
    board = Lined()
    instance = board.suspending("g", _ENDLESS, cpu_max_us=2500, cpu_period_us=50000)
    used = []

    def look():
        used.append((instance.cpu.s * 1000 + instance.cpu.us // 1000, board.port.ticks_ms()))
        if len(used) < 2:
            board.at(100, look)
        else:
            board.kernel.lifecycle.condemn(instance, wire.REASON_KILL)

    board.at(1, look)
    end = board.end(instance, 20000)
    assert end[:2] == (wire.STATE_KILLED, wire.REASON_KILL), end
    (ran, begin), (ran_then, then) = used
    assert (ran_then - ran) * 10 < then - begin + 100, used
    assert instance.throttled.s or instance.throttled.us
    board.close()


def test_the_accounts_add_up_over_suspensions():
    board = Lined()
    board.guest("other", _BUSY)
    instance = board.suspending("g", _LONG.replace("1000000", "4000000"))
    kernel = board.kernel
    billing = kernel.billing

    def told():
        accounts = [billing.agent, billing.idle, billing.stolen, billing.departed]
        accounts += [i.cpu for i in kernel.instances]
        return sum(a.s * 1000000 + a.us for a in accounts)

    billing.work()
    before = told()
    begin = billing.shared[meter.NOW]
    board.end(instance, 20000)
    billing.work()
    elapsed = billing.shared[meter.NOW] - begin & 0x3FFFFFFF
    unaccounted = elapsed - (told() - before)
    assert abs(unaccounted) < elapsed // 1000, (unaccounted, elapsed)
    board.close()


# --- who cannot be suspended ---


def test_of_two_one_is_suspended_and_the_other_is_killed_and_told_why():
    board = Lined()
    one = board.suspending("one", _LONG.replace("1000000", "6000000"))
    two = board.suspending("two", _LONG.replace("1000000", "6000000"))
    alive = board.kernel.lifecycle.alive
    board.run(20000, lambda: not (alive(one) or alive(two)))
    killed, other = (one, two) if one.kills else (two, one)
    assert killed.state == wire.STATE_KILLED and killed.last_reason == wire.REASON_OVERRUN
    assert killed.last_what == "not suspended: another guest is suspended", killed.last_what
    assert "in work" in killed.last_where, killed.last_where
    assert other.kills == 0 and other.log.lines(0)[1] == [str(_work(6000000))]
    board.close()


def test_a_call_that_nothing_interrupts_is_an_overrun_and_told():
    end, instance = _ended("async def main():\n sum(range(10**6))\n sum(range(10**6))\n")
    assert end[:2] == (wire.STATE_KILLED, wire.REASON_OVERRUN), end
    assert end[6] == "not suspended: in a call that nothing interrupts", end


def test_a_guest_near_its_recursion_limit_is_killed_and_told():
    source = """
def dive(n):
    try:
        return dive(n + 1)
    except RuntimeError:
        while True:
            pass
async def main():
    dive(0)
"""
    end, instance = _ended(source)
    assert end[:2] == (wire.STATE_KILLED, wire.REASON_OVERRUN), end
    assert end[6] == "not suspended: too little of the stack is left", end


def test_a_guest_that_holds_the_heaps_lock_is_killed_and_told():
    source = """
import micropython
async def main():
    micropython.heap_lock()
    try:
        while True:
            pass
    finally:
        micropython.heap_unlock()
"""
    end, instance = _ended(source)
    assert end[:2] == (wire.STATE_KILLED, wire.REASON_OVERRUN), end
    assert end[6] == "not suspended: it holds the heap's lock", end


def test_a_load_is_not_suspended():
    end, instance = _ended("while True:\n pass\nasync def main():\n pass\n")
    assert end[:2] == (wire.STATE_KILLED, wire.REASON_LOAD_OVERRUN), end


def test_a_guest_without_it_is_killed_as_ever():
    board = Lined()
    long = board.suspending("long", _LONG.replace("1000000", "4000000"))
    other = board.guest("other", _ENDLESS, slice_max_us=1000)
    end = board.end(other, 20000)
    assert end[:2] == (wire.STATE_KILLED, wire.REASON_OVERRUN) and end[6] == "", end
    board.end(long)
    assert long.state == wire.STATE_EXITED
    board.close()


# --- on top of a suspended guest ---


def test_guests_that_hang_or_swallow_beside_it_are_stopped():
    board = Lined()
    sources = (
        _ENDLESS,
        _SWALLOWER,
        """
def nest(n):
    while True:
        try:
            if n:
                nest(n - 1)
            while True:
                pass
        except BaseException:
            continue
async def main():
    nest(3)
""",
        "async def main():\n def f(n): return f(n + 1)\n f(0)\n",
        "async def main():\n 1 // 0\n",
        "async def main():\n import time\n time.sleep(10)\n",
    )
    long = board.suspending("long", _ENDLESS)
    others = []

    def begin():
        for i, source in enumerate(sources):
            others.append(board.guest("o%d" % i, source, slice_max_us=1000))
        board.at(20, look)

    def look():
        if any(board.kernel.lifecycle.alive(o) for o in others):
            board.at(5, look)
        else:
            board.kernel.lifecycle.condemn(long, wire.REASON_KILL)

    board.at(1, begin)
    end = board.end(long, 30000)
    assert [o.last_reason for o in others] == [wire.REASON_OVERRUN] * 3 + [
        wire.REASON_EXCEPTION,
        wire.REASON_EXCEPTION,
        wire.REASON_OVERRUN,
    ], [o.last_reason for o in others]
    assert end[:2] == (wire.STATE_KILLED, wire.REASON_KILL), end
    board.close()


# --- its end while it is suspended ---


def _done_to_it(action, source=_ENDLESS, ms=20000, rounds=5, **spec):
    board = Lined()
    board.guest("other", _TICKER)
    instance = board.suspending("g", source, **spec)
    board.at(rounds, lambda: action(board, instance))
    end = board.end(instance, ms)
    board.run(50)
    return board, instance, end


def test_a_kill_ends_it_where_it_was():
    board, instance, end = _done_to_it(
        lambda board, instance: board.commands.handle(wire.VERB_KILL, {"g": "g"})
    )
    assert end[:2] == (wire.STATE_KILLED, wire.REASON_KILL), end
    assert end[5] == "g/main.py:5 in main" or end[5] == "g/main.py:4 in main", end
    board.close()


# It computes for longer than the line is not looked at, and for less than its grace of a second.
def test_a_stop_lets_it_finish_and_ends_it_after_its_grace():
    source = _WORK + """
async def main():
    print(work(1000000))
    try:
        await __import__("asyncio").sleep(10)
    finally:
        print("tidied")
"""
    board, instance, end = _done_to_it(
        lambda board, instance: board.commands.handle(wire.VERB_STOP, {"g": "g"}), source, rounds=1
    )
    assert end[:2] == (wire.STATE_STOPPED, wire.REASON_STOP), end
    assert instance.log.lines(0)[1] == [str(_work(1000000)), "tidied"], instance.log.lines(0)
    board.close()
    board, instance, end = _done_to_it(
        lambda board, instance: board.commands.handle(wire.VERB_STOP, {"g": "g"})
    )
    assert end[:2] == (wire.STATE_STOPPED, wire.REASON_STOP), end
    board.close()


def test_a_restart_begins_anew():
    done = []

    def restart(board, instance):
        board.commands.handle(wire.VERB_RESTART, {"g": "g"})
        board.at(150, lambda: board.commands.handle(wire.VERB_KILL, {"g": "g"}))
        done.append(1)

    board, instance, end = _done_to_it(restart)
    if instance.state == wire.STATE_STOPPED:
        board.end(instance)
    board.run(20000, lambda: instance.kills)
    assert instance.log.lines(0)[1] == ["begun", "begun"], instance.log.lines(0)
    assert instance.state == wire.STATE_KILLED and instance.restarts == 1
    board.close()


def test_one_that_swallows_its_end_is_pursued():
    board, instance, end = _done_to_it(
        lambda board, instance: board.commands.handle(wire.VERB_KILL, {"g": "g"}), _SWALLOWER
    )
    assert end[:2] == (wire.STATE_KILLED, wire.REASON_KILL), end
    board.close()


def test_one_that_takes_too_much_memory_is_ended():
    source = """
async def main():
    kept = []
    while True:
        kept.append(bytes(1000))
"""
    board, instance, end = _done_to_it(lambda *_: None, source, mem_max=100000)
    assert end[:2] == (wire.STATE_KILLED, wire.REASON_OOM), end
    assert "g/main.py" in end[5], end
    board.close()


def test_one_that_has_to_make_room_ends_where_it_was():
    board, instance, end = _done_to_it(
        lambda board, instance: eviction.make_room(board.kernel, 1),
        "kept = bytearray(200000)\nasync def main():\n    while True:\n        pass\n",
    )
    assert end[:2] == (wire.STATE_KILLED, wire.REASON_EVICTED), end
    assert end[5] == "g/main.py:3 in main" or end[5] == "g/main.py:4 in main", end
    assert board.kernel.faults == 0
    board.close()


def test_one_that_is_removed_leaves_the_stack_and_nothing_else():
    board, instance, end = _done_to_it(
        lambda board, instance: board.commands.handle(wire.VERB_REMOVE, {"g": "g"}),
        """
kept = bytearray(200000)
async def main():
    try:
        while True:
            pass
    finally:
        print("it still says so")
""",
    )
    assert instance not in board.kernel.instances
    assert end[:2] == (wire.STATE_STOPPED, wire.REASON_REMOVED), end
    table = board.kernel.table
    table.collect()
    assert table.counts[instance.owner] == 0
    again = board.suspending("g", _LONG)
    end = board.end(again)
    assert again.log.lines(0)[1] == [str(_work(1000000))], end
    board.close()


def test_one_that_is_replaced_ends_and_the_new_one_runs():
    made = []

    def replace(board, instance):
        board.kernel.lifecycle.remove(instance)
        made.append(board.suspending("g", _LONG))

    board, instance, end = _done_to_it(replace)
    board.end(made[0])
    assert made[0].log.lines(0)[1] == [str(_work(1000000))]
    assert instance not in board.kernel.instances
    board.close()


def test_new_quotas_hold_from_its_next_part_on():
    seen = []

    def change(board, instance):
        status, answer = board.commands.handle(wire.VERB_SET, {"g": "g", "slice_max_us": 20000})
        seen.append((status, instance.slices, instance.longest_us))

        def look():
            board.commands.handle(wire.VERB_KILL, {"g": "g"})

        board.at(20, look)

    board, instance, end = _done_to_it(change)
    assert seen[0][0] == wire.STATUS_OK
    assert instance.longest_us >= 20000, (seen, instance.longest_us)
    assert end[:2] == (wire.STATE_KILLED, wire.REASON_KILL), end
    board.close()


def test_the_agent_can_be_left_while_a_guest_is_suspended():
    board = Lined()
    instance = board.suspending("g", _ENDLESS)

    def leave():
        board.kernel.running = False

    board.at(5, leave)
    board.kernel.run()
    assert board.kernel.running is False
    assert instance.state == wire.STATE_STOPPED, instance.state
    board.kernel.running = True
    board.close()


def test_where_the_stack_is_short_loads_wait_and_deep_commands_are_refused():
    board = Lined()
    board.port.COMMAND_STACK = 1 << 20
    handle = board.kernel.link.handle
    instance = board.suspending("g", _LONG.replace("1000000", "6000000"))
    other = board.guest("other", _TICKER)
    seen = []

    def ask():
        told = board.kernel.link.handle(wire.VERB_SET, {"g": "other", "weight": 50})
        seen.append((told[0], "while g.0 is suspended" in told[1]["error"]))
        seen.append(board.kernel.link.handle(wire.VERB_WHY, {"g": "g"})[0])
        seen.append(board.kernel.link.handle(wire.VERB_RESTART, {"g": "other"})[0])
        board.at(5, look)

    def look():
        seen.append((other.state, other.queue))

    board.at(3, ask)
    board.end(instance, 20000)
    refused = (wire.STATUS_WRONG_STATE, True)
    waits = (wire.STATE_BACKOFF, None)
    assert seen == [refused, wire.STATUS_OK, wire.STATUS_OK, waits], seen
    assert board.kernel.link.handle == handle
    assert instance.log.lines(0)[1] == [str(_work(6000000))]
    board.run(5000, lambda: other.state == wire.STATE_WAITING)
    assert other.state == wire.STATE_WAITING and other.restarts == 1
    board.close()


def test_an_error_of_the_agent_meanwhile_is_told_and_all_go_on():
    board = Lined()
    instance = board.suspending("g", _LONG.replace("1000000", "3000000"))

    def fail():
        raise ValueError("on purpose")

    board.at(5, fail)
    end = board.end(instance, 20000)
    assert instance.log.lines(0)[1] == [str(_work(3000000))], end
    assert board.kernel.faults == 1
    board.kernel.faults = 0
    board.close()
