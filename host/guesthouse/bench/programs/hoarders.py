# Guests that take more memory than they may, each in its own way, for `guesthouse bench memory`.
# The bench makes a guest of one, with the imports above and the main() below.

import asyncio


# A little in each slice.
async def small_objects():
    kept = []
    while True:
        for _ in range(20):
            kept.append((len(kept), 1))
        await asyncio.sleep(0)


async def dict_entries():
    kept = {}
    while True:
        for _ in range(20):
            kept[len(kept)] = [0]
        await asyncio.sleep(0)


async def buffers():
    kept = []
    while True:
        kept.append(bytearray(500))
        await asyncio.sleep(0)


# Takes twice as much each time.
async def doubling_string():
    kept = "0123456789abcdef"
    while True:
        kept = kept + kept
        await asyncio.sleep(0)


# All that it can get, in one slice.
async def one_slice():
    kept = []
    await asyncio.sleep(0)
    while True:
        kept.append(bytearray(100))


# More than its limit in one block.
async def one_block():
    await asyncio.sleep(0)
    kept = bytearray(60000)
    while kept:
        await asyncio.sleep(0)


# Takes the error for a hint to try again.
async def retry():
    kept = []
    while True:
        try:
            kept.append(bytearray(1000))
        except MemoryError:
            pass
        await asyncio.sleep(0)


# Holds nothing, and makes its limit's worth of garbage in each few slices. It must not be ended.
async def garbage():
    for _ in range(60):
        for _ in range(8):
            bytearray(1000)
        await asyncio.sleep(0)


PATTERN = garbage


async def main():
    await asyncio.sleep(0)
    await PATTERN()
