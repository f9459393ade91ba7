# The measured program: tasks that do nothing but give way.

import asyncio

TASKS = 1


async def give_way():
    while True:
        await asyncio.sleep(0)


async def main():
    for _ in range(TASKS - 1):
        asyncio.create_task(give_way())
    while True:
        await asyncio.sleep(0)
