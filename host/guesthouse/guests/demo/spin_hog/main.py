# A hog without manners: hangs in a loop that never yields and swallows every exception
#
# Every project has such a driver: it waits for a device that will never be ready, and its retry
# catches everything. Under plain asyncio this is the end of all other tasks. Here it is stopped
# within a millisecond of its slice_max, and `guesthouse why spin_hog` names the line.

import asyncio


def ready():
    return False  # the cable has come off


def wait_until_ready():
    while True:
        try:
            while not ready():
                pass
            return
        except BaseException:
            pass  # "it is only a glitch, try again"


async def main():
    await asyncio.sleep_ms(1500)  # all goes well, for a while
    print("waiting for the device")
    wait_until_ready()
