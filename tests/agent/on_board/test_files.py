# What a guest does with files, and what its end does to them.

import os

import ffi
from board import Board
from house import wire

_mkfifo = ffi.open("libc.so.6").func("i", "mkfifo", "si")


def test_files_are_used_as_on_any_board():
    board = Board()
    instance = board.guest(
        "g",
        """\
import json
async def main():
    with open('text', 'w') as f:
        print('one', 2, file=f)
        f.write('three\\n')
        json.dump({'a': [1, 2]}, f)
    with open('text') as f:
        lines = [line.strip() for line in f]
        assert f.tell() == 25
        f.seek(6)
        assert f.read(5) == 'three'
        assert f.readline() == '\\n'
        assert json.load(f) == {'a': [1, 2]}
    assert lines == ['one 2', 'three', '{"a": [1, 2]}'], lines
    with open('bytes', 'wb') as f:
        f.write(bytes(range(20)))
    with open('bytes', 'r+b') as f:
        f.seek(10)
        f.write(b'xy')
    with open('bytes', 'ab') as f:
        f.write(b'z')
    data = bytearray(21)
    with open('bytes', 'rb') as f:
        assert f.readinto(data) == 21
    assert data == bytes(range(10)) + b'xy' + bytes(range(12, 20)) + b'z'
    try:
        open('absent')
    except OSError as error:
        print(error.errno)
""",
    )
    end = board.end(instance)
    board.close()
    assert end[:2] == (wire.STATE_EXITED, wire.REASON_RETURNED), end
    assert instance.log.lines(0)[1] == ["2"]


def test_every_write_of_a_guest_that_is_killed_is_whole():
    board = Board()
    instance = board.guest(
        "g",
        """\
async def main():
    record = '0123456789abcdef' * 64
    f = open('log', 'a')
    while True:
        f.write(record)
""",
        slice_max_us=500,
        restart="always",
    )
    for k in range(150):
        instance.slice_max_us = 100 + k * 7
        assert board.end(instance)[1] == wire.REASON_OVERRUN
        board.kernel.lifecycle.start(instance, wire.REASON_RETRY)
    assert instance.kills >= 150
    record = b"0123456789abcdef" * 64
    found = bytearray(len(record))
    with open(board.root + "/data/g.0/log", "rb") as f:
        n = f.readinto(found)
        assert n
        while n:
            assert n == len(record) and found == record
            n = f.readinto(found)
    board.close()


def test_a_guest_that_waits_for_a_pipe_is_stopped():
    for mode, waits in (("r", ""), ("r+", "\n    f.read(1)")):
        board = Board()
        path = board.root + "/pipe"
        assert _mkfifo(path, 0o600) == 0
        source = "async def main():\n    f = open('%s', '%s')%s\n" % (path, mode, waits)
        instance = board.guest("g", source.replace("'./", "'" + os.getcwd() + "/"))
        end = board.end(instance)
        board.close()
        assert end[:2] == (wire.STATE_KILLED, wire.REASON_OVERRUN), (mode, end)


# The function itself would refuse this character.
def test_a_guest_cannot_turn_ctrl_c_on():
    board = Board()
    instance = board.guest(
        "g",
        """\
import micropython
async def main():
    micropython.kbd_intr('no number')
""",
    )
    end = board.end(instance)
    board.close()
    assert end[:2] == (wire.STATE_EXITED, wire.REASON_RETURNED), end
