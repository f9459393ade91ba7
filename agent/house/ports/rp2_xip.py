# Execute in place: moves what never changes of the agent out of the heap and into flash.
#
# The RP2040 maps its flash into memory. What the loader has copied into the heap and nobody ever
# writes can lie there as well: the code of functions, the functions, the tables of classes, the
# texts of constants, the names. After the agent's modules are imported this one puts all of it
# together as it shall lie in flash, sector by sector, compares each with what lies there, writes
# those that differ, and turns the pointers at last. The copies in the heap are garbage then.
#
# So what is executed from flash is what was imported in the same boot, byte by byte. Nothing that
# lies there is trusted for a stamp or a sum.
#
# It lies between the firmware and the file system: no file call can move or free it.
#
# Nothing is taken from a version or a fixed address. The structures of the interpreter are proved
# with objects of known content first, and what does not prove itself is left as it is.
# docs/decisions/0014-execute-in-place.md says why this holds.
#
# This module is needed once, at boot: rp2.py lets go of it.

import array
import binascii
import gc
import micropython
import struct
import sys

from machine import mem32
from micropython import const
from rp2 import Flash
from uctypes import addressof
from uctypes import bytearray_at as view

_FLASH = 0x10000000
_FLASH_END = 0x11000000
_RAM = 0x20000000
_RAM_END = 0x20042000

# Which interrupts the USB controller raises: rp2_heap.py says why the word is cleared of frames
# during what takes long.
_USB_ENABLED = 0x50110090
_SET = const(0x2000)  # bytes behind it
_CLEAR = const(0x3000)
_FRAME = const(0x20000)

_VECTORS = const(0x200)  # bytes at the beginning of RAM that hold the interrupts' vectors
_SAMPLE = const(16)  # words by which the rest is recognised in flash

# A function: type, context, children, code. Code of a function inside: kind, code, children. A
# module with its constants: type, globals, table of names, table of constants. A text: type,
# hash, length, data. Offsets in bytes.
_CONTEXT = const(4)
_CHILDREN = const(8)
_CODE = const(12)
_RAW_CODE = const(4)
_RAW_CHILDREN = const(8)
_GLOBALS = const(4)
_NAMES = const(8)
_CONSTANTS = const(12)
_DATA = const(12)
_ITEMS = const(8)  # of a tuple: type, length, items

# A dictionary: type, flags and how many, room, table of keys and values.
_FLAGS = const(4)
_PLACES = const(8)
_TABLE = const(12)
_FIXED = const(2)  # the flag of one that cannot be written
_USED = const(3)  # bits of flags

# A pool of names: the pool before, how many names are in those before, room, names in it, their
# hashes, their lengths; then where their texts lie.
_POOL = const(24)  # bytes before the places of the texts
_TEXT_PIECE = const(512)  # bytes of texts that lie together; a name has up to 256
_COUNT = const(0x7FFFFFFF)  # the last bit says whether the pool is sorted
_PAIRS = const(128)  # words of pointers to be turned in one array
_POOL_ROOM = const(16)  # half of the room that the interpreter makes in the pool that follows

_SECTOR = const(4096)
_PAGE = const(256)
_PIECE = const(512)  # bytes that are compared at a time
_SECTORS = const(24)  # below the file system: ours, or nobody's
_CLAIM = b"Guesthouse: code"  # the beginning of the last of them, once they are ours

# The firmware says about itself where it ends, in what the Pico's SDK calls binary information: a
# mark, where the entries' addresses begin and end, a table, another mark; an entry is type and tag,
# number, value.
_INFO = const(0x7188EBF2)
_INFO_END = const(0xE71AA390)
_INFO_LAST = const(1280)  # bytes of the firmware in which the mark is
_INFO_INT = const(0x50520005)  # a number, of the chip's maker
_INFO_BINARY_END = const(0x68F465DE)

_LIVE = const(1)  # first block of something that can be moved
_TEXTS = const(2)  # first block of names' texts
_BEHIND = const(3)  # block that is not the first
_SKIP = const(4)  # block whose pointers will be gone
_PINNED = const(8)

# Whose names are given values while the agent runs. The tables of all others are fixed: who writes
# them meets an exception. tests/agent/test_written_modules.py looks after this list.
_WRITTEN = ("house.ports", "house.guest", "house.ports.rp2", "house.ports.rp2_suspend")

_KEY = const(0x3FFFFFFF)  # bits of a checksum
_ROOM = const(800)  # functions, the agent has 350; modules; classes
_TEXTS_ROOM = const(200)  # allocations with names' texts, it makes 30


