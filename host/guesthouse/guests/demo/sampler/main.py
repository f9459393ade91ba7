# Samples a temperature 50 times a second and publishes its mean and spread
#
# The mean and the variance are updated with every sample (Welford's method), so no sample has
# to be kept. What is published shows in `guesthouse top`, in the monitor and in recordings.

import asyncio
import math
import random

from house import guest

WINDOW = 50  # samples for one result


# A sensor in 1/1000 of a degree: a slow wave and some noise.
class Sensor:
    def __init__(self):
        self.angle = 0.0

    def read(self):
        self.angle += 0.01
        return 21000 + int(1500 * math.sin(self.angle)) + random.getrandbits(8) - 128


class Statistics:
    def __init__(self):
        self.count = 0
        self.mean = 0.0
        self.squares = 0.0  # sum of the squared distances from the mean

    def add(self, value):
        self.count += 1
        distance = value - self.mean
        self.mean += distance / self.count
        self.squares += distance * (value - self.mean)

    def deviation(self):
        return math.sqrt(self.squares / (self.count - 1))


async def main():
    sensor = Sensor()
    while True:
        statistics = Statistics()
        for _ in range(WINDOW):
            statistics.add(sensor.read())
            await asyncio.sleep_ms(20)
        guest.publish("mean_mdeg", int(statistics.mean))
        guest.publish("spread_mdeg", int(statistics.deviation()))
