# Admission: whether one more instance, or a changed quota, fits beside the others.
# Answers with the numbers and with what would fit.

from micropython import const

_MILLION = const(1000000)

AGENT_RESERVE_PPM = const(100000)  # of the CPU stays with the agent
OVERSUBSCRIPTION_CPU_PPM = const(2000000)
OVERSUBSCRIPTION_RAM_PPM = const(2000000)


# Share in parts per million. The division comes first: products of microseconds and a
# million do not fit a small int.
def share_ppm(us, period_us):
    return us * 1000 // max(1, period_us // 1000) if period_us >= 1000 else _MILLION


def _percent(ppm):
    return "%d.%d %%" % (ppm // 10000, ppm // 1000 % 10)


# `spec` is a guest.json dict; `others` are the specs of the instances already there;
# `heap` is the bytes that guests can share. Returns None or (what is wrong, what to do).
def refuse(spec, others, heap):
    reserved = limited = ram = 0
    for other in others:
        if other["cpu_min_us"]:
            reserved += share_ppm(other["cpu_min_us"], other["cpu_min_period_us"])
        if other["cpu_max_us"]:
            limited += share_ppm(other["cpu_max_us"], other["cpu_period_us"])
        ram += other["mem_max"] or 0
    if spec["cpu_min_us"]:
        wanted = share_ppm(spec["cpu_min_us"], spec["cpu_min_period_us"])
        room = _MILLION - AGENT_RESERVE_PPM - reserved
        if wanted > room:
            return (
                "cpu.min asks for %s, %s of the CPU is free to reserve"
                % (_percent(wanted), _percent(max(0, room))),
                "lower cpu.min of this guest or of another; see guesthouse ps",
            )
    if spec["cpu_max_us"]:
        wanted = share_ppm(spec["cpu_max_us"], spec["cpu_period_us"])
        if wanted > _MILLION:
            return "cpu.max is %s of a board with one CPU" % _percent(
                wanted
            ), "ask for 100 % at most"
        room = OVERSUBSCRIPTION_CPU_PPM - limited
        if wanted > room:
            return (
                "the limits would sum to %s, oversubscription allows %s"
                % (_percent(limited + wanted), _percent(OVERSUBSCRIPTION_CPU_PPM)),
                "a cpu.max of %s fits" % _percent(max(0, room)),
            )
    wanted = spec["mem_max"] or 0
    if wanted > heap:
        return (
            "memory.max of %d bytes is above the %d bytes that this board has for guests"
            % (wanted, heap),
            "ask for %dk or less" % (heap // 1024),
        )
    room = heap // 1000 * (OVERSUBSCRIPTION_RAM_PPM // 1000) - ram
    if wanted > room:
        return (
            "the memory limits would sum to %d bytes, oversubscription allows %d"
            % (ram + wanted, ram + room),
            "a memory.max of %dk fits" % (max(0, room) // 1024),
        )
    return None
