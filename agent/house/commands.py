# Commands: what each verb does.

import json
import struct

from micropython import const

from . import modules, wire
from .image import BadImage, check

_SETTABLE = (
    "cpu_max_us",
    "cpu_period_us",
    "cpu_min_us",
    "cpu_min_period_us",
    "weight",
    "slice_max_us",
    "mem_min",
    "mem_high",
    "mem_max",
)
_BOARD = "board"  # the name that stands for the board itself; no guest has it
_OF_BOARD = ("oversubscription_cpu_ppm", "oversubscription_ram_ppm")
_OF_BOARD_MAX = const(1000000000)  # a thousand boards

# A reply is one frame. Bytes of JSON: of the answer to why without its log lines and with them, of
# each of its texts, and of the lines that logs answers.
_WHY_ROOM = wire.MAX_PAYLOAD - wire.REPLY_HEADER_SIZE - len(', "logs": []')
_WHY_LOGS_ROOM = 300
_LOGS_ROOM = 800
_TEXT_ROOM = 190
_FILL_MAX = 900  # bytes of padding in the answer to a ping

_PATIENCE = const(20)  # times that a guest's start waits for the line to take its answer


# Why a command could not be carried out: its status and its answer.
class Failed(Exception):
    def __init__(self, status, error, hint):
        self.status = status
        self.answer = {"error": error, "hint": hint}


# What wire.py calls numbers: "no-main" for ("REASON_", REASON_NO_MAIN). It is loaded for as long as
# that takes: compiled for a board, nobody else has need of its names, which are 2.5 kB.
def _names(*wanted):
    from . import wire

    names = []
    for prefix, number in wanted:
        found = [n for n, v in wire.__dict__.items() if v == number and n.startswith(prefix)]
        names.append(found[0][len(prefix) :].lower().replace("_", "-"))
    modules.drop(wire)
    return names


def _is_positive(value):
    return isinstance(value, int) and value > 0


