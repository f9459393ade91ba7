# Eviction: who has to go when the heap is short of what was promised to others. Loaded when it is,
# and let go of.

# The guest that goes next: the least critical of those above their memory.min, of them the one
# furthest above. None where everybody is within it.
def choose(instances, counts):
    victim = victim_key = None
    for instance in instances:
        over = counts[instance.owner] - instance.min_blocks
        if instance.queue is None or instance.condemned or over <= 0:
            continue
        key = (-instance.spec["criticality"], over)
        if victim_key is None or key > victim_key:
            victim = instance
            victim_key = key
    return victim


# Ends guests until the heap has what it is `short` of, in blocks.
def make_room(kernel, short):
    table = kernel.table
    counts = table.counts
    while short > 0:
        victim = choose(kernel.instances, counts)
        if victim is None:
            return
        used = counts[0]
        over = (counts[victim.owner] - victim.min_blocks) * table.block
        kernel.lifecycle.evict(victim, over, short * table.block)
        short -= used - counts[0]
