# What a board makes of the run before this one, with a port whose words survive.

import gc
import json

import board
from house import boot, journal, recovery, wire
from house.image import exists

HOG = "async def main():\n    while True: pass\n"
CALM = "import asyncio\nasync def main():\n    while True: await asyncio.sleep(1)\n"


# A board that goes through several runs: its words and its files survive each.
class Machine:
    def __init__(self):
        self.words = [12345, 67890, 0]  # what power-on leaves there
        self.cause = wire.RESET_POWER_ON
        self.board = None
        self.watched = None
        self.fed = 0

    # A run: the agent is put together, and starts what it starts.
    def boot(self, guests=()):
        old = self.board
        self.board = new = board.Board()
        if old is not None:
            new.root = old.root
            new.kernel.hooks.root = old.root
            new.commands.store.folder = old.root + "/images"
        port = new.port
        port.recall = self.recall
        port.keep = self.keep
        port.reset_cause = lambda: self.cause
        for name, source in guests:
            instance = new.guest(name, source)
            new.kernel.lifecycle.remove(instance)
        past = recovery.Past(port)
        recovery.begin(new.kernel, new.commands, past)
        return past

    def recall(self, index):
        return self.words[index]

    def keep(self, index, value):
        assert 0 <= value < 1 << 30
        self.words[index] = value

    # The run ends the way `cause` says, with nobody there to tidy up.
    def die(self, cause=wire.RESET_WATCHDOG, culprit=None):
        if culprit:
            self.words[1] = self.find(culprit).tag
        boot.leave(self.board.kernel)
        self.cause = cause

    def find(self, name):
        return self.board.kernel.lifecycle.find(name)

    def states(self):
        return sorted([(i.name, i.state) for i in self.board.kernel.instances])

    def journal(self):
        return [(e[0], e[5], e[2]) for e in journal.read(self.board.root)[0]]

    def told(self, reason):
        return [t for t in self.board.transitions if t[2] == reason]

    def close(self):
        self.board.close()


GUESTS = (("calm", CALM), ("hog", HOG))
LOADING = wire.STATE_LOADING


def test_after_power_on_what_the_words_hold_means_nothing():
    machine = Machine()
    machine.words = [recovery._word(1, 2), 77, 78]
    past = machine.boot(GUESTS)
    assert (past.cause, past.unclean, past.culprit, past.broken) == (1, 0, 0, False)
    assert machine.states() == [("calm.0", LOADING), ("hog.0", LOADING)]
    assert machine.words[1:] == [0, 0]
    assert machine.journal() == []
    machine.close()


def test_a_guest_that_the_last_resort_ended_is_set_aside_and_the_others_start():
    machine = Machine()
    machine.boot(GUESTS)
    machine.die(culprit="hog")
    past = machine.boot()
    assert (past.cause, past.unclean) == (wire.RESET_WATCHDOG, 1)
    assert machine.states() == [("calm.0", LOADING), ("hog.0", wire.STATE_QUARANTINED)]
    owner, new, reason, _, _, _, where, what = machine.told(wire.REASON_ESCALATED)[0]
    assert (owner, new) == (machine.find("hog").id, wire.STATE_QUARANTINED)
    assert "nothing can interrupt" in what
    status, why = machine.board.commands.handle(wire.VERB_WHY, {"g": "hog.0"})
    assert (why["state"], why["reason"]) == ("quarantined", "escalated")
    assert "nothing can interrupt" in why["what"]
    assert machine.journal() == [(wire.REASON_ESCALATED, "hog.0", 1)]
    machine.close()


def test_two_guests_that_hang_the_board_in_turn_are_both_set_aside():
    machine = Machine()
    machine.boot(GUESTS)
    machine.die(culprit="hog")
    machine.boot()
    machine.die(culprit="calm")
    machine.boot()
    assert [state for _, state in machine.states()] == [wire.STATE_QUARANTINED] * 2
    assert [e[1] for e in machine.journal()] == ["hog.0", "calm.0"]
    machine.close()


def test_a_guest_that_was_set_aside_stays_so_until_somebody_starts_it():
    machine = Machine()
    machine.boot(GUESTS)
    machine.die(culprit="hog")
    machine.boot()
    machine.die(wire.RESET_SOFT)
    machine.boot()
    assert machine.find("hog").state == wire.STATE_QUARANTINED
    machine.board.commands.handle(wire.VERB_START, {"g": "hog.0"})
    machine.board.kernel.port.keep(0, recovery._word(0, 0))
    machine.die(wire.RESET_SOFT)
    machine.boot()
    assert machine.find("hog").state == LOADING
    machine.close()


