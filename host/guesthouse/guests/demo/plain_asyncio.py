# The other side of `guesthouse demo --compare`: the guests' own files in one plain asyncio loop.
#
#   micropython plain_asyncio.py LIFETIME_S HOUSE ENTRY:FOLDER...
#
# HOUSE is the folder that has the package `house` (a guest may import house.guest; outside of the
# house it does no more than keep the period). ENTRY is "async", "generator" or "run". Every main()
# becomes a task, as somebody would do it who has several programs and one board. Printed are
#
#   task NAME              a program that was taken in
#   tick MS RELEASE        each release of a periodic loop, MS since the loop began
#   says MS TEXT           a line that a program printed

import asyncio
import builtins
import sys
import time

import ffi

_print = builtins.print
_begin = time.ticks_ms()


def now():
    return time.ticks_diff(time.ticks_ms(), _begin)


def say(*args, **kwargs):
    _print("says", now(), *args, **kwargs)


# A generator's main() yields the milliseconds until it wants to go on.
async def drive(generator):
    for ms in generator:
        await asyncio.sleep_ms(ms if isinstance(ms, int) else 0)


class Taken(Exception):
    pass


# In place of asyncio.run(), which would not return: there are others.
def take(coroutine):
    asyncio.create_task(coroutine)
    raise Taken


def load(entry, folder):
    with open(folder + "/main.py") as file:
        code = compile(file.read(), folder.split("/")[-1] + "/main.py", "exec")
    scope = {"__name__": "__main__"}
    try:
        exec(code, scope)  # noqa: S102 - the guests' own files, as the house runs them
    except Taken:
        return
    made = scope["main"]()
    asyncio.create_task(drive(made) if entry == "generator" else made)


async def forever():
    while True:
        await asyncio.sleep(3600)


def main(lifetime, house, *programs):
    # Whoever started this may be gone by then, and a loop that hangs ends for nobody.
    ffi.open(None).func("I", "alarm", "I")(int(lifetime))
    sys.path.insert(0, house)
    from house import guest

    class Watched(guest.every):
        async def __anext__(self):
            release = await super().__anext__()
            _print("tick", now(), release)
            return release

    guest.every = Watched
    builtins.print = say
    run = asyncio.run
    asyncio.run = take
    for program in programs:
        entry, _, folder = program.partition(":")
        load(entry, folder)
        _print("task", folder.split("/")[-1])
    run(forever())


main(*sys.argv[1:])
