# A hog with manners: gives way all the time, but wants all of the CPU there is
#
# It counts primes. Nothing is wrong with it: it is the limit in its manifest (cpu.max) that keeps
# it from taking what the others need. When its budget is used up it is throttled until the next
# period, and costs nothing.

import asyncio
import time

from house import guest

LIMIT = 20000


def is_prime(number):
    divisor = 3
    while divisor * divisor <= number:
        if number % divisor == 0:
            return False
        divisor += 2
    return True


# The primes below LIMIT, with a break after every half millisecond.
async def count():
    found = 1
    begin = time.ticks_us()
    for number in range(3, LIMIT, 2):
        if is_prime(number):
            found += 1
        if time.ticks_diff(time.ticks_us(), begin) > 500:
            await asyncio.sleep(0)
            begin = time.ticks_us()
    return found


async def main():
    rounds = 0
    while True:
        primes = await count()
        rounds += 1
        guest.publish("primes", primes)
        guest.publish("rounds", rounds)
