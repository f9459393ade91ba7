# The other side of `guesthouse bench memory`: what a program holds where it runs alone.
#
#   micropython solo.py FILE LENGTH
#
# FILE is a guest's main.py, LENGTH that of its path on the board. On a board's REPL the host adds a
# call instead. Knows nothing of the house: plain asyncio, and gc.mem_alloc() before and after. The
# program runs twice, because MicroPython keeps the names that it meets for the first time for ever;
# what the second run takes is printed.

import asyncio
import asyncio.core as core
import builtins
import gc
import sys


# In the place of what waits for streams, of which these programs have none: when nothing is left to
# do it takes the main task out of the queue, and the loop ends. Nothing else takes turns with the
# program, for the queue's links keep what has once stood beside them.
class Waits:
    map = ()  # asyncio looks whether it is empty

    def __init__(self):
        self.parked = [None]

    def wait_io_event(self, ms):
        if ms > 1000:
            self.parked[0] = core._task_queue.pop()


# What the program holds when it has done its steps. Its event loop is its own.
def _live(source, path, waits):
    held = core._task_queue, core._io_queue  # noqa: F841 - others take their places
    gc.collect()
    before = gc.mem_alloc()
    core.new_event_loop()
    mine = core._io_queue  # noqa: F841 - held
    core._io_queue = waits
    _run(source, path)
    gc.collect()
    live = gc.mem_alloc() - before
    waits.parked[0] = None
    return live


def _run(source, path):
    scope = {"__name__": "__main__", "__file__": path + "/main.py"}
    exec(compile(source, "guest/main.py", "exec"), scope)  # noqa: S102 - what the house runs
    core.create_task(scope["main"]())
    core.run_until_complete()  # until nothing is left, which is all that it then looks at


def alone(source, length):
    real = builtins.print
    builtins.print = lambda *_: None
    waits = Waits()
    path = "x" * (length - len("/main.py"))
    live = 0
    for _ in range(2):
        asyncio.new_event_loop()
        live = _live(source, path, waits)
    builtins.print = real
    print(live)


if len(sys.argv) > 2:
    with open(sys.argv[1]) as file:
        alone(file.read(), int(sys.argv[2]))
