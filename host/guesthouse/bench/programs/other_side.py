# The other side of `guesthouse bench dispatch`: what the firmware has without a house.
#
#   micropython other_side.py asyncio SECONDS TASKS FILE
#   micropython other_side.py generator SECONDS
#
# Prints microseconds of CPU time for one switch. CPU time, because a busy machine must not make
# one side look slower than the other; the house's own account leaves stolen time out as well.

import asyncio
import sys
import time

_ROUNDS = 1000


def cpu_us():
    return int(time.clock() * 1000000)


# One of the tasks counts for all: the loop runs them in turn.
async def count(seconds, tasks):
    for _ in range(_ROUNDS):  # warm up
        await asyncio.sleep(0)
    rounds = 0
    begin = cpu_us()
    while cpu_us() - begin < seconds * 1000000:
        for _ in range(_ROUNDS):
            await asyncio.sleep(0)
        rounds += _ROUNDS
    print((cpu_us() - begin) / rounds / tasks)


def in_asyncio(seconds, tasks, path):
    with open(path) as file:
        code = compile(file.read(), "main.py", "exec")
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
    begin = cpu_us()
    while cpu_us() - begin < seconds * 1000000:
        for _ in range(_ROUNDS):
            send(None)
        rounds += _ROUNDS
    print((cpu_us() - begin) / rounds)


if sys.argv[1] == "asyncio":
    in_asyncio(float(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
else:
    in_generators(float(sys.argv[2]))
