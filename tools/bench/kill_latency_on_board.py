# The MicroPython part of kill_latency.py: kills of one kind of guest, as JSON.
#
#     kill_latency_on_board.py AGENT_FOLDER KIND KILLS

import json
import sys

_HERE = __file__.rpartition("/")[0]
sys.path[:0] = [_HERE + "/../../tests/agent/on_board", sys.argv[1]]

import test_kernel
from board import Board
from house import wire

_RECURSION = """
    while True:
        try:
            hostile()
        except RuntimeError:
            pass
"""
_KINDS = dict(test_kernel._HOSTILE)
_KINDS["recursion"] = _RECURSION


# Kills one guest again and again: (us past its slice limit, deliveries) of each kill, and how many
# ended in another way.
def main(kind, kills):
    board = Board()
    guest = board.guest("g", test_kernel._HOSTILE_MAIN % _KINDS[kind])
    past = []
    raises = []
    others = 0
    for _ in range(kills):
        end = board.end(guest, 10000)
        if end[:2] == (wire.STATE_KILLED, wire.REASON_OVERRUN):
            past.append(end[2] - end[3])
            raises.append(end[4])
        else:
            others += 1
        del board.transitions[:]
        board.kernel.lifecycle.start(guest, wire.REASON_START)
    board.close()
    print(json.dumps({"past_us": past, "raises": raises, "others": others}))


if sys.argv[2] == "kinds":
    print(json.dumps(sorted(_KINDS)))
else:
    main(sys.argv[2], int(sys.argv[3]))
