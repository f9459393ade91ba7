# Contiguous buffers that manifests reserve. Loaded where a guest has one, and let go of.
#
# The buffer outlives the guest's runs. It is charged to the guest all the time; a run's end hands
# all that the guest owns to others, and this gives the buffer back.

from uctypes import addressof

from . import guest
from .frames import OWNERS_PAD
from .wire import AGENT


# Before a start: makes the buffer, or takes the one that is there. Raises MemoryError.
def prepare(kernel, instance):
    size = instance.spec["mem_buffer"]
    table = kernel.table
    if instance.buffer is None or len(instance.buffer) != size:
        instance.buffer = None
        table.collect()
        instance.buffer = bytearray(size)
        table.sync(AGENT)
    instance.kept = keep(table, instance)
    current = kernel.current

    def buffer():
        running = current[0]
        if running is None or running.buffer is None:
            return None
        return memoryview(running.buffer)

    guest.buffer = buffer


# Charges the buffer to its guest; returns its blocks.
def keep(table, instance):
    if not table.exact:
        return 0
    thing = instance.buffer
    return _give(table, id(thing), 1, instance.owner) + _give(
        table, addressof(thing), len(thing), instance.owner
    )


def _give(table, address, size, owner):
    counts = table.counts
    owners = table._owners
    first = (address - table.layout.pool) // table.block
    blocks = -(-size // table.block)
    for number in range(first, first + blocks):
        place = OWNERS_PAD + number // 2
        shift = 4 * (number & 1)
        counts[owners[place] >> shift & 15] -= 1
        counts[owner] += 1
        owners[place] = owners[place] & (240 >> shift) | owner << shift
    return blocks
