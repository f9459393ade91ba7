# A guest that fails again and again.

import asyncio


async def main():
    await asyncio.sleep_ms(200)
    raise ValueError("again")
