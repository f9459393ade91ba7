# A guest that always has work: tasks that take WORK_US each and give way.

import asyncio
from time import ticks_add, ticks_diff, ticks_us

WORK_US = 1000
TASKS = 1


async def work():
    while True:
        end = ticks_add(ticks_us(), WORK_US)
        while ticks_diff(end, ticks_us()) > 0:
            pass
        await asyncio.sleep(0)


async def main():
    for made in range(TASKS - 1):
        asyncio.create_task(work())
        if made % 10 == 9:  # fifty in a row are more than a slice on a Pico
            await asyncio.sleep(0)
    await work()
