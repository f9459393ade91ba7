# The journal: the few events that must outlive a reset and a power cut.
#
# One file of a fixed size, made before it is needed. It is so small that littlefs keeps it in the
# metadata of its folder, where a new version takes the place of the old one: it needs no free
# block, so nothing that fills the flash can keep an event out, and power may fail at any byte.
# An event that repeats the newest one only raises its count: a crash loop neither pushes the
# others out nor wears the flash for long.
#
# Loaded for each use, and let go of.

import binascii
import struct

from micropython import const

from .image import make_folders

# magic, CRC-32 of all behind it, number of events
_HEAD = "<4sIB"
_HEAD_SIZE = const(32)
_MAGIC = b"GHJ1"
# reason, reset cause, count, boot id, second of that boot, guest
_EVENT = "<BBHII20s"
_EVENT_SIZE = const(32)
_EVENTS = const(15)
_SIZE = const(512)
_PAGE = const(6)  # events in one answer


def _path(root):
    return root + "/journal/events"


# The events as lists [reason, reset cause, count, boot, second, guest], oldest first, and whether
# a damaged file was found instead.
def read(root):
    try:
        with open(_path(root), "rb") as f:
            data = f.read()
    except OSError:
        return [], False
    if len(data) != _SIZE:
        return [], True
    magic, crc, used = struct.unpack_from(_HEAD, data)
    if magic != _MAGIC or used > _EVENTS or crc != binascii.crc32(data[8:]):
        return [], True
    events = []
    for n in range(used):
        event = list(struct.unpack_from(_EVENT, data, _HEAD_SIZE + n * _EVENT_SIZE))
        event[5] = str(event[5].rstrip(b"\x00"), "utf-8")
        events.append(event)
    return events, False


# The answer to VERB_JOURNAL: the events from number `first` on. `names` is what finds the names of
# reasons and resets, all at once.
def page(root, first, names):
    events, damaged = read(root)
    shown = events[first : first + _PAGE]
    found = names(*[pair for e in shown for pair in (("REASON_", e[0]), ("RESET_", e[1]))])
    told = []
    for _, _, count, boot, second, guest in shown:
        told.append({
            "reason": found.pop(0),
            "guest": guest,
            "reset": found.pop(0),
            "count": count,
            "boot": boot,
            "s": second,
        })  # fmt: skip
    return {"events": told, "next": first + len(told), "of": len(events), "damaged": damaged}


# Makes the file where there is none, while there is room for it.
def prepare(root):
    try:
        open(_path(root), "rb").close()
    except OSError:
        make_folders(root + "/journal")
        _write(root, [])


# Adds an event; returns whether the file was damaged and has been begun anew.
def add(root, reason, name, cause, boot, second):
    events, damaged = read(root)
    newest = events[-1] if events else None
    if newest and (newest[0], newest[1], newest[5]) == (reason, cause, name):
        newest[2] = min(newest[2] + 1, 0xFFFF)
        newest[3] = boot
        newest[4] = second
    else:
        events.append([reason, cause, 1, boot, second, name])
    make_folders(root + "/journal")
    _write(root, events[-_EVENTS:])
    return damaged


def _write(root, events):
    data = bytearray(_SIZE)
    at = _HEAD_SIZE
    for reason, cause, count, boot, second, name in events:
        struct.pack_into(_EVENT, data, at, reason, cause, count, boot, second, name.encode())
        at += _EVENT_SIZE
    struct.pack_into(_HEAD, data, 0, _MAGIC, 0, len(events))
    struct.pack_into("<I", data, 4, binascii.crc32(memoryview(data)[8:]))
    with open(_path(root), "wb") as f:
        f.write(data)
