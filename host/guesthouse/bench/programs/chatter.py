# A guest that prints more than any line takes.

import asyncio


async def main():
    while True:
        for number in range(10):
            print("line", number, "of very many")
        await asyncio.sleep_ms(5)
