# Lets a guest lose a task that hangs, and not its life: where the end and the load of a guest take
# far longer than what is measured. Until it is off the CPU everything is as for any guest, and the
# board tells of each as of a kill. A guest that is told to stop ends as ever.

import asyncio
import gc

KILLED = 0
OVERRUN = 0


def spare(kernel):
    lifecycle = kernel.lifecycle
    ends = lifecycle.stopped

    def stopped(instance, hits, used):
        if instance.condemned or instance.loading is not None:
            ends(instance, hits, used)
            return
        instance.overruns += 1
        instance.kills += 1
        lifecycle.move(instance, KILLED, OVERRUN, used, instance.slice_max_us, hits)
        kernel.forget()
        kernel.port.renew()
        if kernel.within_memory(instance):
            kernel.schedule.put(instance, used)

    lifecycle.stopped = stopped


async def main():
    spare(gc._kernel)
    while True:
        await asyncio.sleep(60)
