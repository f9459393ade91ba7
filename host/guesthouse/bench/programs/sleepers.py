# A guest whose tasks all wake in the same ms.

import asyncio

TASKS = 20


async def nap():
    while True:
        await asyncio.sleep_ms(10)


async def main():
    for _ in range(TASKS - 1):
        asyncio.create_task(nap())
    await nap()
