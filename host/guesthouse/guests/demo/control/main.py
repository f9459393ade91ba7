# A 10 ms control loop: keeps a motor at its speed, whatever its neighbours do
#
# The motor is simulated. On a real board, Motor.speed() would read an encoder and
# Motor.drive() would set a PWM; nothing else would change. All numbers are integers, because
# floats live on the heap, and a loop that makes no garbage causes no collections.

from house import guest

PERIOD_MS = 10
TARGET_RPM = 3000
DRIVE_MAX = 10000  # full drive
LOAD_EVERY = 150  # releases between two changes of the load


class Motor:
    FULL_RPM = 6000  # at full drive without a load
    LAG = 20  # periods until it follows

    def __init__(self):
        self.mrpm = 0  # thousandths, so that small steps are not rounded away
        self.load_rpm = 0

    def speed(self):
        return self.mrpm // 1000

    def drive(self, drive):
        wants = drive * self.FULL_RPM // DRIVE_MAX - self.load_rpm
        self.mrpm += (wants * 1000 - self.mrpm) // self.LAG


class PID:
    # In hundredths of drive for each rpm.
    GAIN = 400
    INTEGRAL = 25
    DERIVATIVE = 200

    def __init__(self):
        self.sum = 0
        self.last = 0

    def step(self, target, measured):
        error = target - measured
        self.sum += error
        # no windup: the integral alone never asks for more than there is
        limit = DRIVE_MAX * 100 // self.INTEGRAL
        self.sum = max(-limit, min(limit, self.sum))
        drive = self.GAIN * error + self.INTEGRAL * self.sum
        drive -= self.DERIVATIVE * (measured - self.last)
        self.last = measured
        return max(0, min(DRIVE_MAX, drive // 100))


async def main():
    motor = Motor()
    pid = PID()
    # every() releases the body each 10 ms. It counts releases, completions and what was missed
    # (not complete by the next release) and publishes the counts and the lateness itself.
    async for release in guest.every(PERIOD_MS):
        if release % LOAD_EVERY == 0:
            motor.load_rpm = 800 - motor.load_rpm
        motor.drive(pid.step(TARGET_RPM, motor.speed()))
        if release % 50 == 0:
            guest.publish("speed_rpm", motor.speed())
