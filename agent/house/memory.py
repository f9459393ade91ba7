# Memory policy: what follows when a guest holds more than it should, or the heap is short.
#
#   memory.high  a line in its log, once until it is below, and its garbage is collected sooner
#   memory.max   its end
#   memory.min   kept free for it whatever others do: guests above their own make room
#
# Whoever is looked at here has just run, or runs, and its count is exact.

from time import ticks_diff

import micropython
from micropython import const

from . import meter, modules, wire
from .clock import TICKS_MASK
from .wire import AGENT

_IDLE_MS = const(100)  # the longest that is looked ahead
_CHECK_MS = const(50)  # that nobody needs, to check the frame table in


# Blocks that must be free for those who have a memory.min and do not use it.
def promised(kernel):
    counts = kernel.table.counts
    blocks = 0
    for instance in kernel.instances:
        if instance.queue is not None:
            blocks += max(0, instance.min_blocks - counts[instance.owner])
    return blocks


# Blocks in use above which the heap is collected: half of what was free after the last collection
# may fill with garbage, and the longest slice, and whoever was promised it, always find room.
def high_mark(kernel):
    total = kernel.table.total
    live = kernel.summary.live_blocks
    kept = promised(kernel)
    mark = min(kernel.high_blocks - kept, live + (total - kept - live) // 2)
    # Where nobody is left to make room, what there is has to do.
    return mark if mark > live else live + (total - live) // 4


# Whether a collection that the heap wants can wait, and should: somebody with a reservation is due
# before it would be over. It cannot when the next slice might not find what it was promised.
def waits(kernel):
    if kernel.table.counts[0] > kernel.high_blocks - promised(kernel):
        return False
    schedule = kernel.schedule
    if schedule.reserved.peek() is not None:
        return True
    now = kernel.port.ticks_ms()
    ms = kernel.summary.longest_us // 1000 + 1
    for instance in kernel.instances:
        if (
            instance.reservation.min_us
            and instance.queued is schedule.sleepers
            and ticks_diff(instance.node.ph_key, now) < ms
        ):
            return True
    return False


# In time that nobody needs: checks the table, and collects once half of what a collection is due
# for has become garbage, so that few are due when somebody runs. Not where the next one is due
# before it would be over, and not again before there is more: the rest may all be in use.
def tidy(kernel):
    summary = kernel.summary
    ms = kernel.schedule.due_ms(kernel.port.ticks_ms(), _IDLE_MS)
    if ms >= _CHECK_MS:
        summary.check_heap(True)
    table = kernel.table
    if not table.exact:
        return
    table.sync(AGENT)
    used = table.counts[0]
    kernel.tidied = min(kernel.tidied, used)
    live = summary.live_blocks
    mark = high_mark(kernel)
    if used > mark:
        if used - kernel.tidied < kernel.reserve_blocks // 2 or waits(kernel):
            return
    elif used - live <= (mark - live) // 2 or ms * 1000 <= 2 * summary.longest_us:
        return
    by = None
    for instance in kernel.instances:
        if by is None or table.allocated[instance.owner] > table.allocated[by.owner]:
            by = instance
    if by is not None and table.allocated[by.owner] > table.allocated[AGENT]:
        kernel.collect(by, True)
    else:
        begin = kernel.port.ticks_us()
        table.collect(AGENT)
        us = kernel.port.ticks_us() - begin & TICKS_MASK
        kernel.schedule.blackout(wire.BLACKOUT_COLLECT, us, AGENT)
        summary.live_blocks = table.counts[0]
        kernel.settle_high()
    kernel.tidied = table.counts[0]


# The heap was collected for `us`, which freed `blocks`: garbage of `instance` made that due.
def collected(kernel, instance, us, blocks):
    instance.collections += 1
    kernel.schedule.blackout(wire.BLACKOUT_COLLECT, us, instance.id)
    kernel.summary.collected(instance, us, blocks)
    kernel.settle_high()


# In the midst of a slice, between two of the guest's jumps. The cap stops it at its limit and the
# slack; garbage is collected at half of that, or where the heap wants it. Returns whether the guest
# has to end. Raises nothing: without an answer nobody guards the rest of the slice.
#
# Machine code, because up to the sync what is allocated is the guest's.
@micropython.native
def look_into(kernel):
    table = kernel.table
    instance = kernel.current[0]
    if instance is None or instance.busy or instance.condemned or not table.capped():
        return False
    words = instance.meter
    held = table.sync(instance.owner)
    most = words[meter.LIMIT] + kernel.port.HEAP_SLACK // table.block // 2
    # Behind the slice the collection that the heap wants is paid by all who made garbage. Within it
    # the guest pays: only where the slice itself has filled much of what is kept for slices.
    high = (kernel.billing.shared[meter.HIGH] + table.total) // 2
    if held <= most and table.counts[0] <= high:
        return False
    ends = False
    table.uncap()
    try:
        # Once in a slice it holds up even those with a reservation, who are due, as behind a slice.
        first = instance.collected != words[meter.SLICES]
        if (held > most and first) or not waits(kernel):
            instance.collected = words[meter.SLICES]
            ends = _collect_within(kernel, instance)
    except Exception:  # no room, in the heap or on the stack: behind the slice it is due again
        pass
    table.sync(AGENT)
    table.cap(words)
    return ends


# The time is the guest's, as is that of its slice.
def _collect_within(kernel, instance):
    table = kernel.table
    used = table.counts[0]
    begin = kernel.port.ticks_us()
    table.collect(instance.owner)
    us = kernel.port.ticks_us() - begin & TICKS_MASK
    collected(kernel, instance, us, used - table.counts[0])
    limit = instance.mem_max
    held = table.counts[instance.owner] * table.block
    if limit is None or held <= limit:
        return False
    instance.condemned = wire.REASON_OOM
    instance.verdict = (held, limit)
    return True


# After a slice of `instance` that met one of its limits, or the heap's. Returns whether it goes on.
def look(kernel, instance):
    table = kernel.table
    block = table.block
    owner = instance.owner
    limit = instance.mem_max
    kernel.collect(instance, table.counts[owner] <= instance.meter[meter.BLOCKS_MAX])
    held = table.counts[owner]
    if limit is not None and held * block > limit:
        # an estimate must say so twice before a guest is ended for it
        instance.over += 1
        if table.exact or instance.over > 1:
            kernel.lifecycle.condemn(instance, wire.REASON_OOM, held * block, limit)
            return False
    else:
        instance.over = 0
    high = instance.spec["mem_high"]
    if high is not None and held * block > high:
        if not instance.warned:
            text = "holds %d bytes, its memory.high is %d" % (held * block, high)
            kernel.hooks.line(instance, text, wire.TEXT_ERROR)
        instance.watch_memory(held)
    elif instance.warned:
        instance.watch_memory(None)
    short = table.counts[0] - kernel.high_blocks + promised(kernel)
    if short > 0:
        from . import eviction

        try:
            eviction.make_room(kernel, short)
        finally:
            modules.drop(eviction)
        kernel.settle_high()
    return instance.queue is not None and not instance.condemned and instance.queued is None
