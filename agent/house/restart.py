# Restart policy: what happens to an instance that ended.

from micropython import const

from . import wire

# An instance that ran this long without a fault starts counting anew.
HEALTHY_S = const(30)
# So many failures in a row and it is set aside until somebody looks at it.
QUARANTINE_AFTER = const(10)


# Decides on an instance that ended in `state` (exited, failed or killed) after `ran_s` seconds.
# Returns (next state, delay in ms); a state other than backoff is final until a command.
class RestartPolicy:
    def __init__(self, mode, first_s, last_s):
        self.mode = mode
        self.first_s = first_s
        self.last_s = last_s
        self.failures = 0  # in a row

    def ended(self, state, ran_s):
        if state == wire.STATE_EXITED:
            self.failures = 0
            if self.mode == wire.RESTART_ALWAYS:
                return wire.STATE_BACKOFF, self.first_s * 1000
            return state, 0
        if ran_s >= HEALTHY_S:
            self.failures = 0
        self.failures += 1
        if self.mode == wire.RESTART_NEVER:
            return state, 0
        if self.failures >= QUARANTINE_AFTER:
            return wire.STATE_QUARANTINED, 0
        return wire.STATE_BACKOFF, self.delay_ms()

    # Exponential from the first to the last delay.
    def delay_ms(self):
        delay = self.first_s
        for _ in range(self.failures - 1):
            delay *= 2
            if delay >= self.last_s:
                break
        return (self.last_s if delay > self.last_s else delay) * 1000

    # A command starts it by hand: the past is forgiven.
    def forgive(self):
        self.failures = 0
