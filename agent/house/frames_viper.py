# The frame table's walks over memory, in viper. frames_plain.py says the same in plain
# Python; the same tests run both, and tools/bench/frames.py shows the gain.
#
# A native loop cannot be interrupted by the slot method, so a sync is never half done.

from array import array

import micropython
from micropython import const
from uctypes import addressof

from . import modules
from .frames import FrameTable, OWNERS_PAD
from .wire import AGENT

# The context: addresses as pairs of 32-bit words (low, high), so that the same code reads
# them on 32 and 64 bits, then numbers. One object to look up instead of eight.
_TABLE = const(0)
_SHADOW = const(2)
_OWNERS = const(4)  # of the first block, behind the padding
_COUNTS = const(6)
_ALLOCATED = const(8)
_BOUNDS = const(10)
_CLOCK = const(12)
_LENGTH_WORD = const(14)
_LENGTH = const(16)  # of the table in bytes
_STRIDE = const(17)  # 32-bit words in a machine word
_LOW = const(18)  # lowest byte that could have a free block, at the last sync
_END = const(19)  # one past the last byte in use, at the last sync, in steps of 8
_TICKS = const(20)  # allocation clock at the last sync
_SKIPS = const(21)  # 1 where the port has a skip()
_AT = const(22)  # for that: where it begins, and where it may end
_STOP = const(23)
_RESERVE = const(24)  # the agent's, in table bytes
_SLACK = const(25)  # what a slice may take beyond its guest's limit, in blocks
_CONTEXT_SIZE = const(26)

# Words of a meter, and what stands for no limit; see meter.py.
_OWNER = const(14)
_LIMIT = const(35)
_NO_LIMIT = const(0x3FFFFFFF)

# Long stretches without change are skipped: by the port's skip() if it has one, else, where memcmp
# compares many bytes at once, by that, in pieces of the table. A comparison of two objects costs as
# much as this many bytes in the loop.
_PIECE_BITS = const(10)
_WORTHWHILE = const(128)


# Address of the collector's state in [low, high), or 0. `probe` lies in the pool, `unit`
# is the number of bytes in the pool for each byte in the table.
def scan(port, low, high, probe, unit):
    from . import scan_viper

    try:
        return scan_viper.scan(port, low, high, probe, unit)
    finally:
        modules.drop(scan_viper)


