# Programs that use memory in the ways that real ones do, for `guesthouse bench memory`.
#
# Each takes so many steps and returns what it holds on to then. The bench makes a guest of one,
# with the imports above and the main() below; the other side (solo.py) runs the same text. Nothing
# depends on time or chance, so what is held is the same on both sides.

import asyncio
import json
from collections import deque

STEPS = 100


# A list of tuples that grows, is cut, and grows again.
async def lists(steps):
    rows = []
    for i in range(steps):
        rows.append((i, i + 1))
        if len(rows) > 60:
            rows = rows[30:]
        await asyncio.sleep(0)
    return rows


async def dicts(steps):
    table = {}
    for i in range(steps):
        table["key%d" % i] = i * 1.5
        if i >= 60:
            del table["key%d" % (i - 60)]
        await asyncio.sleep(0)
    return table


async def strings(steps):
    text = ""
    parts = []
    for i in range(steps):
        text = text + "x%d" % i if len(text) < 300 else ""
        parts.append(text.upper())
        if len(parts) > 10:
            text = "".join(parts)[:200]
            parts = parts[5:]
        await asyncio.sleep(0)
    return text, parts


# Grow in place, are moved where they cannot, and shrink.
async def bytearrays(steps):
    growing = bytearray()
    ring = [None] * 20
    for i in range(steps):
        growing.extend(b"0123456789abcdef")
        if len(growing) > 1500:
            growing = growing[:100]
        ring[i % 20] = bytearray(64 + i * 7 % 150)
        await asyncio.sleep(0)
    return growing, ring


# list.clear and list.pop give memory back at once, without a collection.
async def explicit_frees(steps):
    stack = []
    for i in range(steps):
        for _ in range(i % 13):
            stack.append(i)
        if i % 5 == 0:
            stack.clear()
        elif i % 3 == 0:
            while len(stack) > 4:
                stack.pop()
        await asyncio.sleep(0)
    return stack


async def closures(steps):
    functions = []
    for i in range(steps):
        j = i
        functions.append(lambda: j)  # noqa: B023 - one cell for all, on purpose
        if len(functions) > 60:
            functions = functions[30:]
        await asyncio.sleep(0)
    return functions


async def generators(steps):
    def count(n):
        for i in range(n):
            yield i

    alive = []
    for _ in range(steps):
        generator = count(5)
        next(generator)
        alive.append(generator)
        for generator in alive[:10]:
            for _ in generator:
                break
        if len(alive) > 30:
            alive = alive[15:]
        await asyncio.sleep(0)
    return alive


# Keeps the last exceptions with their tracebacks, deep ones too.
async def exceptions(steps):
    def fail(depth):
        if depth:
            fail(depth - 1)
        raise ValueError("at", depth)

    kept = [None] * 8
    for i in range(steps):
        try:
            fail(i % 6)
        except ValueError as error:
            kept[i % 8] = error
        try:
            {}["nothing"]
        except KeyError:
            pass
        await asyncio.sleep(0)
    return kept


async def jsons(steps):
    document = {"name": "guest", "values": [1, 2.5, None, True], "inner": {"a": "b" * 40}}
    last = None
    for i in range(steps):
        document["values"].append(i)
        if len(document["values"]) > 25:
            document["values"] = document["values"][20:]
        last = json.loads(json.dumps(document))
        await asyncio.sleep(0)
    return document, last


async def big_ints(steps):
    power = 1
    kept = [0] * 5
    for i in range(steps):
        power = power * 12345678901
        if power >> 900:
            power = 1
        kept[i % 5] = power + i
        await asyncio.sleep(0)
    return power, kept


# Tasks that come and go, and some that are left waiting.
async def tasks(steps):
    event = asyncio.Event()
    waiting = []

    async def wait():
        await event.wait()

    for _ in range(steps):
        waiting.append(asyncio.create_task(wait()))
        await asyncio.sleep(0)
        if len(waiting) > 12:
            event.set()
            for task in waiting:
                await task
            waiting.clear()
            event.clear()
    return event, waiting


# Two tasks and what waits between them.
async def queues(steps):
    queue = deque((), 50)  # noqa: RUF037 - MicroPython has no maxlen=
    ready = asyncio.Event()
    done = asyncio.Event()

    async def consume():
        while True:
            await ready.wait()
            ready.clear()
            while len(queue) > 15:
                queue.popleft()
            done.set()

    consumer = asyncio.create_task(consume())
    for i in range(steps):
        queue.append(bytes(i % 40))
        queue.append([i])
        if len(queue) > 40:
            done.clear()
            ready.set()
            await done.wait()
        await asyncio.sleep(0)
    return queue, consumer


# Much garbage, nothing kept.
async def churn(steps):
    for _ in range(steps):
        for size in range(8):
            bytearray(100 + size * 50)
        [str(n) for n in range(10)]
        await asyncio.sleep(0)


async def objects(steps):
    class Point:
        def __init__(self, x, y):
            self.x = x
            self.y = y

    points = []
    for i in range(steps):
        point = Point(i, str(i))
        point.extra = {i}
        points.append(point)
        if len(points) > 40:
            points = points[20:]
        await asyncio.sleep(0)
    return points


PATTERN = lists


# The guest holds what its pattern has returned and does nothing more. It tells the length of its
# path, which the other side needs to have as long a one.
async def main():
    kept = await PATTERN(STEPS)  # noqa: F841 - held, not used
    print("holds", len(__file__))
    while True:
        await asyncio.sleep(100000)
