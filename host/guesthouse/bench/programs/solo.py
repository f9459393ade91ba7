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


# In a function of its own: the frame of a coroutine that goes on keeps what it has once touched.
def _begin(source, path):
    me = core.cur_task
    waits = core._io_queue
    core.new_event_loop()  # it is the program's
    core.cur_task = me
    streams = core._io_queue
    core._io_queue = waits  # the first wait in a loop takes a block; nobody else has to wait here
    scope = {"__name__": "__main__", "__file__": path + "/main.py"}
    exec(compile(source, "guest/main.py", "exec"), scope)  # noqa: S102 - what the house runs
    core.create_task(scope["main"]())
    return streams


async def _alone(source, path, heard):
    queue = core._task_queue  # noqa: F841 - held, as the program's takes its place
    gc.collect()
    before = gc.mem_alloc()
    streams = _begin(source, path)  # noqa: F841 - held
    while not heard[0]:
        await asyncio.sleep_ms(0)
    gc.collect()
    return gc.mem_alloc() - before


# Each run has a task of its own to wait in: a task keeps a pointer to its last neighbour in the
# queue.
def alone(source, length):
    heard = [False]

    def hear(*_):
        heard[0] = True

    real = builtins.print
    builtins.print = hear
    live = 0
    path = "x" * (length - len("/main.py"))
    for _ in range(2):
        heard[0] = False
        asyncio.new_event_loop()
        live = asyncio.run(_alone(source, path, heard))
    builtins.print = real
    print(live)


if len(sys.argv) > 2:
    with open(sys.argv[1]) as file:
        alone(file.read(), int(sys.argv[2]))