class Unfit(Exception):
    pass


# --- walking the heap ---


# Writes into `out` the objects whose type is one of `types`; returns how many there are.
@micropython.viper
def _find(table: ptr8, blocks: int, pool: int, types: ptr32, kinds: int, out: ptr32) -> int:
    n = 0
    for block in range(blocks):
        if (int(table[block >> 2]) >> ((block & 3) << 1)) & 3 == 1:
            at = pool + (block << 4)
            kind = int(ptr32(at)[0])
            for k in range(kinds):
                if int(types[k]) == kind:
                    if n < _ROOM:
                        out[n] = at
                    n += 1
    return n


# Bytes of the allocation that begins there, 0 where none begins.
@micropython.viper
def _size(table: ptr8, pool: int, end: int, address: int) -> int:
    if address < pool or address >= end or address & 15 != 0:
        return 0
    block = (address - pool) >> 4
    if (int(table[block >> 2]) >> ((block & 3) << 1)) & 3 != 1:
        return 0
    last = (end - pool) >> 4
    n = 1
    block += 1
    while block < last and (int(table[block >> 2]) >> ((block & 3) << 1)) & 3 == 2:
        n += 1
        block += 1
    return n << 4


# Pins whatever a word of memory points into, other than to its beginning: code that is being
# run, say. Of names' texts the beginning counts as well. `layout` has what the words below say;
# a word at one of the addresses in `known` is turned with the rest. A word that is as it was at
# power-on, in the flash `distance` bytes away, is older than the heap.
@micropython.viper
def _pin(low: int, high: int, distance: int, layout: ptr32, marks: ptr8, known: ptr32, n: int):
    table = ptr8(int(layout[0]))
    pool = int(layout[1])
    end = int(layout[2])
    while low < high:
        if low >= pool and low < end:
            block = (low - pool) >> 4
            used = (int(table[block >> 2]) >> ((block & 3) << 1)) & 3
            if used == 0 or int(marks[block]) == _SKIP:
                low += 16
                continue
        word = int(ptr32(low)[0])
        low += 4
        if distance != 0 and int(ptr32(low - 4 + distance)[0]) == word:
            continue
        if word >= pool and word < end:
            block = (word - pool) >> 4
            mark = int(marks[block])
            if mark == _BEHIND or mark == _TEXTS or (mark == _LIVE and word & 15 != 0):
                i = 0
                while i < n and int(known[i]) != low - 4:
                    i += 1
                if i == n:
                    while int(marks[block]) == _BEHIND:
                        block -= 1
                    marks[block] = int(marks[block]) | _PINNED


# Writes into `out` the first blocks that are pinned; returns how many there are.
@micropython.viper
def _pinned(marks: ptr8, blocks: int, pool: int, out: ptr32, room: int) -> int:
    n = 0
    for block in range(blocks):
        if int(marks[block]) & _PINNED:
            if n < room:
                out[n] = pool + (block << 4)
            n += 1
    return n


# How far from RAM the flash holds what is there at power-on, 0 where that is not found.
@micropython.viper
def _distance(sample: int, low: int, high: int) -> int:
    own = ptr32(sample)
    while low < high:
        at = ptr32(low)
        if int(at[0]) == int(own[0]):
            i = 1
            while i < _SAMPLE and int(at[i]) == int(own[i]):
                i += 1
            if i == _SAMPLE:
                return low - sample
        low += 4
    return 0


# The word below the heap that points to the last pool of names; 0 if not exactly one does.
@micropython.viper
def _last_pool(low: int, pool: int, end: int) -> int:
    found = 0
    while low < pool:
        word = int(ptr32(low)[0])
        if word >= pool and word < end - 64 and word & 15 == 0:
            at = ptr32(word)
            room = int(at[2])
            used = int(at[3])
            hashes = int(at[4])
            width = int(at[5]) - hashes
            if room > 0 and used >= 0 and used <= room and hashes == word + 24 + 4 * room:
                if width == room or width == room + room:
                    if found != 0:
                        return 0
                    found = low
        low += 4
    return found


# The word below the heap that points to the texts the next name is appended to, behind it their
# room and how much of it is used; 0 if not exactly one does.
@micropython.viper
def _last_texts(low: int, pool: int, end: int, marks: ptr8) -> int:
    found = 0
    while low < pool - 8:
        at = ptr32(low)
        word = int(at[0])
        if word >= pool and word < end and word & 15 == 0:
            if int(marks[(word - pool) >> 4]) == _TEXTS:
                room = int(at[1])
                used = int(at[2])
                if used > 0 and used <= room and room < 65536:
                    if found != 0:
                        return 0
                    found = low
        low += 4
    return found


