# The measured program: tasks that do nothing but give way.

import asyncio

TASKS = 1


async def give_way():
    while True:
        await asyncio.sleep(0)


async def main():
    for made in range(TASKS - 1):
        asyncio.create_task(give_way())
        if made % 10 == 9:  # fifty in a row are more than a slice on a Pico
            await asyncio.sleep(0)
    while True:
        await asyncio.sleep(0)
