# The other side of `guesthouse bench dispatch`: what the firmware has without a house.
#
#   micropython other_side.py asyncio SECONDS TASKS FILE
#   micropython other_side.py generator SECONDS
#
# On a board's REPL the host adds a call instead. Prints microseconds of CPU time for one switch.
# CPU time, because a busy machine must not make one side look slower than the other; the house's
# own account leaves stolen time out as well.

import asyncio
import sys
import time

_ROUNDS = 1000


# A microcontroller has no clock(): nothing but the program runs there.
if hasattr(time, "clock"):

    def since(begin):
        return int(time.clock() * 1000000) - begin

else:

    def since(begin):
        return time.ticks_diff(time.ticks_us(), begin) if begin else time.ticks_us()


# One of the tasks counts for all: the loop runs them in turn.
async def count(seconds, tasks):
    for _ in range(_ROUNDS):  # warm up
        await asyncio.sleep(0)
    rounds = 0
    begin = since(0)
    while True:
        for _ in range(_ROUNDS):
            await asyncio.sleep(0)
        rounds += _ROUNDS
        took = since(begin)
        if took >= seconds * 1000000:
            break
    print(took / rounds / tasks)


def in_asyncio(seconds, tasks, source):
    code = compile(source, "main.py", "exec")
    for _ in range(tasks - 1):
        scope = {}
        exec(code, scope)  # noqa: S102 - the file that the house runs as well
        asyncio.create_task(scope["main"]())
    asyncio.run(count(seconds, tasks))


def give_way():
    while True:
        yield


def in_generators(seconds):
    send = give_way().send
    send(None)
    rounds = 0
    begin = since(0)
    while True:
        for _ in range(_ROUNDS):
            send(None)
        rounds += _ROUNDS
        took = since(begin)
        if took >= seconds * 1000000:
            break
    print(took / rounds)


if len(sys.argv) > 1:
    if sys.argv[1] == "asyncio":
        with open(sys.argv[4]) as file:
            in_asyncio(float(sys.argv[2]), int(sys.argv[3]), file.read())
    else:
        in_generators(float(sys.argv[2]))
