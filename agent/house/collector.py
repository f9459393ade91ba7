# What guests get for `import gc`.
#
# A collection in the middle of a slice frees blocks of every guest, and whatever runs on
# takes them unseen, still charged to their former owners. So a guest's gc.collect() is
# the table's: sync, collect, sync. Should a kill land between the two, the sync after
# the slice still looks at the whole table. The other functions cannot be left to guests
# either: automatic collection stays off while they run.


# Stands in sys.modules["gc"], after the agent itself has imported the real one.
# `owner` is a function that tells who runs now.
class GuestCollector:
    def __init__(self, table, owner):
        self._table = table
        self._owner = owner

    def collect(self):
        before = self._table.counts[0]
        self._table.collect(self._owner())
        return before - self._table.counts[0]  # blocks, as near as can be to what gc tells

    # What the guest itself holds, not what all others do.
    def mem_alloc(self):
        return self._table.sync(self._owner()) * self._table.block

    def mem_free(self):
        return self._table.free_blocks * self._table.block

    def enable(self):
        pass

    def disable(self):
        pass

    def isenabled(self):
        return True  # somebody does collect

    def threshold(self, amount=-1):
        return -1
