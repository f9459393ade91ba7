# An instance: one running copy of an image, with its quotas, accounts and counters.

import binascii
from array import array

from micropython import const

from . import meter, wire
from .clock import Account
from .cpu import Limit, Reservation
from .logtail import LogTail
from .restart import RestartPolicy

_LOG_RATE = const(50)  # lines a second that reach the host
_LOG_BURST = const(100)

_RESTART = {
    "never": wire.RESTART_NEVER,
    "on-failure": wire.RESTART_ON_FAILURE,
    "always": wire.RESTART_ALWAYS,
}


class Instance:
    # What few instances ever change takes no room in the others.
    overruns = 0
    kills = 0
    restarts = 0
    failures = 0
    collections = 0
    last_reason = wire.REASON_NONE
    last_where = ""
    last_what = ""
    last_s = 0
    log_dropped = 0
    metrics = 0
    refill = None  # its second node, once it has needed one
    refilling = False  # that stands among the sleepers
    throttled_since = 0
    announce = False
    load_us = 0  # CPU time of this load
    stopping = None  # when a stop that was asked for becomes a kill, in ms
    verdict = (0, 0)  # the numbers that go with it
    then = wire.REASON_NONE  # what to do after it ended, if not what the policy says
    buffer = None  # what its manifest reserves, from its first start on
    kept = 0  # blocks of that
    left = 0  # blocks that its last run left; some of them a pointer may keep for a while
    collected = -1  # slices before the last one with a collection in its midst
    suspendable = 0  # or the port's mark of a limit at which a slice is suspended

    def __init__(self, ident, owner, image, index, port, block):
        self.id = ident  # in records
        self.owner = owner  # in the frame table
        self.image = image
        self.index = index
        self.name = "%s.%d" % (image.name, index)
        # Names it in a register that survives a reset; ids are given anew at each boot.
        self.tag = (binascii.crc32(self.name.encode()) & 0x3FFFFFFF) or 1
        self.spec = spec = image.spec  # changed as a whole only
        self.state = wire.STATE_STOPPED
        self.reason = wire.REASON_DEPLOYED
        now = port.ticks_ms()
        # What a slice changes; see meter.py for the words.
        self.meter = words = array("i", [0] * meter.WORDS)
        words[meter.OWNER] = owner
        self.block = block  # bytes
        self.node = None
        self.cpu = Account(words)
        self.limit = Limit(None, 1, now, words)
        self.reservation = Reservation(None, 1, now, words)
        self.restart = RestartPolicy(
            _RESTART[spec["restart"]], spec["backoff_min_s"], spec["backoff_max_s"]
        )
        self.load_max_us = spec["load_max_us"] or max(port.LOAD_MAX_US, spec["slice_max_us"])
        self.apply_spec(now)

        self.throttled = Account()
        self.waited_ms = 0  # it could run and did not, modulo 2**16
        self.started = 0  # clock second of the last start
        self.moved_s = 0  # clock second of the last change of state that was recorded

        self.log = LogTail(port.LOG_TAIL)
        self.partial = ""  # a printed line that has no end yet
        self.log_tokens = _LOG_BURST

        # The scheduler's. `node` is the instance's place in one of the kernel's queues.
        self.queued = None
        self.condemned = wire.REASON_NONE  # why the next slice is to be the last

        # The guest's own; all of it is dropped when the guest ends.
        self.drop()

    # So many records tell of it, for which the line will bill it. A word like the others: one more
    # attribute would make every instance's dictionary larger.
    def tells(self, records):
        self.meter[meter.SAID] += records

    # It pays for what the agent did on its account.
    def bill(self, us):
        self.cpu.add(us)
        self.limit.charge(us)

    # What its slices need, where nothing about them is out of the ordinary: in the node, which the
    # kernel has in hand, because each look at an attribute of an instance takes time.
    def be_easy(self):
        self.meter[meter.RESERVES] = 1 if self.spec["cpu_min_us"] else 0
        self.node.state = (
            self,
            self.meter,
            self.queue,
            self.io,
            self.modules,
            self.image.folder,
            self.owner,
            self.limit_us,
            self.tag,
        )

    # The next slice is out of the ordinary.
    def be_careful(self):
        if self.node is not None:
            self.node.state = None

    # Copies what the dispatch path reads out of the spec.
    def apply_spec(self, now):
        spec = self.spec
        self.slice_max_us = slice_us = spec["slice_max_us"]
        self.limit_us = slice_us | self.suspendable
        least = spec["cpu_min_us"]
        # What it gets by weight leaves as much of its limit as its reservation may then need.
        self.limit.set(
            spec["cpu_max_us"],
            spec["cpu_period_us"] // 1000,
            now,
            least + slice_us if least else 0,
        )
        self.reservation.set(
            least, (spec["cpu_min_period_us"] or spec["cpu_period_us"]) // 1000, now
        )
        self.be_careful()
        self.mem_max = spec["mem_max"]
        self.min_blocks = -(-(spec["mem_min"] or 0) // self.block)
        words = self.meter
        self.watch_memory(None)
        words[meter.WEIGHT] = spec["weight"]
        words[meter.RESERVES] = 1 if least else 0

    # Sets how many blocks it may hold until somebody looks: its soft limit, or its hard one once
    # it is above the soft one. There its garbage is collected at half of what is left, and so on.
    def watch_memory(self, held):
        spec = self.spec
        block = self.block
        limit = spec["mem_max"]
        high = spec["mem_high"]
        most = meter.NO_BLOCKS_MAX if limit is None else limit // block
        self.meter[meter.LIMIT] = most
        self.warned = held is not None
        if held is not None:
            most = min(most, held + max(1, (min(most, 2 * held) - held) // 2))
        elif high is not None:
            most = min(most, high // block)
        self.meter[meter.BLOCKS_MAX] = most

    @property
    def slices(self):
        return self.meter[meter.SLICES]

    @property
    def longest_us(self):
        return self.meter[meter.LONGEST]

    @property
    def peak_blocks(self):
        return self.meter[meter.PEAK]

    def drop(self):
        self.be_careful()
        self.reservation.idle = True
        self.queue = None  # its tasks, by time
        self.over = 0  # collections in a row that left it above its memory limit
        self.io = None  # its streams that wait
        self.main = None  # the task whose end is the guest's end
        self.plain = False  # main is a plain generator, not a coroutine
        self.loading = None  # the loader's task until main exists
        self.polling = False  # an errand looks after its streams
        self.handler = None  # its loop's exception handler
        self.modules = None  # modules from its own folder, by name
        self.busy = False  # in a part of the agent's that nobody may enter twice
        self.files = None  # files it opened last
        self.partial = ""

    # The log's token bucket, once a second.
    def refill_log(self):
        self.log_tokens = min(_LOG_BURST, self.log_tokens + _LOG_RATE)
