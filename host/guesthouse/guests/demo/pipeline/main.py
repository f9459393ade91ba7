# An ordinary asyncio program that does not know it is a guest
#
# Two tasks share a queue; the program ends in asyncio.run(), as it would anywhere. In the house it
# gets an event loop of its own: its tasks and its exceptions never meet those of other guests.

import asyncio
import binascii


class Queue:
    def __init__(self):
        self.items = []
        self.filled = asyncio.Event()

    def put(self, item):
        self.items.append(item)
        self.filled.set()

    async def get(self):
        while not self.items:
            self.filled.clear()
            await self.filled.wait()
        return self.items.pop(0)


async def produce(queue):
    number = 0
    while True:
        queue.put(b"packet %d" % number)
        number += 1
        await asyncio.sleep_ms(15)


async def consume(queue):
    checksum = 0
    for count in range(1, 1000000):
        checksum = binascii.crc32(await queue.get(), checksum)
        if count % 200 == 0:
            print("%d packets, checksum %08x" % (count, checksum))


async def main():
    queue = Queue()
    await asyncio.gather(produce(queue), consume(queue))


asyncio.run(main())
