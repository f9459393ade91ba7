# Blinks an LED as a plain generator: it yields the milliseconds until it wants to go on
#
# No asyncio, no await: the smallest guest there is.

from house import guest


def main():
    lit = False
    while True:
        lit = not lit
        guest.publish("led", int(lit))
        yield 500