# Writes into `out` where the allocations begin that hold the texts of `n` names, each once.
@micropython.viper
def _texts(layout: ptr32, names: ptr32, n: int, marks: ptr8, out: ptr32, k: int) -> int:
    table = ptr8(int(layout[0]))
    pool = int(layout[1])
    end = int(layout[2])
    for i in range(n):
        at = int(names[i])
        if at >= pool and at < end:
            block = (at - pool) >> 4
            while (int(table[block >> 2]) >> ((block & 3) << 1)) & 3 == 2:
                block -= 1
            if int(marks[block]) != _TEXTS:
                marks[block] = _TEXTS
                if k < _TEXTS_ROOM:
                    out[k] = pool + (block << 4)
                k += 1
    return k


# Copies texts of `n` names, from the i-th on, as many as find room in `out`; returns the next i.
@micropython.viper
def _gather(names: ptr32, lengths: ptr8, i: int, n: int, out: ptr8) -> int:
    used = 0
    while i < n:
        size = int(lengths[i]) + 1
        if used + size > _TEXT_PIECE:
            break
        text = ptr8(int(names[i]))
        for k in range(size):
            out[used + k] = text[k]
        used += size
        i += 1
    return i


# Where the texts that _gather() has copied lie, with the copy at `base`.
@micropython.viper
def _places(lengths: ptr8, i: int, n: int, base: int, out: ptr32) -> int:
    used = 0
    while i < n:
        size = int(lengths[i]) + 1
        if used + size > _TEXT_PIECE:
            break
        out[i] = base + used
        used += size
        i += 1
    return i


@micropython.viper
def _copy(source: ptr8, to: ptr8, n: int):
    for i in range(n):
        to[i] = source[i]


_told = [0]  # of what _quiet() has cleared


# The USB stack is told of no frames from here on, until the move is over: see rp2_heap.py. Called
# again and again, because a host that opens the port has it told of them anew.
def _quiet():
    told = mem32[_USB_ENABLED] & _FRAME
    if told:
        _told[0] = told
        mem32[_USB_ENABLED + _CLEAR] = told


def _collect():
    _quiet()
    gc.collect()


# Calls machine code that looks at all of the memory.
def _at_length(function, *words):
    _quiet()
    return function(*words)


# --- the flash ---


# Where the file system's first block is mapped.
def _file_system():
    flash = Flash()
    if flash.ioctl(5, 0) != _SECTOR:
        raise Unfit("the file system's blocks have %r bytes" % flash.ioctl(5, 0))
    first = bytearray(_PIECE)
    for base in range(_FLASH, _FLASH_END, _SECTOR):
        for at in range(0, _SECTOR, _PIECE):
            flash.readblocks(0, first, at)
            if view(base + at, _PIECE) != first:
                break
        else:
            return base
    raise Unfit("the file system is not mapped into memory")


# Where the firmware says that it ends.
def _firmware_end():
    for at in range(_FLASH, _FLASH + _INFO_LAST, 4):
        if mem32[at] == _INFO and mem32[at + 16] & 0xFFFFFFFF == _INFO_END:
            for entry in range(mem32[at + 4], mem32[at + 8], 4):
                entry = mem32[entry]
                if mem32[entry] == _INFO_INT and mem32[entry + 4] == _INFO_BINARY_END:
                    return mem32[entry + 8]
    raise Unfit("the firmware does not say where it ends")


def _is_blank(low, high):
    blank = b"\xff" * _PIECE
    for at in range(low, high, _PIECE):
        if view(at, min(_PIECE, high - at)) != blank[: high - at]:
            return False
    return True


