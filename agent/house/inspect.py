# What a guest's memory goes into, as far as can be told. Loaded when somebody asks.

from . import meter


# The figures of an instance, in bytes. With `collect` the garbage of all is collected before.
def inspect(kernel, instance, collect):
    table = kernel.table
    kernel.lifecycle.strays(instance)
    if collect:
        table.collect()
        kernel.summary.live_blocks = table.counts[0]
        kernel.settle_high()
    block = table.block
    words = instance.meter
    live = table.counts[instance.owner]
    loop = code = 0
    if instance.queue is not None:
        loop = words[meter.LOOP]
        code = words[meter.CODE]
    spec = instance.spec
    return {
        "name": instance.name,
        "exact": table.exact,
        "live": live * block,
        "loop": loop * block,
        "code": code * block,
        "data": max(0, live - loop - code) * block,
        "strays": words[meter.STRAYS] * block,
        "peak": instance.peak_blocks * block,
        "allocated": table.allocated[instance.owner] * block,
        "collections": instance.collections,
        "min": spec["mem_min"],
        "high": spec["mem_high"],
        "max": spec["mem_max"],
        "heap": table.total * block,
        "used": table.counts[0] * block,
        "agent": table.counts[1] * block,
        "largest_free": table.largest_free() * block,
        "checks": kernel.summary.checks,
    }