class Table(FrameTable):
    def _setup(self):
        context = array("I", [0] * _CONTEXT_SIZE)
        layout = self.layout
        for index, address in (
            (_TABLE, layout.table),
            (_SHADOW, addressof(self._shadow)),
            (_OWNERS, addressof(self._owners) + OWNERS_PAD),
            (_COUNTS, addressof(self.counts)),
            (_ALLOCATED, addressof(self.allocated)),
            (_BOUNDS, layout.low_word),
            (_CLOCK, layout.clock_word),
            (_LENGTH_WORD, layout.length_word),
        ):
            context[index] = address & 0xFFFFFFFF
            context[index + 1] = address >> 32
        context[_LENGTH] = layout.length
        context[_STRIDE] = self._word >> 2
        self._context = context
        self._skip = getattr(layout.port, "skip", None)
        if self._skip:
            context[_SKIPS] = 1
        elif self._word == 8:
            self._skip = self._in_pieces()

    def _in_pieces(self):
        length = self.layout.length
        live = memoryview(self._table)
        known = memoryview(self._shadow)
        pieces = []
        for start in range(0, length, 1 << _PIECE_BITS):
            stop = min(start + (1 << _PIECE_BITS), length)
            pieces.append(live[start:stop])
            pieces.append(known[start:stop])
        return tuple(pieces)

    def _rescan(self):
        self._context[_LOW] = 0

    # Between two syncs only bytes from the lowest that could have a free block up to the
    # last one in use can have changed, and both ends are taken from then and now.
    @micropython.viper
    def sync(self, owner: int) -> int:
        words = self._context
        context = ptr32(words)
        bounds = ptr32(int(context[_BOUNDS]) | (int(context[_BOUNDS + 1]) << 32))
        table = int(context[_TABLE]) | (int(context[_TABLE + 1]) << 32)
        shadow = int(context[_SHADOW]) | (int(context[_SHADOW + 1]) << 32)
        counts = ptr32(int(context[_COUNTS]) | (int(context[_COUNTS + 1]) << 32))
        length = int(context[_LENGTH])
        stride = int(context[_STRIDE])

        now = int(bounds[0])
        offset = int(context[_LOW])
        context[_LOW] = now
        if now < offset:
            offset = now
        offset = (offset >> 3) << 3
        now = ((int(bounds[stride]) >> 5) << 3) + 8
        end = int(context[_END])
        context[_END] = now
        if now > end:
            end = now
        if end > length:
            end = length

        # A sum of its own: a collection sets the clock back to zero.
        clock = ptr32(int(context[_CLOCK]) | (int(context[_CLOCK + 1]) << 32))
        now = int(clock[0])
        before = int(context[_TICKS])
        context[_TICKS] = now
        if now != before:
            if now > before:
                now -= before
            allocated = ptr32(int(context[_ALLOCATED]) | (int(context[_ALLOCATED + 1]) << 32))
            allocated[owner] = int(allocated[owner]) + now

        owners = ptr16(int(context[_OWNERS]) | (int(context[_OWNERS + 1]) << 32))
        kinds = ptr8(table)
        known = ptr8(shadow)
        skip = self._skip
        skips = int(context[_SKIPS])
        context[_STOP] = end
        while offset < end:
            stop = end
            if skips:
                context[_AT] = offset
                offset = int(skip(words))
                if offset >= end:
                    break
                if offset + 32 < end:
                    stop = offset + 32
            elif stride == 2:
                piece = offset >> _PIECE_BITS
                stop = (piece + 1) << _PIECE_BITS
                if stop > end:
                    stop = end
                if stop - offset > _WORTHWHILE and skip[2 * piece] == skip[2 * piece + 1]:
                    offset = stop
                    continue
            while offset < stop:
                a = ptr32(table + offset)
                b = ptr32(shadow + offset)
                if (
                    offset + 32 <= stop
                    and int(a[0]) == int(b[0])
                    and int(a[1]) == int(b[1])
                    and int(a[2]) == int(b[2])
                    and int(a[3]) == int(b[3])
                    and int(a[4]) == int(b[4])
                    and int(a[5]) == int(b[5])
                    and int(a[6]) == int(b[6])
                    and int(a[7]) == int(b[7])
                ):
                    offset += 32
                    continue
                if int(a[0]) == int(b[0]) and int(a[1]) == int(b[1]):
                    offset += 8
                    continue
                last = offset + 8
                if last > length:
                    last = length  # the last step reads past the table, into the next one
                while offset < last:
                    kind = int(kinds[offset])
                    if kind == int(known[offset]):
                        offset += 1
                        continue
                    known[offset] = kind
                    group = int(owners[offset])
                    previous = int(owners[offset - 1]) >> 12
                    if kind == 0xAA and group == 0:
                        # four new tails: the middle of a large object
                        owners[offset] = previous * 0x1111
                        counts[previous] = int(counts[previous]) + 4
                        counts[0] = int(counts[0]) + 4
                        offset += 1
                        continue
                    fresh = 0
                    shift = 0
                    while shift < 16:
                        who = (group >> shift) & 15
                        what = kind & 3
                        kind = kind >> 2
                        if what == 0:
                            if who:
                                counts[who] = int(counts[who]) - 1
                                counts[0] = int(counts[0]) - 1
                            who = 0
                        elif who == 0:
                            if what == 1:
                                who = owner
                            else:
                                who = previous
                            counts[who] = int(counts[who]) + 1
                            counts[0] = int(counts[0]) + 1
                        fresh = fresh | (who << shift)
                        previous = who
                        shift += 4
                    owners[offset] = fresh
                    offset += 1
        return int(counts[owner])

    def keep_back(self, reserve, slack):
        self._context[_RESERVE] = reserve >> 2
        self._context[_SLACK] = slack

    # The new length never cuts off a block in use: a collection that runs while the cap is
    # on must see them all.
    @micropython.viper
    def cap(self, words):
        context = ptr32(self._context)
        bounds = ptr32(int(context[_BOUNDS]) | (int(context[_BOUNDS + 1]) << 32))
        word = ptr32(int(context[_LENGTH_WORD]) | (int(context[_LENGTH_WORD + 1]) << 32))
        used = (int(bounds[int(context[_STRIDE])]) >> 2) + 1
        capped = int(context[_LENGTH]) - int(context[_RESERVE])
        m = ptr32(words)
        most = int(m[_LIMIT])
        if most != _NO_LIMIT:
            counts = ptr32(int(context[_COUNTS]) | (int(context[_COUNTS + 1]) << 32))
            # Holes below the highest block in use come on top: a large block may not fit there.
            room = most + int(context[_SLACK]) - int(counts[int(m[_OWNER])])
            if room < 0:
                room = 0
            room = used + (room >> 2)
            if room < capped:
                capped = room
        if capped < used:
            capped = used
            if used > int(context[_LENGTH]):
                capped = int(context[_LENGTH])
        word[0] = capped

    @micropython.viper
    def capped(self) -> bool:
        context = ptr32(self._context)
        word = ptr32(int(context[_LENGTH_WORD]) | (int(context[_LENGTH_WORD + 1]) << 32))
        return int(word[0]) != int(context[_LENGTH])

    @micropython.viper
    def uncap(self):
        context = ptr32(self._context)
        word = ptr32(int(context[_LENGTH_WORD]) | (int(context[_LENGTH_WORD + 1]) << 32))
        word[0] = context[_LENGTH]

    def forget(self, owner, heir=AGENT):
        blocks = self.counts[owner]
        self._hand_over(owner, heir)
        self.allocated[owner] = 0
        return blocks

    @micropython.viper
    def _hand_over(self, owner: int, heir: int):
        context = ptr32(self._context)
        counts = ptr32(int(context[_COUNTS]) | (int(context[_COUNTS + 1]) << 32))
        owners = ptr16(int(context[_OWNERS]) | (int(context[_OWNERS + 1]) << 32))
        left = int(counts[owner])
        counts[heir] = int(counts[heir]) + left
        counts[owner] = 0
        offset = 0
        while left > 0:
            group = int(owners[offset])
            if group:
                shift = 0
                while shift < 16:
                    if (group >> shift) & 15 == owner:
                        group = group ^ ((owner ^ heir) << shift)
                        left -= 1
                    shift += 4
                owners[offset] = group
            offset += 1

    @micropython.viper
    def largest_free(self) -> int:
        context = ptr32(self._context)
        kinds = ptr8(int(context[_TABLE]) | (int(context[_TABLE + 1]) << 32))
        length = int(context[_LENGTH])
        each = 0x5555
        each |= each << 16  # one bit of each block
        longest = 0
        run = 0
        offset = 0
        while offset < length:
            if offset & 3 == 0:
                # sixteen blocks that are all in use, as most are
                kind = int(ptr32(int(kinds) + offset)[0])
                if (kind | (kind >> 1)) & each == each:
                    if run > longest:
                        longest = run
                    run = 0
                    offset += 4
                    continue
            kind = int(kinds[offset])
            offset += 1
            if kind == 0:
                run += 4
                continue
            shift = 0
            while shift < 8:
                if (kind >> shift) & 3:
                    if run > longest:
                        longest = run
                    run = 0
                else:
                    run += 1
                shift += 2
        if run > longest:
            longest = run
        return longest