# The sectors below the file system.
class _Region:
    def __init__(self):
        self.end = _file_system()
        self.begin = self.end - _SECTORS * _SECTOR
        self.claim = self.end - _SECTOR
        self.sector = bytearray(_SECTOR)  # what is to be written; first, while there is room

    def is_ours(self):
        return view(self.claim, len(_CLAIM)) == _CLAIM

    # Takes them if they are nobody's. Power may fail in the middle of the mark.
    def take(self):
        if _firmware_end() > self.begin:
            raise Unfit("the firmware leaves no room below the file system")
        if self.is_ours():
            return
        if not _is_blank(self.begin, self.claim) or not _is_blank(self.claim + _PAGE, self.end):
            raise Unfit("there is something else in the flash below the file system")
        self.sector[: len(_CLAIM)] = _CLAIM
        self.write(self.claim, len(_CLAIM))

    # The firmware's driver, for these sectors in the place of the file system's.
    def driver(self):
        driver = Flash(start=0, len=_SECTOR)
        if mem32[id(driver) + 8] != _SECTOR or mem32[id(driver) + 4] != self.end - _FLASH:
            raise Unfit("the flash driver is built in another way")
        first = bytearray(_PIECE)
        mem32[id(driver) + 4] = 0
        driver.readblocks(0, first)
        if view(_FLASH, _PIECE) != first:
            raise Unfit("the flash driver cannot be led elsewhere")
        mem32[id(driver) + 4] = self.begin - _FLASH
        mem32[id(driver) + 8] = _SECTORS * _SECTOR
        return driver

    # Writes the first `n` bytes of `sector`. Whatever it is that goes wrong, it is seen by reading.
    def write(self, at, n):
        sector = self.sector
        for i in range(n, _SECTOR):
            sector[i] = 0xFF
        self.driver().writeblocks((at - self.begin) // _SECTOR, sector)
        if view(at, _SECTOR) != sector:
            raise Unfit("the flash does not take what is written")

    def erase(self):
        for sector in range(_SECTORS):  # the mark is in the last one
            if not _is_blank(self.begin + sector * _SECTOR, self.begin + (sector + 1) * _SECTOR):
                self.driver().ioctl(6, sector)


# Takes back what was ever written below the file system. For `guesthouse unflash`: nothing of the
# agent may be in memory.
def erase():
    try:
        region = _Region()
        if region.is_ours() and _firmware_end() <= region.begin:
            region.erase()
    except Unfit:
        pass


# What shall lie in flash, piece behind piece. There is no room for all of it in the heap: it is put
# together sector by sector, each compared with what lies there and, where it differs, written.
class _Image:
    def __init__(self, region, size, feed):
        self.region = region
        self.size = size
        self.feed = feed
        self.end = region.begin

    # Where the piece lies: a buffer, or the address of an allocation, for each of which an object
    # would take too much.
    def add(self, piece):
        at = self.end
        if isinstance(piece, int):
            begin = piece
            left = self.size(piece)
        else:
            begin = addressof(piece)
            left = len(piece)
        if at + left > self.region.claim:
            raise Unfit("there is more than %d kB to move" % (_SECTORS * _SECTOR >> 10))
        sector = addressof(self.region.sector)
        while left:
            used = self.end & _SECTOR - 1
            k = min(left, _SECTOR - used)
            _copy(begin, sector + used, k)
            begin += k
            left -= k
            self.end += k
            while self.end & 3:  # the next one begins at a word
                self.region.sector[self.end & _SECTOR - 1] = 0
                self.end += 1
            if not self.end & _SECTOR - 1:
                self._bring(_SECTOR)
        return at

    # The last of them.
    def finish(self):
        self._bring(self.end & _SECTOR - 1)

    def _bring(self, n):
        self.feed()
        if view(self.end - n, n) != memoryview(self.region.sector)[:n]:
            self.region.write(self.end - n, n)


# --- proofs ---

_TEXT = "a constant that is not a name!"


def _one():
    return 1


def _two():
    return 2


def _outer():
    def inner():
        return _TEXT

    return inner


def _generator():
    yield


@micropython.viper
def _machine_code(a: int) -> int:
    return a + 1


@micropython.native
def _native(a):
    return a + 1


class _Class:
    one = _one


# The dictionary of a class, 0 where there is not just one.
def _members(kind, size, dictionary):
    found = 0
    for at in range(kind, kind + size(kind), 4):
        if size(mem32[at]) and mem32[mem32[at]] == dictionary:
            if found:
                return 0
            found = mem32[at]
    return found


# Shows with objects of known content that the structures are what this file takes them for.
def _prove(size):
    context = mem32[id(_one) + _CONTEXT]
    if (
        mem32[context] != mem32[id(sys)]
        or mem32[context + _GLOBALS] != id(globals())
        or mem32[id(_generator) + _CONTEXT] != context
        or mem32[id(_machine_code) + _CONTEXT] != context
        or mem32[id(_native) + _CONTEXT] != context
        or not size(mem32[id(_machine_code) + _CODE])
        or not size(mem32[id(_native) + _CODE])
    ):
        raise Unfit("functions are built in another way")
    mine = mem32[id(_one) + _CODE]
    if not size(mine):
        raise Unfit("code is kept in another way")
    mem32[id(_one) + _CODE] = mem32[id(_two) + _CODE]
    got = _one()
    mem32[id(_one) + _CODE] = mine
    if got != 2 or _one() != 1:
        raise Unfit("the code of a function cannot be exchanged")
    raw = mem32[mem32[id(_outer) + _CHILDREN]]
    if not size(raw) or mem32[raw + _RAW_CODE] != mem32[id(_outer()) + _CODE]:
        raise Unfit("functions in functions are built in another way")
    if bytes(view(mem32[id(_TEXT) + _DATA], len(_TEXT))) != _TEXT.encode():
        raise Unfit("texts are built in another way")
    names = mem32[context + _NAMES]
    constants = mem32[context + _CONSTANTS]
    if not names < constants <= names + size(names):
        raise Unfit("tables of names are built in another way")
    table = list(array.array("H", view(names, constants - names)))
    for name in ("_one", "_two"):
        if id(name) & 7 != 2 or id(name) >> 3 not in table:
            raise Unfit("tables of names are built in another way")
    words = list(array.array("I", view(constants, size(names) - (constants - names))))
    if id(_TEXT) not in words:
        raise Unfit("tables of constants are built in another way")
    _prove_classes(size)


def _prove_classes(size):
    members = _members(id(_Class), size, mem32[id(globals())])
    if not members or mem32[members + _FLAGS] >> _USED != len(_Class.__dict__):
        raise Unfit("classes are built in another way")
    table = mem32[members + _TABLE]
    places = mem32[members + _PLACES]
    words = list(array.array("I", view(table, 8 * places)))
    if id("one") not in words or words[words.index(id("one")) + 1] != id(_one):
        raise Unfit("dictionaries are built in another way")
    mem32[members + _FLAGS] |= _FIXED
    try:
        _Class.one = _two
    except AttributeError:
        pass
    mem32[members + _FLAGS] &= ~_FIXED
    if _Class.one is not _one:
        raise Unfit("a class cannot be protected")


# --- the move ---

_STACK = """
@micropython.asm_thumb
def stack():
    mov(r0, sp)
"""


# Where the stack ends: what lies below it is nobody's any more, and would pin much.
def _stack_end(lowest):
    scope = {"micropython": micropython}  # type: dict
    try:
        exec(_STACK, scope)
    except SyntaxError:  # another processor
        return lowest
    return scope["stack"]()


# What lies in the heap and can lie in flash as it is: pieces by their checksum, and who points to
# them.
class _Pieces:
    def __init__(self, size, marks, pool):
        self.size = size
        self.marks = marks
        self.pool = pool
        self.pieces = {}
        self.slots = array.array("I")  # addresses of pointers
        self.inner = array.array("I")  # of pointers into code, behind which stands its beginning

    # Bytes that lie in flash whatever they are needed for; returns their checksum.
    def include(self, piece):
        key = binascii.crc32(piece) & _KEY
        if self.bytes_of(self.pieces.setdefault(key, piece)) != piece:
            raise Unfit("two pieces with one checksum")
        return key

    def bytes_of(self, piece):
        return view(piece, self.size(piece)) if isinstance(piece, int) else piece

    # An allocation; how many bytes it has, 0 where it is none.
    def add(self, address):
        size = self.size(address)
        if size:
            key = self.include(view(address, size))
            if not isinstance(self.pieces[key], int):
                self.pieces[key] = address
            if not self.marks[(address - self.pool) >> 4]:
                self.mark(address, _LIVE)
        return size

    def mark(self, address, kind):
        first = (address - self.pool) >> 4
        marks = self.marks
        marks[first] = kind
        for block in range(first + 1, first + (self.size(address) >> 4)):
            marks[block] = _SKIP if kind == _SKIP else _BEHIND

    def slot(self, address):
        if self.add(mem32[address]):
            self.slots.append(address)

    # What is at `at` belongs to code that begins at `code`: a table of functions inside, or a
    # place in native code.
    def children(self, at, code):
        table = mem32[at]
        if not table:
            return
        if code < table < code + self.size(code):
            self.inner.append(at)
            self.inner.append(code)
            return
        for at in range(table, table + self.size(table), 4):
            raw = mem32[at]
            if self.size(raw) and mem32[raw] & 0xFFFF == 0:
                self.slot(raw + _RAW_CODE)
                self.children(raw + _RAW_CHILDREN, mem32[raw + _RAW_CODE])
            elif code < raw < code + self.size(code):
                self.inner.append(at)
                self.inner.append(code)

    # Gives each its place.
    def place(self, image):
        pieces = self.pieces
        for key in sorted(pieces):
            pieces[key] = image.add(pieces[key])

    # Where an allocation will lie; what is in flash already stays there.
    def placed(self, address):
        size = self.size(address)
        return self.pieces[binascii.crc32(view(address, size)) & _KEY] if size else address


# Moves what can be moved; returns None or why nothing was. Into `kept` goes what must not be freed
# from then on. `feed` is called for each sector that is written: they may take 8 s in all. From
# `room` is taken a buffer with a byte for each block of the heap.
def move(layout, room, kept, feed):
    try:
        _move(layout, room, kept, feed)
    except Unfit as error:
        return error.args[0]
    finally:
        mem32[_USB_ENABLED + _SET] = _told[0]


def _move(layout, room, kept, feed):
    pool = layout.pool
    end = layout.end
    blocks = (end - pool) >> 4
    if layout.block != 16:
        raise Unfit("blocks of %d bytes" % layout.block)
    table = layout.table

    def size(address):
        return _size(table, pool, end, address)

    _prove(size)
    stack = _stack_end(end)
    # what is garbage now would be taken for the agent's, and be gone when its pointers are turned
    _collect()
    region = _Region()
    pieces = _Pieces(size, room.pop(), pool)
    code = _Code(layout, pieces)
    _collect()
    names = _Names(layout, pieces)
    if region.begin <= names.before < region.end:
        # not ours to write anew: the interpreter reads names from there
        raise Unfit("names are in flash since an earlier start without a reset")
    distance = _at_length(_distance, _RAM + _VECTORS, _FLASH, region.begin)
    heap = array.array("I", (table, pool, end))
    known = array.array("I", pieces.inner)
    known.append(names.texts)
    for low, high, away in (
        (_RAM + _VECTORS, pool, distance),
        (_RAM, _RAM + _VECTORS, 0),
        (pool, end, 0),
        (stack, _RAM_END, 0),
    ):
        _at_length(_pin, low, high, away, heap, pieces.marks, known, len(known))
    keep = array.array("I", bytes(4 * _ROOM))
    n = _at_length(_pinned, pieces.marks, blocks, pool, keep, _ROOM)
    if n > _ROOM:
        raise Unfit("%d pieces are in use" % n)
    keep = keep[:n]
    pieces.marks = None
    names.add()
    _collect()
    region.take()
    image = _Image(region, size, feed)
    pieces.place(image)
    _collect()  # often: the heap would be in pieces when the collector comes by itself
    last = image.add(names.pool())
    turns = code.turns(image)
    _collect()
    image.finish()
    kept.append((keep, array.array("I", code.keep)))
    try:
        names.switch(last, id(turns))
    except Unfit:
        kept.clear()
        raise
    turns.run()


# Pointers to be turned: addresses in pairs. Many small arrays, because the heap is in pieces.
class _Turns:
    def __init__(self):
        self.pairs = []

    def add(self, slot, value):
        pairs = self.pairs
        if not pairs or len(pairs[-1]) == _PAIRS:
            pairs.append(array.array("I"))
        pairs[-1].append(slot)
        pairs[-1].append(value)

    def run(self):
        for pairs in self.pairs:
            _turn(pairs, len(pairs))


# Each is right before it and after it, whatever the others are.
@micropython.viper
def _turn(turns: ptr32, n: int):
    i = 0
    while i < n:
        ptr32(int(turns[i]))[0] = int(turns[i + 1])
        i += 2


# The functions, modules and classes of the agent.
class _Code:
    def __init__(self, layout, pieces):
        self.pieces = pieces
        self.text = (mem32[id(_TEXT)], mem32[id(b"")])
        pool = layout.pool
        blocks = (layout.end - pool) >> 4
        size = pieces.size
        found = array.array("I", bytes(4 * _ROOM))
        # What was typed at the REPL belongs to no module, and others were let go of: whether the
        # collector has found that out differs from boot to boot.
        module = mem32[id(sys)]
        alive = [id(each) for each in sys.modules.values() if mem32[id(each)] == module]
        alive = [each for each in alive if size(each) and mem32[each + _GLOBALS] != id(globals())]
        self.alive = alive
        self.functions = functions = array.array("I")
        types = array.array("I", [mem32[id(f)] for f in (_one, _generator, _machine_code, _native)])
        n = _at_length(_find, layout.table, blocks, pool, types, len(types), found)
        if n > _ROOM:
            raise Unfit("%d functions" % n)
        for i in range(n):
            function = found[i]
            if mem32[function + _CONTEXT] in alive:
                pieces.slot(function + _CODE)
                pieces.children(function + _CHILDREN, mem32[function + _CODE])
                functions.append(function)
                if len(functions) & 127 == 0:
                    _collect()
            found[i] = 0  # nothing that points to anything
        # Of each module: it, checksum of its names' table, where its constants are, bytes of them.
        self.tables = []
        for context in alive:
            names = mem32[context + _NAMES] if size(context) >= 16 else 0
            whole = size(names)
            if whole:
                self._table(context, names, whole, mem32[context + _CONSTANTS])

    def _table(self, context, names, whole, constants):
        if not names < constants <= names + whole:
            return
        pieces = self.pieces
        size = pieces.size
        group = mem32[id((_one,))]
        for at in range(constants, names + whole, 4):
            thing = mem32[at]
            if size(thing):
                if mem32[thing] in self.text:
                    pieces.slot(thing + _DATA)
                elif mem32[thing] == group:
                    for item in range(thing + _ITEMS, thing + size(thing), 4):
                        if size(mem32[item]) and mem32[mem32[item]] in self.text:
                            pieces.slot(mem32[item] + _DATA)
        key = pieces.include(view(names, constants - names))
        self.tables.append((context, key, constants, names + whole - constants))

    # Where each pointer shall point to. Puts into the image what points to
    # what has its place there.
    def turns(self, image):
        pieces = self.pieces
        placed = pieces.placed
        turns = _Turns()
        self.keep = set(self.alive)  # a function in flash keeps nothing
        for slot in pieces.slots:
            turns.add(slot, placed(mem32[slot]))
        for i in range(0, len(pieces.inner), 2):
            slot = pieces.inner[i]
            turns.add(slot, placed(pieces.inner[i + 1]) + mem32[slot] - pieces.inner[i + 1])
        _collect()
        self._turn_tables(image, turns)
        _collect()
        moved = self._functions(image)
        _collect()
        for name, module in sys.modules.items():
            if id(module) in self.alive:
                members = mem32[id(module) + _GLOBALS]
                if name.startswith("house.") and name not in _WRITTEN:
                    self._turn_fixed(members, moved, image, turns)
                else:
                    self._turn_members(members, moved, turns)
        for members in self._classes():
            self._turn_fixed(members, moved, image, turns)
        return turns

    # One allocation holds both tables of a module.
    def _turn_tables(self, image, turns):
        pieces = self.pieces
        for context, key, at, length in self.tables:
            constants = array.array("I", view(at, length))
            for i in range(len(constants)):
                thing = constants[i]
                if pieces.size(thing) == 16 and mem32[thing] in self.text:
                    text = bytearray(view(thing, 16))
                    struct.pack_into("<I", text, _DATA, pieces.placed(mem32[thing + _DATA]))
                    constants[i] = image.add(text)
                elif pieces.size(thing):
                    self.keep.add(thing)
            turns.add(context + _NAMES, pieces.pieces[key])
            turns.add(context + _CONSTANTS, image.add(bytes(constants)))

    # Puts functions without defaults into the image; returns where they lie.
    def _functions(self, image):
        pieces = self.pieces
        moved = {}  # type: dict[int, int]
        for function in self.functions:
            if len(moved) & 63 == 63:
                _collect()
            if pieces.size(function) == 16:
                own = mem32[function + _CODE]
                code = pieces.placed(own)
                children = mem32[function + _CHILDREN]
                if own < children < own + pieces.size(own):
                    children += code - own
                elif pieces.size(children):
                    self.keep.add(children)
                moved[function] = image.add(
                    struct.pack(
                        "<IIII", mem32[function], mem32[function + _CONTEXT], children, code
                    )
                )
        return moved

    def _turn_members(self, members, moved, turns):
        table = mem32[members + _TABLE]
        if self.pieces.size(table):
            for at in range(table + 4, table + 8 * mem32[members + _PLACES], 8):
                if mem32[at] in moved:
                    turns.add(at, moved[mem32[at]])

    # The dictionaries of the agent's own classes: those of asyncio are written when the agent takes
    # its place, and by guests.
    def _classes(self):
        found = []
        dictionary = mem32[id(globals())]
        for name, module in sys.modules.items():
            if name.startswith("house") and id(module) in self.alive:
                for kind in module.__dict__.values():
                    if (
                        isinstance(kind, type)
                        and self.pieces.size(id(kind))
                        and kind.__module__.startswith("house")
                    ):
                        members = _members(id(kind), self.pieces.size, dictionary)
                        if members and members not in found:
                            found.append(members)
        return found

    # Nobody writes it from here on: who tries meets an exception.
    def _turn_fixed(self, members, moved, image, turns):
        table = mem32[members + _TABLE]
        places = mem32[members + _PLACES]
        if not self.pieces.size(table):
            return
        words = array.array("I", view(table, 8 * places))
        for i in range(1, len(words), 2):
            if words[i] in moved:
                words[i] = moved[words[i]]
            elif self.pieces.size(words[i]):
                self.keep.add(words[i])
        turns.add(members + _TABLE, image.add(bytes(words)))
        turns.add(members + _FLAGS, mem32[members + _FLAGS] | _FIXED)


# The names that were interned since the board was switched on, and where their texts lie.
class _Names:
    def __init__(self, layout, pieces):
        self.pieces = pieces
        size = pieces.size
        pool = layout.pool
        end = layout.end
        self.root = _last_pool(_RAM, pool, end)
        if not self.root:
            raise Unfit("the pools of names were not found")
        self.pools = pools = []  # type: list[int]
        at = mem32[self.root]
        while size(at):
            before = mem32[at]
            if mem32[at + 4] & _COUNT != (mem32[before + 4] & _COUNT) + mem32[before + 12]:
                raise Unfit("pools of names are built in another way")
            pools.insert(0, at)
            at = before
        self.before = at  # the firmware's own
        begins = array.array("I", bytes(4 * _TEXTS_ROOM))
        words = array.array("I", (layout.table, pool, end))
        n = 0
        for at in pools:
            n = _texts(words, at + _POOL, mem32[at + 12], pieces.marks, begins, n)
        if n > _TEXTS_ROOM:
            raise Unfit("%d texts of names" % n)
        for at in pools:
            pieces.mark(at, _SKIP)
        for i in range(n):
            pieces.mark(begins[i], _TEXTS)
            begins[i] = 0  # would pin them
        self.texts = _last_texts(_RAM, pool, end, pieces.marks)
        if not self.texts:
            raise Unfit("the texts of names were not found")

    # The texts are laid out anew: how the interpreter has spread them depends on what the heap
    # looked like, and what lies behind them on what was in the memory before.
    def add(self):
        pieces = self.pieces
        self.keys = []
        hashes = lengths = b""
        for at in self.pools:
            n = mem32[at + 12]
            width = (mem32[at + 20] - mem32[at + 16]) // mem32[at + 8]
            hashes += view(mem32[at + 16], n * width)
            lengths += view(mem32[at + 20], n)
            i = 0
            while i < n:
                texts = bytearray(_TEXT_PIECE)
                i = _gather(at + _POOL, mem32[at + 20], i, n, texts)
                self.keys.append(pieces.include(texts))
        self.hashes = pieces.include(hashes)
        self.lengths = pieces.include(lengths)
        self.used = mem32[self.pools[-1] + 12]

    # A pool in the place of all, for texts that have their places.
    def pool(self):
        placed = self.pieces.pieces
        total = sum([mem32[at + 12] for at in self.pools])
        made = bytearray(_POOL + 4 * total)
        out = addressof(made) + _POOL
        k = 0
        for at in self.pools:
            n = mem32[at + 12]
            i = 0
            while i < n:
                i = _places(mem32[at + 20], i, n, placed[self.keys[k]], out)
                k += 1
            out += 4 * n
        struct.pack_into(
            "<IIIIII",
            made,
            0,
            self.before,
            mem32[self.pools[0] + 4] & _COUNT,
            _POOL_ROOM,
            total,
            placed[self.hashes],
            placed[self.lengths],
        )
        return made

    # Puts the pool in the place of them all, and shows with a new name that it is in use. If not,
    # nothing is turned.
    def switch(self, pool, number):
        root = self.root
        before = mem32[root]
        if before != self.pools[-1] or mem32[before + 12] != self.used:
            raise Unfit("a name was added meanwhile")
        new = "a name for the move %d" % number
        mem32[self.texts] = 0  # it begins new texts, so that the last ones need not be kept for it
        mem32[root] = pool
        try:
            getattr(self, new, None)
        except MemoryError:
            pass
        if mem32[root] == pool or mem32[mem32[root]] != pool:
            mem32[root] = before
            raise Unfit("the interpreter has no use for the pool of names")