def test_after_three_unclean_boots_in_a_row_no_guest_is_started():
    machine = Machine()
    machine.boot(GUESTS)
    for n in range(1, 4):
        machine.die()
        past = machine.boot()
        assert past.unclean == n
        started = [state == LOADING for _, state in machine.states()]
        assert started == [n < 3] * 2
    assert len(machine.told(wire.REASON_SAFE_MODE)) == 2
    assert machine.board.kernel.summary.unclean_boots == 3
    # The link is alive, and a command goes on.
    status, _ = machine.board.commands.handle(wire.VERB_START, {"g": "calm"})
    assert status == wire.STATUS_OK
    assert machine.find("calm").state == LOADING
    # One crash loop is one event.
    assert machine.journal() == [(wire.REASON_AGENT_FAULT, "", 3)]
    machine.close()


def test_a_run_that_went_well_for_a_while_forgets_the_unclean_boots_before_it():
    machine = Machine()
    machine.boot(GUESTS)
    machine.die()
    machine.boot()
    machine.die()
    machine.boot()
    kernel = machine.board.kernel
    kernel.clock.s = 9
    kernel.summary.begin(kernel.port.ticks_ms())
    assert machine.words[0] == recovery._word(1, 2)
    kernel.clock.s = 10
    kernel.summary.begin(kernel.port.ticks_ms())
    machine.die()
    assert machine.boot().unclean == 1
    assert [state for _, state in machine.states()] == [LOADING] * 2
    machine.close()


def test_a_hang_of_the_agent_itself_is_told_and_written_down():
    machine = Machine()
    machine.boot(GUESTS)
    machine.die()
    past = machine.boot()
    assert (past.cause, past.culprit, past.broken) == (wire.RESET_WATCHDOG, 0, True)
    told = machine.told(wire.REASON_AGENT_FAULT)[0]
    assert told[0] == wire.AGENT and "watchdog" in told[7]
    assert machine.journal() == [(wire.REASON_AGENT_FAULT, "", 1)]
    assert [state for _, state in machine.states()] == [LOADING] * 2
    machine.close()


def test_a_reset_that_nobody_asked_for_is_an_unclean_boot():
    machine = Machine()
    machine.boot(GUESTS)
    machine.die(wire.RESET_SOFT)
    past = machine.boot()
    assert (past.cause, past.unclean) == (wire.RESET_SOFT, 1)
    assert machine.journal() == [(wire.REASON_UNCLEAN_BOOT, "", 1)]
    machine.close()


def test_leaving_the_agent_is_a_clean_end_and_an_error_is_not():
    machine = Machine()
    machine.boot(GUESTS)
    port = machine.board.port
    port.watch = lambda ms: setattr(machine, "watched", ms)
    port.unwatch = lambda: setattr(machine, "watched", None)
    root = machine.board.root
    boot.leave(machine.board.kernel)

    # what the line brings first, once guests run
    def ctrl_c(buf):
        assert machine.watched
        assert machine.words[0] == recovery._word(1, 0)
        port.serial_read = lambda buf: 0
        buf[0] = 3
        return 1

    def broken(buf):
        raise OSError("the line is broken")

    # After an error that came again and again the watchdog is what starts the board anew.
    for read, phase, watched in ((ctrl_c, 0, None), (broken, 2, 1)):
        machine.words[0] = 0
        port.serial_read = read
        try:
            boot.run(port, board.unix_heap, root, "test")
        except OSError:
            pass
        assert machine.words[0] == recovery._word(phase, 0)
        assert machine.watched == watched
    machine.close()


def test_the_agent_feeds_the_watchdog():
    machine = Machine()
    machine.boot(GUESTS)
    machine.board.port.feed = lambda: setattr(machine, "fed", machine.fed + 1)
    machine.board.run(500)
    assert machine.fed >= 3
    machine.close()


def test_a_file_keeps_guests_from_being_started():
    machine = Machine()
    machine.boot(GUESTS)
    with open(machine.board.root + recovery.OFF, "w"):
        pass
    boot.leave(machine.board.kernel)
    machine.cause = wire.RESET_POWER_ON
    machine.boot()
    assert [state for _, state in machine.states()] == [wire.STATE_STOPPED] * 2
    assert len(machine.told(wire.REASON_SAFE_MODE)) == 2
    machine.close()


