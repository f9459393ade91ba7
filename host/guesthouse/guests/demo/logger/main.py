# Keeps a log in two files that take turns, and reads each one back when it is full
#
# Relative paths lie in a folder of the guest's own: no other guest has a file of this name.

import asyncio

from house import guest

LINES = 20  # in one file


def name(number):
    return "log.%d" % (number % 2)


def line(number):
    return "%06d all is well" % number


# The lines of a file that are as they were written. Each is read in a slice of its own: all of
# them in one would be too long for a small board.
async def check(path, first):
    good = 0
    with open(path) as file:
        for i, text in enumerate(file):
            good += text.rstrip("\n") == line(first + i)
            await asyncio.sleep(0)
    return good


async def main():
    checked = number = turn = 0
    while True:
        first = number
        with open(name(turn), "w") as file:
            for _ in range(LINES):
                file.write(line(number) + "\n")
                number += 1
                await asyncio.sleep_ms(25)
        await asyncio.sleep(0)  # the file is closed: reading it is a slice of its own
        good = await check(name(turn), first)
        if good != LINES:
            raise OSError("%s: %d of %d lines are whole" % (name(turn), good, LINES))
        checked += good
        guest.publish("lines_good", checked)
        turn += 1
        await asyncio.sleep(0)
