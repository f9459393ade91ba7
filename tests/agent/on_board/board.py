# A whole board inside a test: the real agent on the real port, with a serial line of lists.

import json
import os

from house import boot, wire
from house.image import make_folders, remove_tree
from house.ports import unix, unix_heap

# The quotas of a guest that asks for none.
SPEC = {
    "name": "",
    "version": "1",
    "entry": "async",
    "kind": "task",
    "autostart": True,
    "criticality": 5,
    "trust": "own",
    "cpu_max_us": None,
    "cpu_period_us": 100000,
    "cpu_min_us": None,
    "cpu_min_period_us": None,
    "weight": 100,
    "slice_max_us": 5000,
    "on_overrun": "kill",
    "mem_min": None,
    "mem_high": None,
    "mem_max": None,
    "storage_max": None,
    "restart": "never",
    "backoff_min_s": 1,
    "backoff_max_s": 60,
    "load_max_us": None,
    "devices": {},
}


# The Unix port, but for its line.
class Port:
    def __init__(self):
        for name in dir(unix):
            if not name.startswith("__") and not hasattr(Port, name):
                setattr(self, name, getattr(unix, name))
        self.out = 0

    def open_serial(self):
        pass

    def close_serial(self):
        pass

    def serial_read(self, buf):
        return 0

    def serial_write(self, buf, n):
        self.out += n
        return n


class Board:
    left_open = []  # what the runner closes in the place of a test that failed

    def __init__(self):
        self.root = "/tmp/guesthouse-test-%d" % int.from_bytes(os.urandom(4), "little")
        make_folders(self.root)
        self.port = Port()
        self.kernel, self.commands = boot.assemble(self.port, unix_heap, self.root, "test")
        self.transitions = []
        telemetry = self.kernel.telemetry
        record = telemetry.transition

        def transition(owner, old, new, reason, a=0, b=0, c=0, where="", what=""):
            self.transitions.append((owner, new, reason, a, b, c, where, what))
            record(owner, old, new, reason, a, b, c, where, what)

        telemetry.transition = transition
        self.left_open.append(self)

    # Installs a guest from source and starts it; returns the instance.
    def guest(self, name, source, files=(), **spec):
        full = dict(SPEC)
        full.update(spec)
        full["name"] = name
        store = self.commands.store
        folder = store.folder + "/" + name + "-1"
        make_folders(folder)
        for path, text in (("main.py", source), ("guest.json", json.dumps(full))) + tuple(files):
            with open(folder + "/" + path, "w") as f:
                f.write(text)
        store.switch(name, name + "-1", "00" * 32)
        instance = self.commands.install(name)
        self.kernel.lifecycle.start(instance, wire.REASON_START)
        return instance

    # Runs the board until `done()` or for `ms`.
    def run(self, ms, done=None):
        kernel = self.kernel
        end = unix.ticks_ms() + ms
        while unix.ticks_ms() < end and not (done and done()):
            kernel.step()

    # Runs until the instance has ended; returns (state, reason, a, b, c, where, what).
    def end(self, instance, ms=5000):
        self.run(ms, lambda: not self.kernel.lifecycle.alive(instance))
        for owner, new, reason, a, b, c, where, what in reversed(self.transitions):
            if owner == instance.id and wire.STATE_STOPPED <= new <= wire.STATE_KILLED:
                return new, reason, a, b, c, where, what
        return (instance.state,)

    def close(self):
        self.left_open.remove(self)
        boot.leave(self.kernel)
        remove_tree(self.root)
