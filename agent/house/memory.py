# Memory policy: what follows when a guest holds more than it should, or the heap is short.
#
#   memory.high  a line in its log, once until it is below, and its garbage is collected sooner
#   memory.max   its end
#   memory.min   kept free for it whatever others do: guests above their own make room
#
# Whoever is looked at here has just run, and its count is exact.

from . import meter, modules, wire


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
