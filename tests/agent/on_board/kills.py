# Kills of one guest, over and over, for the pytest beside the folder.
#
#     kills.py KILLS       prints what was charged to whom before and after, as JSON

import json
import sys

LEAKS = """\
import asyncio
async def main():
    kept = {}
    while True:
        kept[str(len(kept))] = bytearray(1000)
        await asyncio.sleep_ms(0)
"""


def main(kills):
    from board import Board
    from house import wire

    board = Board()
    kernel = board.kernel
    table = kernel.table
    guest = board.guest("g", LEAKS, mem_max=32768)
    before = left = 0
    for number in range(10 + kills):
        state, reason, *_ = board.end(guest)
        assert (state, reason) == (wire.STATE_KILLED, wire.REASON_OOM), (state, reason)
        left = max(left, table.counts[guest.owner])
        board.transitions.clear()
        if number == 9:
            table.collect()
            before = table.counts[0]
        kernel.lifecycle.start(guest, wire.REASON_START)
    board.end(guest)
    table.collect()
    print(
        json.dumps(
            {
                "kills": guest.kills,
                "lost": (table.counts[0] - before) * table.block,
                "left": left * table.block,
                "strays": board.commands.inspect({"g": "g", "collect": True})["strays"],
                "right": table.check(),
                "exact": table.exact,
            }
        )
    )
    board.close()


if __name__ == "__main__":
    here = __file__.rpartition("/")[0]
    sys.path[:0] = [here, here + "/../../../agent"]
    main(int(sys.argv[1]))
