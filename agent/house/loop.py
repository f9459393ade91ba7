# An event loop for each guest, out of the firmware's one asyncio.
#
# asyncio keeps its loop in variables of asyncio.core: the task queue, the current task,
# the streams that wait. The kernel puts a guest's own there before each of its slices and
# steps it, so one guest's tasks, cancellations and exceptions never touch another's, and
# programs written for stock asyncio run unmodified. What would run a loop of its own
# (asyncio.run and its kin) hands its coroutine to the kernel instead.

import asyncio
import asyncio.core as core
import micropython
import sys
from _asyncio import Task, TaskQueue
from micropython import const
from time import ticks_add, ticks_ms

_POLL_MS = const(2)  # between two looks at a guest's streams

_context = core.__dict__

_done = (core.CancelledError, StopIteration)

# Taken out of the type once, because that takes a block of the heap.
peek = TaskQueue.peek
pop = TaskQueue.pop
push = TaskQueue.push


# Ends a module body that called asyncio.run(): its coroutine is the guest's main task from
# now on. No `except Exception` of a guest catches it.
class Handover(BaseException):
    pass


# Puts a guest's loop into asyncio's variables.
def enter(instance):
    core._task_queue = instance.queue
    core._io_queue = instance.io


# Leaves asyncio with a loop that is nobody's.
def leave():
    core._task_queue = _idle_queue
    core._io_queue = _idle_io
    core.cur_task = None
    nap.state = False


_idle_queue = TaskQueue()
_idle_io = core.IOQueue()

# What a guest awaits in a sleep, in place of asyncio's generator in Python, whose five calls took
# more time than the rest of a slice: a task, which asyncio's C code knows how to await. One that
# runs, with a guest's queue where it keeps who waits for it, puts the current task into that queue
# and yields; one that is done raises its data, here the end of an iteration. So a sleep lets it
# run, and the kernel calls it done before each slice. The task that sleeps has it as its data,
# and must not keep it: a cancellation would go there.
nap: Task = Task(None, _context)
nap.state = False
nap.data = StopIteration()
nap_ms = [0]  # of the sleep that was asked for last, beyond now


# Stands between, because a task that is awaited itself takes a block of the heap.
class _Sleep:
    @micropython.native
    def __iter__(self, nap=nap, asyncio=core):
        nap.state = asyncio._task_queue
        return nap


_sleep = _Sleep()


def sleep_ms(ms):
    if ms > 0:
        ticks_add(ticks_ms(), ms)  # raises what asyncio raises for no number
        nap_ms[0] = ms
    else:
        nap_ms[0] = 0
    return _sleep


@micropython.native
def sleep(s, nap_ms=nap_ms, awaitable=_sleep):
    if s != 0:
        return sleep_ms(int(s * 1000))
    nap_ms[0] = 0
    return awaitable


# After a slice of `task`, which went to sleep.
def doze(queue, task):
    task.data = None
    ms = nap_ms[0]
    if ms:
        nap_ms[0] = 0
        queue.remove(task)
        queue.push(task, ticks_add(task.ph_key, ms))


def new_task(coroutine):
    return Task(coroutine, _context)


# Gives an instance an empty loop.
def create(instance):
    instance.queue = TaskQueue()
    instance.io = core.IOQueue()


# The agent's own errands in a guest's loop. Each stands where a coroutine would stand in a
# task, so it runs in a guarded slice of the guest and is billed like one: all of them call
# code that a guest may have put there.
class Errand:
    def throw(self, error):
        raise error


# What asyncio does when a task's coroutine has ended with `error`: wakes who waits for it, or
# keeps the exception until somebody retrieves it or nobody can any more.
class Finish(Errand):
    def __init__(self, task, error, thrown):
        self.task = task
        self.error = error
        self.thrown = thrown

    def send(self, _):
        task = self.task
        if task.state:
            waiting = False
            if task.state is True:
                task.state = None
            elif callable(task.state):
                task.state(task, self.error)
                task.state = False
                waiting = True
            else:
                while task.state.peek():
                    core._task_queue.push(task.state.pop())
                    waiting = True
                task.state = False
            if not waiting and not isinstance(self.error, _done):
                core._task_queue.push(task)
            task.data = self.error
        elif task.state is None:
            task.data = self.thrown
            context = core._exc_context
            context["exception"] = self.thrown
            context["future"] = task
            Loop.call_exception_handler(context)
            context["exception"] = context["future"] = None
        raise StopIteration


# Looks after the streams that a guest waits for, as long as there are any.
class Poll(Errand):
    def __init__(self, instance):
        self.instance = instance

    def send(self, _):
        streams = core._io_queue
        streams.wait_io_event(0)
        if streams.map:
            core._task_queue.push(core.cur_task, ticks_add(ticks_ms(), _POLL_MS))
            return
        self.instance.polling = False
        raise StopIteration


# A callback that a guest scheduled.
class Call(Errand):
    def __init__(self, function, argument):
        self.function = function
        self.argument = argument

    def send(self, _):
        self.function(self.argument)
        raise StopIteration


# What the agent asks in the place of a slice.
class Question:
    def __init__(self, function, argument):
        self.function = function
        self.argument = argument

    def send(self, _):
        return self.function(self.argument)


# Cancels a guest's main task, so that it can tidy up before it stops.
class Cancel(Errand):
    def __init__(self, main):
        self.main = main

    def send(self, _):
        self.main.cancel()
        raise StopIteration


# Replaces what concerns the whole loop. `current` is a list whose item 0 is the instance that
# runs; `report(instance, text, error)` takes an exception that no task retrieved.
def install(current, report):
    def run(coroutine):
        return run_until_complete(core.create_task(coroutine))

    def run_until_complete(main_task=None):
        instance = current[0]
        if instance is None or instance.main is not None:
            raise RuntimeError("asyncio.run() cannot be called from a running event loop")
        instance.main = main_task
        raise Handover

    def run_forever():
        Loop.stopper = new_task(_forever())
        run_until_complete(Loop.stopper)

    # A guest calls this to be rid of an old loop's tasks. Its loop is new already when its
    # module runs, and a `finally: asyncio.new_event_loop()` behind asyncio.run() must not
    # take the tasks that were just handed over.
    def new_event_loop():
        instance = current[0]
        if instance is not None and instance.main is None:
            create(instance)
            enter(instance)
        return Loop

    def get_exception_handler():
        return current[0].handler

    def set_exception_handler(handler):
        current[0].handler = handler

    def call_exception_handler(context):
        instance = current[0]
        if instance.handler:
            instance.handler(Loop, context)
        else:
            report(instance, context["message"], context["exception"])

    Loop.run_until_complete = lambda aw: run_until_complete(core._promote_to_task(aw))
    Loop.run_forever = run_forever
    Loop.get_exception_handler = get_exception_handler
    Loop.set_exception_handler = set_exception_handler
    Loop.call_exception_handler = call_exception_handler
    for name, function in (
        ("run", run),
        ("run_until_complete", run_until_complete),
        ("new_event_loop", new_event_loop),
        ("sleep", sleep),
        ("sleep_ms", sleep_ms),
    ):
        setattr(core, name, function)
        setattr(asyncio, name, function)
    sys.modules["asyncio"] = asyncio
    sys.modules["asyncio.core"] = core
    leave()


async def _forever():
    while True:
        await core.sleep_ms(3600000)


Loop = core.Loop