# The text, cut so that its JSON has at most `room` bytes: a quote counts twice, a control
# character six times.
def _fit(text, room):
    while len(json.dumps(text).encode()) > room:
        text = text[: len(text) * 3 // 4]
    return text


# The first of the lines that fit into `room` bytes of JSON, at least one.
def _fit_lines(lines, room):
    fitting = []  # type: list[str]
    for line in lines:
        line = _fit(line, room if not fitting else _LOGS_ROOM)
        room -= len(json.dumps(line).encode()) + 2
        if room < 0 and fitting:
            break
        fitting.append(line)
    return fitting


class Commands:
    def __init__(self, kernel, store, identity):
        self.kernel = kernel
        self.store = store
        self.identity = identity  # what HELLO answers, but for what changes
        self.board = kernel.summary.board = self.figures()
        self.deploy = None  # the one under way; its module is loaded for as long
        self.images = 0
        self.verbs = {
            wire.VERB_HELLO: self.hello,
            wire.VERB_LEVEL: self.level,
            wire.VERB_START: self.start,
            wire.VERB_STOP: self.stop,
            wire.VERB_KILL: self.kill,
            wire.VERB_RESTART: self.restart,
            wire.VERB_REMOVE: self.remove,
            wire.VERB_SET: self.set,
            wire.VERB_WHY: self.why,
            wire.VERB_LOGS: self.logs,
            wire.VERB_BEGIN: self.begin,
            wire.VERB_FILE: self.file,
            wire.VERB_PUT: self.put,
            wire.VERB_COMMIT: self.commit,
            wire.VERB_ABORT: self.abort,
            wire.VERB_PING: self.ping,
            wire.VERB_JOURNAL: self.journal,
            wire.VERB_INSPECT: self.inspect,
        }

    # Carries out a command; returns (status, answer).
    def handle(self, verb, body):
        action = self.verbs.get(verb)
        if action is None:
            return wire.STATUS_UNKNOWN_VERB, {
                "error": "this agent does not know verb %d" % verb,
                "hint": "host and agent are of different versions: install the agent again",
            }
        try:
            return wire.STATUS_OK, action(body) or {}
        except Failed as failed:
            return failed.status, failed.answer
        except (KeyError, TypeError) as error:
            return wire.STATUS_BAD_VALUE, {
                "error": "a field is missing or of the wrong type: %s" % error,
                "hint": "",
            }

    def instance(self, body):
        name = body["g"]
        instance = self.kernel.lifecycle.find(name)
        if instance is None:
            there = ", ".join([i.name for i in self.kernel.instances])
            raise Failed(
                wire.STATUS_NO_SUCH_GUEST,
                "no guest named %s" % name,
                "on this board: "
                + (there[:300] or "none; deploy one with guesthouse deploy FOLDER"),
            )
        return instance

    # --- attach ---

    def hello(self, body):
        kernel = self.kernel
        kernel.summary.announce_all()
        answer = dict(self.identity)
        answer["heap"] = self.heap()
        answer["max_guests"] = kernel.capacity
        return answer

    # What admission counts with: what it begins with, what the port says, what a user has set.
    def figures(self):
        from . import admission

        board = admission.defaults()
        modules.drop(admission)
        port = self.kernel.port
        board["heap"] = self.heap()
        table = self.kernel.table
        # What is free but for the agent's reserve, and as much again for the longest slice.
        board["reservable"] = (self.kernel.high_blocks - table.counts[0]) * table.block
        board["kill_us"] = port.KILL_US
        board["section_us"] = port.SECTION_US
        board["section_guest_us"] = port.SECTION_GUEST_US
        kept = self.store.settings()
        for key in _OF_BOARD:
            if _is_positive(kept.get(key)):
                board[key] = kept[key]
        return board

    # Bytes that guests can share.
    def heap(self):
        table = self.kernel.table
        return table.total * table.block - self.kernel.port.HEAP_RESERVE

    def level(self, body):
        self.kernel.telemetry.set_trace(bool(body["trace"]))

    # A body of any length is taken and one of any length sent back, so that the host can measure
    # the line. The free space is told only where it is asked for: littlefs walks all of its
    # blocks to count them.
    def ping(self, body):
        answer = {"s": self.kernel.clock.s}
        if body.get("flash"):
            answer["flash_free"] = self.store.free()
        if "fill" in body:
            answer["fill"] = "x" * min(body["fill"], _FILL_MAX)
        return answer

    # --- guests ---

    def answer(self, instance):
        return {"instance": instance.name, "state": _names(("STATE_", instance.state))[0]}

    # Starts an instance once the answer is on the line: a load lets nothing else through.
    def launch(self, instance, reason):
        self.kernel.launched = instance
        self.kernel.patience = _PATIENCE
        self.kernel.lifecycle.start(instance, reason)

    def start(self, body):
        instance = self.instance(body)
        if self.kernel.lifecycle.alive(instance):
            return self.answer(instance)
        instance.restart.forgive()
        self.launch(instance, wire.REASON_START)
        return self.answer(instance)

    def stop(self, body):
        instance = self.instance(body)
        self.kernel.lifecycle.stop(instance)
        return self.answer(instance)

    def kill(self, body):
        instance = self.instance(body)
        lifecycle = self.kernel.lifecycle
        if lifecycle.alive(instance):
            lifecycle.condemn(instance, wire.REASON_KILL)
        else:
            lifecycle.stop(instance)
        return self.answer(instance)

    def restart(self, body):
        instance = self.instance(body)
        lifecycle = self.kernel.lifecycle
        instance.restart.forgive()
        if lifecycle.alive(instance):
            instance.then = wire.REASON_RESTART
            lifecycle.stop(instance)
        else:
            self.launch(instance, wire.REASON_RESTART)
        return self.answer(instance)

    def remove(self, body):
        name = body["g"].split(".")[0]
        found = [i for i in self.kernel.instances if i.image.name == name]
        if not found and name not in self.store.installed():
            self.instance(body)
        for instance in found:
            self.kernel.lifecycle.remove(instance)
        self.store.remove(name)
        return {"removed": [i.name for i in found]}

    def set(self, body):
        if body["g"] == _BOARD:
            return self.set_board(body)
        instance = self.instance(body)
        spec = dict(instance.spec)
        for key in body:
            if key == "g":
                continue
            if key not in _SETTABLE:
                raise Failed(wire.STATUS_BAD_VALUE, "%s cannot be set" % key, "")
            spec[key] = body[key]
        wrong = check(spec)
        if wrong:
            raise Failed(wire.STATUS_BAD_VALUE, wrong, "")
        self.admit(spec, instance)
        instance.spec = spec
        instance.apply_spec(self.kernel.port.ticks_ms())
        instance.announce = True
        schedule = self.kernel.schedule
        schedule.unexpect(instance)
        if instance.queue is not None and instance.queued is not None:
            schedule.take(instance)
            schedule.put(instance)
        return self.answer(instance)

    # How far limits may add up beyond the board, kept over a reset. Guests that are there stay.
    def set_board(self, body):
        changes = {}
        for key in body:
            if key == "g":
                continue
            value = body[key]
            if key not in _OF_BOARD or not _is_positive(value) or value > _OF_BOARD_MAX:
                raise Failed(wire.STATUS_BAD_VALUE, "%s cannot be set to %r" % (key, value), "")
            changes[key] = value
        self.board.update(changes)
        self.store.keep_settings({key: self.board[key] for key in _OF_BOARD})
        self.kernel.summary.board_due = True
        return {key: self.board[key] for key in _OF_BOARD}

    # Raises Failed unless `spec` fits beside everything but `instance`, which it is to replace.
    def admit(self, spec, instance):
        others = [i.spec for i in self.kernel.instances if i is not instance]
        from . import admission

        old = None if instance is None else instance.spec
        refusal = admission.refuse(spec, others, old, self.board)
        modules.drop(admission)
        if refusal is not None:
            raise Failed(wire.STATUS_REFUSED, *refusal)

    def why(self, body):
        instance = self.instance(body)
        spec = instance.spec
        table = self.kernel.table
        limits = {}
        for key in _SETTABLE:
            limits[key] = spec[key]
        limits["on_overrun"] = spec["on_overrun"]
        state, reason = _names(
            ("STATE_", instance.state), ("REASON_", instance.last_reason or instance.reason)
        )
        answer = {
            "name": instance.name,
            "state": state,
            "reason": reason,
            "where": _fit(instance.last_where, _TEXT_ROOM),
            "what": _fit(instance.last_what, _TEXT_ROOM),
            "at_s": instance.last_s if instance.last_reason else instance.moved_s,
            "limits": limits,
            "used": {
                "cpu_ms": instance.cpu.s * 1000 + instance.cpu.us // 1000,
                "mem_live": table.counts[instance.owner] * table.block,
                "overruns": instance.overruns,
                "kills": instance.kills,
                "failures": instance.failures,
                "restarts": instance.restarts,
                "longest_us": instance.longest_us,
            },
        }
        breach = self.breach(instance)
        if breach:
            answer["breach"] = breach
        room = min(_WHY_LOGS_ROOM, _WHY_ROOM - len(json.dumps(answer).encode()))
        _, lines = instance.log.lines(max(0, instance.log.next - 5))
        lines.reverse()
        lines = _fit_lines(lines, room) if room > 20 else []
        lines.reverse()
        answer["logs"] = lines
        return answer

    # The last missed deadlines of its reservation that the host was told of, None where there are
    # none.
    def breach(self, instance):
        reservation = instance.reservation
        if reservation.last is None:
            return None
        missing, us, kind, by = reservation.last
        return {
            "count": reservation.breaches,
            "missing_us": missing,
            "cause": _names(("BLACKOUT_", kind))[0],
            "by": "".join([i.name for i in self.kernel.instances if i.id == by]),
            "length_us": us,
        }

    def logs(self, body):
        instance = self.instance(body)
        first, lines = instance.log.lines(body.get("from", 0))
        lines = _fit_lines(lines, _LOGS_ROOM)
        return {"first": first, "next": first + len(lines), "lines": lines}

    # A page of the board's journal, oldest event first.
    def journal(self, body):
        from . import journal

        try:
            return journal.page(self.kernel.hooks.root, body.get("from", 0), _names)
        finally:
            modules.drop(journal)

    def inspect(self, body):
        instance = self.instance(body)
        from . import inspect

        try:
            return inspect.inspect(self.kernel, instance, bool(body.get("collect")))
        finally:
            modules.drop(inspect)

    # --- deploy ---

    def begin(self, body):
        self.end_deploy()
        from . import deploy

        self.deploy = deploy.Deploy(self.store)
        self.deploy.begin(body["image"], body["digest"], body["size"])

    def under_way(self):
        if self.deploy is None:
            raise Failed(wire.STATUS_WRONG_STATE, "no deploy is under way", "begin it again")
        return self.deploy

    def end_deploy(self):
        if self.deploy is not None:
            self.deploy.abort()
            self.deploy = None
            from . import deploy

            modules.drop(deploy)

    def file(self, body):
        self.under_way().file(body["path"], body["size"], body["sha"])

    def put(self, body):
        offset = struct.unpack_from("<I", body)[0]
        return {"got": self.under_way().put(offset, memoryview(body)[4:])}

    def abort(self, body):
        self.end_deploy()
        self.store.sweep()

    def commit(self, body):
        lifecycle = self.kernel.lifecycle
        under_way = self.under_way()
        under_way.check_complete()
        name = under_way.name
        # Look before the switch: an image that does not fit leaves the old one running.
        candidate = self.read(under_way)
        old = lifecycle.find(name)
        self.admit(candidate.spec, old)
        if old is None and len(self.kernel.instances) >= self.kernel.capacity:
            raise Failed(
                wire.STATUS_REFUSED,
                "the board holds %d guests at most" % self.kernel.capacity,
                "remove one with guesthouse rm",
            )
        under_way.commit()
        under_way = None
        self.end_deploy()
        if old is not None:
            lifecycle.remove(old)
        self.store.sweep()
        instance = self.install(name)
        if body.get("start", True):
            self.launch(instance, wire.REASON_DEPLOYED)
        return self.answer(instance)

    # The image that a deploy has brought.
    def read(self, under_way):
        try:
            return self.store.read(under_way.name, under_way.folder, under_way.digest, 0)
        except BadImage as error:
            raise Failed(wire.STATUS_BAD_VALUE, str(error), "deploy it with guesthouse deploy")

    # Makes the instance of an installed image. Raises BadImage.
    def install(self, name):
        self.images = self.images % 255 + 1
        return self.kernel.lifecycle.create(self.store.load(name, self.images))