def test_a_culprit_that_was_removed_since_is_written_down_all_the_same():
    machine = Machine()
    machine.boot(GUESTS)
    machine.die(culprit="hog")
    machine.words[1] ^= 1
    machine.boot()
    assert machine.journal() == [(wire.REASON_ESCALATED, "", 1)]
    assert "not installed" in machine.told(wire.REASON_UNCLEAN_BOOT)[0][7]
    assert [state for _, state in machine.states()] == [LOADING] * 2
    machine.close()


def test_the_journal_reaches_the_host_page_by_page():
    machine = Machine()
    machine.boot()
    root = machine.board.root
    for n in range(8):
        journal.add(root, wire.REASON_ESCALATED, "guest%d.0" % n, wire.RESET_WATCHDOG, n, 7)
    first = machine.board.commands.handle(wire.VERB_JOURNAL, {})[1]
    rest = machine.board.commands.handle(wire.VERB_JOURNAL, {"from": first["next"]})[1]
    assert (first["of"], rest["next"]) == (8, 8)
    events = first["events"] + rest["events"]
    assert [e["guest"] for e in events] == ["guest%d.0" % n for n in range(8)]
    assert events[3] == {
        "reason": "escalated",
        "guest": "guest3.0",
        "reset": "watchdog",
        "count": 1,
        "boot": 3,
        "s": 7,
    }
    assert len(json.dumps(first)) < 900
    machine.close()


def test_a_journal_is_made_before_it_is_needed_and_never_grows():
    machine = Machine()
    machine.boot()
    root = machine.board.root
    sizes = []
    for n in range(40):
        with open(root + "/journal/events", "rb") as f:
            sizes.append(len(f.read()))
        journal.add(root, wire.REASON_ESCALATED, "guest_name_%d.0" % n, 3, n, n)
    assert set(sizes) == {512}
    kept = [e[5] for e in journal.read(root)[0]]
    assert kept == ["guest_name_%d.0" % n for n in range(25, 40)]
    machine.close()


def test_a_damaged_journal_is_begun_anew_and_said():
    machine = Machine()
    machine.boot()
    root = machine.board.root
    path = root + "/journal/events"
    journal.add(root, wire.REASON_ESCALATED, "a.0", 3, 1, 1)
    with open(path, "rb") as f:
        whole = f.read()
    for damaged in (whole[:100], whole[:40] + b"?" + whole[41:], b"", b"\xff" * 512):
        with open(path, "wb") as f:
            f.write(damaged)
        assert journal.read(root) == ([], True)
        assert machine.board.commands.handle(wire.VERB_JOURNAL, {})[1]["damaged"]
        assert journal.add(root, wire.REASON_ESCALATED, "b.0", 3, 1, 1)
        assert [e[5] for e in journal.read(root)[0]] == ["b.0"]
    assert exists(path)
    machine.close()


def test_a_fault_of_the_agent_is_written_down_once_a_boot():
    machine = Machine()
    machine.boot()
    for _ in range(5):
        machine.board.kernel.lifecycle.fault(ValueError("injected"))
    assert len(machine.told(wire.REASON_AGENT_FAULT)) == 5
    assert machine.journal() == [(wire.REASON_AGENT_FAULT, "", 1)]
    machine.close()


def test_a_start_that_fails_gives_everything_back():
    machine = Machine()
    machine.boot()
    port = machine.board.port
    boot.leave(machine.board.kernel)
    closed = []
    port.close_serial = lambda: closed.append(True)
    port.self_test = lambda: "a loop was not stopped"
    said = ""
    try:
        boot.run(port, board.unix_heap, machine.board.root, "test")
    except SystemExit as error:
        said = str(error)
    assert "cannot stop a guest" in said
    assert closed and gc.isenabled()
    machine.close()


def test_a_guest_that_fails_for_good_is_in_the_journal():
    machine = Machine()
    machine.boot()
    instance = machine.board.guest("poor", "raise ValueError\n", restart="on-failure")
    instance.restart.failures = 9
    machine.board.end(instance)
    assert instance.state == wire.STATE_QUARANTINED
    assert machine.journal() == [(wire.REASON_TOO_MANY_FAILURES, "poor.0", 1)]
    machine.close()
