# Recovery: what the last run came to, and which guests are started after it.
#
# A port keeps three words over a reset without loss of power:
#   0  how the run stands: a mark, its phase, how many unclean boots in a row were before it
#   1  written by the port's last resort: the tag of the guest that it ended the run for
#   2  the tag of the guest that was set aside before
# Without power they are gone, and so is the memory of a guest that hung the board: it gets
# another chance, which costs a second.
#
# Loaded at boot, and let go of.

from micropython import const

from . import memory, modules, wire
from .image import BadImage, exists

# So many unclean boots in a row, and no guest is started.
UNCLEAN_BOOTS = const(3)

_MARK = const(0x2B1157)  # tells a word of ours from what power-on leaves there
_STOPPED = const(0)  # the agent was left for the REPL
_RUNNING = const(1)
_FAULTED = const(2)  # the agent ended with an error
_MOST = const(15)

# Whoever makes this file gets a board without guests: for one that cannot be reached otherwise.
OFF = "/guests.off"
_HELD_CALL = "it held the processor in a call that nothing can interrupt"


def _word(phase, unclean):
    return _MARK << 8 | phase << 4 | unclean


# What the words say about the run before this one.
class Past:
    def __init__(self, port):
        self.cause = port.reset_cause()
        self.unclean = 0  # boots in a row
        self.culprit = 0  # tag of the guest that the last resort ended
        self.aside = 0  # tag of the one that was set aside before
        self.broken = False  # the run ended, and nobody asked for it
        word = port.recall(0)
        if word >> 8 == _MARK and self.cause != wire.RESET_POWER_ON:
            self.culprit = port.recall(1)
            self.aside = port.recall(2)
            phase = word >> 4 & 15
            self.broken = phase != _STOPPED or self.culprit != 0
            if self.broken:
                self.unclean = min((word & 15) + 1, _MOST)
            if self.culprit:
                self.cause = wire.RESET_WATCHDOG
            elif phase == _STOPPED:
                self.cause = wire.RESET_SOFT
            elif phase == _FAULTED:
                self.cause = wire.RESET_FAULT
        self.running = _word(_RUNNING, self.unclean)
        self.faulted = _word(_FAULTED, self.unclean)
        self.proven = _word(_RUNNING, 0)
        self.stopped = _word(_STOPPED, 0)


# Marks the run as begun, tells what the last one came to, and makes an instance of each installed
# image; those that want it are started, but for a guest that hung the board.
def begin(kernel, commands, past):
    port = kernel.port
    summary = kernel.summary
    port.keep(0, past.running)
    port.keep(1, 0)
    port.keep(2, past.culprit or past.aside)
    summary.reset_cause = past.cause
    summary.unclean_boots = past.unclean
    summary.proven = past.proven
    _prepare_journal(kernel)
    lifecycle = kernel.lifecycle
    aside = [tag for tag in (past.culprit, past.aside) if tag]
    why = _no_guests(kernel, past)
    culprit = ""
    commands.store.sweep()
    for name in commands.store.installed():
        port.feed()
        memory.tidy(kernel)  # each leaves some kB of garbage
        try:
            instance = commands.install(name)
        except BadImage as error:
            _say(kernel, str(error))
            continue
        if instance is None:
            _say(kernel, "%s: the board is full" % name)
        elif instance.tag in aside:
            if instance.tag == past.culprit:
                culprit = instance.name
            instance.last_reason = wire.REASON_ESCALATED
            instance.last_what = _HELD_CALL
            lifecycle.move(
                instance,
                wire.STATE_QUARANTINED,
                wire.REASON_ESCALATED,
                cause=_HELD_CALL,
            )
        elif why:
            lifecycle.move(instance, wire.STATE_STOPPED, wire.REASON_SAFE_MODE)
        elif instance.spec["autostart"]:
            lifecycle.start(instance, wire.REASON_BOOT)
    if past.broken:
        _note(kernel, past, culprit)
    if why:
        _say(kernel, "no guest was started: " + why)


# Why no guest is to be started, "" where they are.
def _no_guests(kernel, past):
    if exists(kernel.hooks.root + OFF):
        return "there is a file %s; remove it and reset the board" % OFF
    if past.unclean >= UNCLEAN_BOOTS:
        return (
            "the board went down %d times in a row; guesthouse why tells what happened, "
            "guesthouse start GUEST goes on, guesthouse rm GUEST removes one" % past.unclean
        )
    return ""


# An event finds its place even on a full flash, if the journal was made before.
def _prepare_journal(kernel):
    from . import journal

    try:
        journal.prepare(kernel.hooks.root)
    except OSError as error:
        _say(kernel, "the journal cannot be made: %r" % error)
    modules.drop(journal)


# Tells host and journal how the last run ended.
def _note(kernel, past, culprit):
    lifecycle = kernel.lifecycle
    if past.culprit:
        lifecycle.note(wire.REASON_ESCALATED, culprit, past.cause)
        if culprit:
            return  # its own event has told it
        reason = wire.REASON_UNCLEAN_BOOT
        what = "the last resort ended a guest that is not installed any more"
    elif past.cause == wire.RESET_WATCHDOG:
        reason = wire.REASON_AGENT_FAULT
        what = "the agent hung, and the watchdog reset the board"
    elif past.cause == wire.RESET_FAULT:
        reason = wire.REASON_AGENT_FAULT
        what = "the agent ended with an error"
    else:
        reason = wire.REASON_UNCLEAN_BOOT
        what = "the board was reset while guests ran"
    if not past.culprit:
        lifecycle.note(reason, "", past.cause)
    kernel.clock.advance()
    kernel.telemetry.transition(wire.AGENT, 0, 0, reason, past.unclean, what=what)


def _say(kernel, text):
    kernel.telemetry.say(wire.BOARD, wire.TEXT_ERROR, text, 0, kernel.telemetry.state)
