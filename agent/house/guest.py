# What a guest may import from the house; none of it is needed to be a guest.
#
# Types stand here for editors: `guesthouse new` makes a stub from this file. They cost nothing on
# the board, whose compiler leaves them out.
#
#   from house import guest
#   guest.publish("temperature", 23)         # a figure in the telemetry
#   async for tick in guest.every(10): ...   # a periodic loop that counts what it misses
#   frame = guest.buffer()                   # the bytes that its manifest reserves
#
# Outside of the house, under plain asyncio, publish() does nothing and every() works.

import asyncio
from array import array
from time import ticks_add, ticks_diff, ticks_us

from micropython import const

_BUCKET_US = const(100)
_BUCKETS = const(256)
_PUBLISH_MS = const(500)


def nowhere(name: str, value: int) -> None:
    pass


# publish(name, value): a name of at most 12 bytes and an integer of 64 bits.
publish = nowhere


# The buffer that the manifest reserves as memory.buffer, None where there is none. What the last
# run left in it is still there.
def buffer() -> "memoryview | None":
    return None


# A loop with a release every period_ms. The body between two iterations is the job of a
# release; it is missed when it has not completed by the next release. Lateness is from
# release to the begin of the job. The counts are published twice a second.
class every:
    def __init__(self, period_ms: int) -> None:
        self.period_us = period_ms * 1000
        self.releases = 0
        self.completions = 0
        self.missed = 0
        self.latest_us = 0
        self.late = array("H", [0] * _BUCKETS)  # a histogram, the last bucket takes the rest
        self.release = None  # of the job under way, in ticks_us
        self.published = 0

    def __aiter__(self) -> "every":
        return self

    async def __anext__(self) -> int:
        now = ticks_us()
        if self.release is None:
            self.release = now  # type: ignore[assignment]
        else:
            next_release = ticks_add(self.release, self.period_us)
            over = ticks_diff(now, next_release)
            if over <= 0:
                self.completions += 1
            else:
                # this job was late, and the releases behind it never began
                gone = over // self.period_us
                self.missed += 1 + gone
                self.releases += gone
                next_release = ticks_add(next_release, gone * self.period_us)
            self.release = next_release
        if ticks_diff(now, self.published) > _PUBLISH_MS * 1000 or self.releases == 0:
            self.published = now  # type: ignore[assignment]
            self.tell()
        while True:
            left = ticks_diff(self.release, ticks_us())
            if left <= 0:
                break
            await asyncio.sleep_ms((left + 999) // 1000)
        self.releases += 1
        late = -left
        if late > self.latest_us:
            self.latest_us = late
        self.late[min(late // _BUCKET_US, _BUCKETS - 1)] += 1
        return self.releases

    # Lateness that `percent` of the releases stayed below, in us, rounded up to a bucket.
    def lateness(self, percent: int) -> int:
        left = sum(self.late) * (100 - percent) // 100
        for i in range(_BUCKETS - 1, -1, -1):
            left -= self.late[i]
            if left < 0:
                return (i + 1) * _BUCKET_US
        return 0

    def tell(self) -> None:
        publish("releases", self.releases)
        publish("completions", self.completions)
        publish("missed", self.missed)
        publish("late_p99_us", min(self.lateness(99), self.latest_us))
        publish("late_max_us", self.latest_us)
