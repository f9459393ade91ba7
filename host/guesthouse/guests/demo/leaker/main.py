# Leaks: a cache that nobody ever empties
#
# Without a limit it would take the heap from all the others, and some innocent guest would meet
# the MemoryError. With memory.max it is killed itself (reason: oom), and all of its memory is
# free again.

import asyncio

cache = {}


def fetch(key):
    value = cache.get(key)
    if value is None:
        value = cache[key] = bytearray(512)  # never asked for again
    return value


async def main():
    request = 0
    while True:
        fetch(request)
        request += 1
        await asyncio.sleep_ms(20)
