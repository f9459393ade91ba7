# The restart policy: backoff, health and quarantine.

from house import wire
from house.restart import HEALTHY_S, QUARANTINE_AFTER, RestartPolicy


def _policy(mode=wire.RESTART_ON_FAILURE):
    return RestartPolicy(mode, 1, 60)


def test_the_delay_doubles_up_to_the_last():
    policy = _policy()
    delays = [policy.ended(wire.STATE_FAILED, 0)[1] for _ in range(8)]
    assert delays == [1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000], delays


def test_a_healthy_run_starts_the_delays_anew():
    policy = _policy()
    for _ in range(4):
        policy.ended(wire.STATE_KILLED, 0)
    assert policy.ended(wire.STATE_KILLED, HEALTHY_S) == (wire.STATE_BACKOFF, 1000)


def test_too_many_failures_in_a_row_are_quarantined():
    policy = _policy()
    states = [policy.ended(wire.STATE_FAILED, 0)[0] for _ in range(QUARANTINE_AFTER)]
    assert states[:-1] == [wire.STATE_BACKOFF] * (QUARANTINE_AFTER - 1), states
    assert states[-1] == wire.STATE_QUARANTINED


def test_never_means_never():
    policy = _policy(wire.RESTART_NEVER)
    assert policy.ended(wire.STATE_FAILED, 0) == (wire.STATE_FAILED, 0)
    assert policy.ended(wire.STATE_KILLED, 0) == (wire.STATE_KILLED, 0)


def test_a_good_end_restarts_only_with_always():
    assert _policy().ended(wire.STATE_EXITED, 0) == (wire.STATE_EXITED, 0)
    assert _policy(wire.RESTART_ALWAYS).ended(wire.STATE_EXITED, 0) == (wire.STATE_BACKOFF, 1000)


def test_a_command_forgives():
    policy = _policy()
    for _ in range(5):
        policy.ended(wire.STATE_FAILED, 0)
    policy.forgive()
    assert policy.ended(wire.STATE_FAILED, 0) == (wire.STATE_BACKOFF, 1000)
