# A ring of fixed-size records, filled in place.

from micropython import const

from .wire import RECORD_SIZE

_SIZE = const(32)


# Holds `capacity` records of wire.RECORD_SIZE bytes. A writer takes room, packs into
# `data` and commits with one store; a guest stopped half way leaves nothing behind.
class Ring:
    def __init__(self, capacity):
        self.slots = self.head = self.tail = 0
        self.dropped = 0
        self.open(capacity)

    # Makes room for at least `capacity` records, unless the ring holds some right now.
    def open(self, capacity):
        if self.slots > capacity or self.head != self.tail:
            return
        self.data = bytearray((capacity + 1) * RECORD_SIZE)
        self.slots = capacity + 1
        self.head = 0  # next slot to fill
        self.tail = 0  # oldest filled slot

    def room(self):
        return (self.tail - self.head - 1) % self.slots

    def used(self):
        return (self.head - self.tail) % self.slots

    # The offset of the n-th free slot; the caller has asked for room().
    def offset(self, n=0):
        return (self.head + n) % self.slots * _SIZE

    # The offset of a free slot, or -1 and one more dropped record.
    def take(self):
        head = self.head
        if (head + 1) % self.slots == self.tail:
            self.dropped += 1
            return -1
        return head * _SIZE

    def commit(self, n=1):
        self.head = (self.head + n) % self.slots

    # Copies the oldest record to buf[at:] and frees its slot; the ring must not be empty.
    def move(self, buf, at):
        start = self.tail * _SIZE
        buf[at : at + _SIZE] = self.data[start : start + _SIZE]
        self.tail = (self.tail + 1) % self.slots
