# The frame table's walks over memory in plain Python: the twin of frames_viper.py, for
# interpreters without a native code generator, and the reference for its tests.

from array import array

from micropython import const

from .frames import FrameTable, OWNERS_PAD
from .meter import LIMIT, NO_BLOCKS_MAX, OWNER
from .wire import AGENT

_LONGEST_TABLE = const(0x1000000)
# What the search reads behind the address that it looks at, in words.
_AREA_WORDS = const(6)
# The search copies memory in pieces, in words.
_PIECE = const(512)

# Table bytes that are compared at a time, by memcmp. Each piece costs two memoryviews.
_CHUNK = const(128)


# Address of the collector's state in [low, high), or 0. `probe` lies in the pool, `unit`
# is the number of bytes in the pool for each byte in the table.
def scan(port, low, high, probe, unit):
    word = port.WORD
    code = "Q" if word == 8 else "I"
    while high - low > _AREA_WORDS * word:
        size = min(high - low, (_PIECE + _AREA_WORDS) * word)
        memory = array(code, port.view(low, size))
        for index in range(len(memory) - _AREA_WORDS + 1):
            length = memory[index + 1]
            if not 0 < length < _LONGEST_TABLE:
                continue
            if memory[index] + length + 1 != memory[index + 2]:
                continue
            for first in (index + 3, index + 4):
                pool = memory[first]
                if pool + length * unit == memory[first + 1] and pool <= probe < memory[first + 1]:
                    return low + index * word
        low += _PIECE * word
    return 0


class Table(FrameTable):
    # The walk is a generator that is only ever resumed: a frame as large as its own would be
    # allocated at every call, and be seen by the very walk that runs in it.
    _reserve = _slack = 0

    def _setup(self):
        self._walker = self._walk()
        next(self._walker)

    # This twin always looks at the whole table.
    def _rescan(self):
        pass

    def sync(self, owner):
        self._walker.send(owner)
        return self.counts[owner]

    def _walk(self):
        length = self.layout.length
        live = self._table
        shadow = memoryview(self._shadow)[:length]
        chunks = [
            (start, memoryview(live)[start : start + _CHUNK], shadow[start : start + _CHUNK])
            for start in range(0, length, _CHUNK)
        ]
        counts = self.counts
        owners = self._owners
        clock = self._clock
        allocated = self.allocated
        ticks = 0
        while True:
            owner = yield
            new = _low_word(clock)
            if new != ticks:
                # a collection sets the clock back to zero
                allocated[owner] += new - ticks if new > ticks else new
                ticks = new
            if live == shadow:
                continue
            for start, table, known in chunks:
                if table == known:
                    continue
                for offset in range(len(table)):
                    kind = table[offset]
                    if kind == known[offset]:
                        continue
                    known[offset] = kind
                    pair = OWNERS_PAD + 2 * (start + offset)
                    previous = owners[pair - 1] >> 4
                    for number in range(4):
                        place = pair + (number >> 1)
                        pairs = owners[place]
                        who = pairs >> 4 if number & 1 else pairs & 15
                        what = kind & 3
                        kind >>= 2
                        if what == 0:
                            if who:
                                counts[who] -= 1
                                counts[0] -= 1
                            who = 0
                        elif who == 0:
                            # a head is the runner's, a tail belongs to the block before it
                            who = owner if what == 1 else previous
                            counts[who] += 1
                            counts[0] += 1
                        owners[place] = pairs & 15 | who << 4 if number & 1 else pairs & 240 | who
                        previous = who

    def keep_back(self, reserve, slack):
        self._reserve = reserve
        self._slack = slack

    # The new length never cuts off a block in use: a collection that runs while the cap is
    # on must see them all.
    def cap(self, words):
        length = self.layout.length
        used = (_low_word(self._high) >> 2) + 1
        capped = length - (self._reserve >> 2)
        most = words[LIMIT]
        if most != NO_BLOCKS_MAX:
            # Holes below the highest block in use come on top: a large block may not fit there.
            room = most + self._slack - self.counts[words[OWNER]]
            capped = min(capped, used + (max(room, 0) >> 2))
        self._set_length(min(max(capped, used), length))

    def capped(self):
        return _low_word(self._length) != self.layout.length

    def uncap(self):
        self._set_length(self.layout.length)

    def _set_length(self, length):
        word = self._length
        for index in range(4):
            word[index] = length & 255
            length >>= 8

    def forget(self, owner, heir=AGENT):
        blocks = self.counts[owner]
        owners = self._owners
        left = blocks
        place = OWNERS_PAD
        while left:
            pairs = owners[place]
            if pairs & 15 == owner:
                pairs = pairs & 240 | heir
                left -= 1
            if pairs >> 4 == owner:
                pairs = pairs & 15 | heir << 4
                left -= 1
            owners[place] = pairs
            place += 1
        self.counts[heir] += blocks
        self.counts[owner] = 0
        self.allocated[owner] = 0
        return blocks

    def largest_free(self):
        longest = run = 0
        for kind in self._table:
            if kind == 0:
                run += 4
                continue
            for _ in range(4):
                if kind & 3:
                    longest = max(longest, run)
                    run = 0
                else:
                    run += 1
                kind >>= 2
        return max(longest, run)


# The lower 30 bits of a word in live memory: enough for counts of blocks, and never a
# larger integer, which would be an allocation.
def _low_word(view):
    return view[0] | view[1] << 8 | view[2] << 16 | (view[3] & 63) << 24
