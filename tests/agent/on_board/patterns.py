# Guests that use memory in the ways that real ones do: each a generator, one step a slice.
# What they keep is bounded, so that all of them fit into one heap at once.

import asyncio
import json

# Not lazily in a slice: the first to import a module pays for it, and for the growth of
# tables that all share.
from asyncio import Event, gather
from collections import deque

_KEEP = 60


# A list of tuples that grows, is cut, and grows again.
def lists():
    rows = []
    i = 0
    while True:
        rows.append((i, i + 1))
        if len(rows) > _KEEP:
            rows = rows[_KEEP // 2 :]
        i += 1
        yield


def dicts():
    table = {}
    i = 0
    while True:
        table["key%d" % i] = i * 1.5
        if i >= _KEEP:
            del table["key%d" % (i - _KEEP)]
        i += 1
        yield


def strings():
    text = ""
    parts = []
    i = 0
    while True:
        text = text + "x%d" % i if len(text) < 300 else ""
        parts.append(text.upper())
        if len(parts) > 10:
            text = "".join(parts)[:200]
            parts = parts[5:]
        i += 1
        yield


# Grow in place, are moved when they cannot, and shrink.
def bytearrays():
    growing = bytearray()
    ring = [None] * 20
    i = 0
    while True:
        growing.extend(b"0123456789abcdef")
        if len(growing) > 1500:
            growing = growing[:100]
        ring[i % 20] = bytearray(64 + i * 7 % 150)
        i += 1
        yield


# list.clear and list.pop give memory back at once, without a collection.
def explicit_frees():
    stack = []
    i = 0
    while True:
        for _ in range(i % 13):
            stack.append(i)
        if i % 5 == 0:
            stack.clear()
        elif i % 3 == 0:
            while len(stack) > 4:
                stack.pop()
        i += 1
        yield


def closures():
    functions = []
    i = 0
    while True:
        j = i
        functions.append(lambda: j)  # noqa: B023 - one cell for all, on purpose
        if len(functions) > _KEEP:
            functions = functions[_KEEP // 2 :]
        i += 1
        yield


def generators():
    def count(n):
        for i in range(n):
            yield i

    alive = []
    while True:
        generator = count(5)
        next(generator)
        alive.append(generator)
        for generator in alive[:10]:
            for _ in generator:
                break
        if len(alive) > 30:
            alive = alive[15:]
        yield


# Keeps the last exceptions with their tracebacks, deep ones too.
def exceptions():
    def fail(depth):
        if depth:
            fail(depth - 1)
        raise ValueError("at", depth)

    kept = [None] * 8
    i = 0
    while True:
        try:
            fail(i % 6)
        except ValueError as error:
            kept[i % 8] = error
        try:
            {}["nothing"]
        except KeyError:
            pass
        i += 1
        yield


def jsons():
    document = {"name": "guest", "values": [1, 2.5, None, True], "inner": {"a": "b" * 40}}
    last = None
    i = 0
    while True:
        document["values"].append(i)
        if len(document["values"]) > 25:
            document["values"] = document["values"][20:]
        last = json.loads(json.dumps(document))
        assert last["values"] == document["values"]
        i += 1
        yield


def big_ints():
    power = 1
    kept = [0] * 5
    i = 0
    while True:
        power = power * 12345678901
        if power >> 900:
            power = 1
        kept[i % 5] = power + i
        i += 1
        yield


# Tasks that come and go, some waiting for an event, on an event loop of their own.
def tasks():
    event = Event()
    waiting = []

    async def wait():
        await event.wait()

    async def spawn():
        waiting.append(asyncio.create_task(wait()))
        await asyncio.sleep_ms(0)
        if len(waiting) > 12:
            event.set()
            await gather(*waiting)
            waiting.clear()
            event.clear()

    loop = asyncio.get_event_loop()
    while True:
        loop.run_until_complete(spawn())
        yield


def queues():
    queue = deque((), 50)  # noqa: RUF037 - MicroPython has no maxlen=
    i = 0
    while True:
        queue.append(bytes(i % 40))
        queue.append([i])
        if len(queue) > 40:
            for _ in range(25):
                queue.popleft()
        i += 1
        yield


# Much garbage, nothing kept.
def churn():
    i = 0
    while True:
        for size in range(8):
            bytearray(100 + size * 50)
        [str(i) for i in range(10)]
        i += 1
        yield


def objects():
    class Point:
        def __init__(self, x, y):
            self.x = x
            self.y = y

    points = []
    i = 0
    while True:
        point = Point(i, str(i))
        point.extra = {i}
        points.append(point)
        if len(points) > 40:
            points = points[20:]
        i += 1
        yield


PATTERNS = {
    "lists": lists,
    "dicts": dicts,
    "strings": strings,
    "bytearrays": bytearrays,
    "explicit_frees": explicit_frees,
    "closures": closures,
    "generators": generators,
    "exceptions": exceptions,
    "json": jsons,
    "big_ints": big_ints,
    "tasks": tasks,
    "queues": queues,
    "churn": churn,
    "objects": objects,
}
