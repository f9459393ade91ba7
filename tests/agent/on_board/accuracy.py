# Live bytes of each pattern, for the pytest beside the folder to compare.
#
#     accuracy.py solo PATTERN STEPS       the pattern alone, by gc.mem_alloc(): the truth
#     accuracy.py together TWIN STEPS      all of them taking turns, by the frame table

import gc
import json
import sys

import patterns


def solo(name, steps):
    make = patterns.PATTERNS[name]
    gc.collect()
    before = gc.mem_alloc()
    guest = make()
    for _ in range(steps):
        guest.send(None)
    gc.collect()
    live = gc.mem_alloc() - before
    return {name: live}


def together(twin, steps):
    from house.frames import exact_table
    from house.ports import unix_heap
    from house.wire import AGENT, FIRST_GUEST

    names = sorted(patterns.PATTERNS)
    guests = [None] * len(names)
    table = exact_table(unix_heap, sync=twin)
    low = table.total // 3
    gc.disable()
    for index in range(len(names)):
        make = patterns.PATTERNS[names[index]]
        table.sync(AGENT)
        guests[index] = make()
        table.sync(FIRST_GUEST + index)
    collections = 0
    for _ in range(steps):
        for index in range(len(guests)):
            if table.free_blocks < low:
                table.collect()
                collections += 1
                assert table.check(), table.reason
            table.sync(AGENT)
            guests[index].send(None)
            table.sync(FIRST_GUEST + index)
    table.collect()
    assert table.check(), table.reason
    result = {names[i]: table.counts[FIRST_GUEST + i] * table.block for i in range(len(names))}
    result["collections"] = collections
    return result


if __name__ == "__main__":
    here = __file__.rpartition("/")[0]
    sys.path.insert(0, here + "/../../../agent")
    measure = solo if sys.argv[1] == "solo" else together
    print(json.dumps(measure(sys.argv[2], int(sys.argv[3]))))
