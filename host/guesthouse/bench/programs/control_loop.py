# A control loop that writes down how late each of its releases begins.
#
# A release that begins late is followed by the ones that have become due meanwhile: those that
# are over already do not begin at all, are missed, and count as late as they were when the loop
# came back. So what holds the loop up for long does not vanish from the figures.

import asyncio
from array import array
from time import ticks_add, ticks_diff, ticks_us

try:
    from house.guest import publish
except ImportError:  # plain asyncio
    publish = print

PERIOD_US = 10000
WORK_US = 300
RELEASES = 100


async def measure():
    late = array("i", [0] * RELEASES)
    missed = 0
    n = 0
    release = ticks_add(ticks_us(), PERIOD_US)
    while n < RELEASES:
        left = ticks_diff(release, ticks_us())
        while left > 0:
            await asyncio.sleep_ms((left + 999) // 1000)
            left = ticks_diff(release, ticks_us())
        late[n] = -left
        n += 1
        end = ticks_add(ticks_us(), WORK_US)
        while ticks_diff(end, ticks_us()) > 0:
            pass
        release = ticks_add(release, PERIOD_US)
        over = ticks_diff(ticks_us(), release)
        if over > 0:
            missed += 1
        while over > PERIOD_US and n < RELEASES:
            late[n] = over
            n += 1
            missed += 1
            release = ticks_add(release, PERIOD_US)
            over -= PERIOD_US
    return late, missed


async def tell(late, missed):
    late = sorted(late)
    await asyncio.sleep(0)
    publish("p50_us", late[len(late) // 2])
    publish("p99_us", late[min(len(late) - 1, len(late) * 99 // 100)])
    publish("max_us", late[-1])
    publish("missed", missed)
    publish("releases", len(late))


async def main():
    late, missed = await measure()
    while True:
        await tell(late, missed)
        await asyncio.sleep(1)
