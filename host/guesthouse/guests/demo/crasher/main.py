# Crashes: meets a message that its parser did not expect
#
# The exception ends this guest and no other. Its line and its call chain are kept; the restart
# policy starts it again, later every time.

import asyncio

MESSAGES = ("t=21.5", "t=21.7", "t=21.6", "t=", "t=21.4")


def parse(message):
    name, value = message.split("=")
    return name, float(value)


def average(messages):
    total = 0.0
    for message in messages:
        total += parse(message)[1]
    return total / len(messages)


async def main():
    for count in range(1, len(MESSAGES) + 1):
        await asyncio.sleep_ms(500)
        print("average of %d: %.2f" % (count, average(MESSAGES[:count])))
