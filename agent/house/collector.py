# What guests get for `import gc`.
#
# A collection in the middle of a slice frees blocks of every guest, and whatever runs on
# takes them unseen, still charged to their former owners. So a guest's gc.collect() is
# the table's: sync, collect, sync. Should a kill land between the two, the sync after
# the slice still looks at the whole table. The other functions cannot be left to guests
# either: automatic collection stays off while they run.


# Stands in sys.modules["gc"], after the agent itself has imported the real one.
class GuestCollector:
    def __init__(self, kernel):
        self._kernel = kernel

    def collect(self):
        table = self._kernel.table
        before = table.counts[0]
        table.collect(self._kernel.running_owner())
        return before - table.counts[0]  # blocks, as near as can be to what gc tells

    # What the guest itself holds, not what all others do.
    def mem_alloc(self):
        table = self._kernel.table
        return table.sync(self._kernel.running_owner()) * table.block

    def mem_free(self):
        table = self._kernel.table
        return table.free_blocks * table.block

    def enable(self):
        pass

    def disable(self):
        pass

    def isenabled(self):
        return True  # somebody does collect

    def threshold(self, amount=-1):
        return -1
