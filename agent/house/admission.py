# Admission: whether one more guest, or a changed quota, fits beside the others, and how long a
# reserved guest may have to wait. Answers with the numbers and with what would fit. The theory is
# docs/decisions/0019-admission.md.
#
# Runs under CPython as it is (guesthouse plan). A spec is what guest.json says. `board` is a dict
# of heap (bytes that guests can share), reservable (bytes of it that guests can be promised; the
# agent's own are not among them, and it may be missing), reserve_ppm (of the CPU, for the agent),
# oversubscription_cpu_ppm, oversubscription_ram_ppm, and the port's kill_us, section_us and
# section_guest_us.

_MILLION = 1000000
_SLICE_STEP_US = 100
_LONGEST_PERIOD_MS = 10000


# What holds where nobody has set anything else.
def defaults() -> dict:
    return {
        "reserve_ppm": 100000,
        "oversubscription_cpu_ppm": 2000000,
        "oversubscription_ram_ppm": 2000000,
    }


# Share in parts per million, rounded up: sums of it are never too small. In three steps, because
# the product with a million is no small int and would take memory.
def share_ppm(us: int, period_us: int) -> int:
    ppm = 0
    for _ in range(3):
        us *= 100
        ppm = ppm * 100 + us // period_us
        us %= period_us
    return ppm + 1 if us else ppm


# The server period of a reservation.
def server_us(spec: dict) -> int:
    return spec["cpu_min_period_us"] or spec["cpu_period_us"]


# The part of the CPU that is reserved, and the sum of the limits, in ppm.
def sums(specs: list) -> tuple:
    reserved = limits = 0
    for spec in specs:
        if spec["cpu_min_us"]:
            reserved += share_ppm(spec["cpu_min_us"], server_us(spec))
        if spec["cpu_max_us"]:
            limits += share_ppm(spec["cpu_max_us"], spec["cpu_period_us"])
    return reserved, limits


# B, the longest that slices under way and the agent keep a reserved guest waiting:
# (us, of them the slice, whose). A slice is never cut before its slice_max, whoever runs it.
def blocking(spec: dict, specs: list, board: dict) -> tuple:
    longest = 0
    name = None
    for other in specs:
        if other is not spec and other["slice_max_us"] > longest:
            longest = other["slice_max_us"]
            name = other["name"]
    kill = board["kill_us"] if longest else 0
    return longest + kill + section_us(specs, board), longest, name


# The longest that the agent works in one go.
def section_us(specs: list, board: dict) -> int:
    return board["section_us"] + len(specs) * board["section_guest_us"]


# A reservation that could be missed: None, or (its spec, the us that it may wait, of them the
# overdrafts of other reservations, the window in us, the part of the window that is reserved, and
# the part that would be needed, in ppm).
#
# Servers by period; in each window as long as a period stand the budgets of the servers whose
# periods end in it, what these overdraw with the last slice, and B. The one that waits is the one
# whose own slice is the shortest: all the longer ones are in its way.
def missed(specs: list, board: dict):
    servers = [spec for spec in specs if spec["cpu_min_us"]]
    servers.sort(key=server_us)
    reserved = slices = 0
    victim = None
    for server in servers:
        window = server_us(server)
        reserved += share_ppm(server["cpu_min_us"], window)
        slices += server["slice_max_us"]
        if victim is None or server["slice_max_us"] < victim["slice_max_us"]:
            victim = server
        overdrafts = slices - victim["slice_max_us"]
        wait = blocking(victim, specs, board)[0] + overdrafts
        needed = reserved + share_ppm(wait, window)
        if needed > _MILLION - board["reserve_ppm"]:
            return victim, wait, overdrafts, window, reserved, needed
    return None


# How long a reserved guest that has budget left may be runnable and not run: None where nothing is
# promised, or (us; of them B; the slice in B; whose; the us of other reservations; us until it
# has budget again once that is used up). Specs that admission would take.
def wakeup(spec: dict, specs: list, board: dict):
    if not spec["cpu_min_us"]:
        return None
    period = server_us(spec)
    begin, longest, name = blocking(spec, specs, board)
    # A slice longer than the budget is paid for with the next budgets.
    empty = max(1, -(-spec["slice_max_us"] // spec["cpu_min_us"])) * period
    wait = begin
    while True:
        others = 0
        for other in specs:
            if other is not spec and other["cpu_min_us"]:
                # the budget under way, those that begin meanwhile, and the last slice
                budgets = 1 - (-wait // server_us(other))
                others += budgets * other["cpu_min_us"] + other["slice_max_us"]
        others = -(-others * _MILLION // (_MILLION - board["reserve_ppm"]))
        if begin + others >= period:
            # its deadline is at most a period away, and admission promises that it is met
            return period, begin, longest, name, period - begin, empty
        if begin + others == wait:
            return wait, begin, longest, name, others, empty
        wait = begin + others


# None where `spec` fits beside `others`, or (what is wrong, what would fit). `old` is what the
# guest has today: asking for no more than that is never refused, though the board be too full.
def refuse(spec: dict, others: list, old, board: dict):
    if old is not None and _asks_no_more(spec, old):
        return None
    return (
        _refuse_memory(spec, others, board)
        or _refuse_limit(spec, others, board)
        or _refuse_reservation(spec, others, board)
    )


def _asks_no_more(spec: dict, old: dict) -> bool:
    for key in ("cpu_min_us", "cpu_max_us", "slice_max_us", "mem_min", "mem_max"):
        if (spec[key] or 0) > (old[key] or 0):
            return False
    return server_us(spec) == server_us(old) and spec["cpu_period_us"] == old["cpu_period_us"]


def _refuse_memory(spec: dict, others: list, board: dict):
    heap = board["heap"]
    ratio = board["oversubscription_ram_ppm"]
    wanted = spec["mem_max"] or 0
    if wanted > heap:
        return (
            "memory.max of %d bytes is above the %d bytes that this board has for guests"
            % (wanted, heap),
            "ask for %dk or less" % (heap // 1024),
        )
    least = spec["mem_min"] or 0
    free = board.get("reservable", heap)
    stated = 0
    for other in others:
        stated += other["mem_max"] or 0
        free -= other["mem_min"] or 0
    if least > free:
        return (
            "memory.min asks for %d bytes, %d are free to reserve" % (least, max(0, free)),
            "ask for %dk or less, or lower another's memory.min" % (max(0, free) // 1024),
        )
    most = heap * ratio // _MILLION
    if not wanted or stated + wanted <= most:
        return None
    return (
        "the memory limits would sum to %d bytes, oversubscription.ram of %s allows %d"
        % (stated + wanted, percent(ratio), most),
        _left("memory.max", "%dk" % ((most - stated) // 1024), most - stated >= 1024, "ram"),
    )


def _refuse_limit(spec: dict, others: list, board: dict):
    if not spec["cpu_max_us"]:
        return None
    wanted = share_ppm(spec["cpu_max_us"], spec["cpu_period_us"])
    if spec["cpu_min_us"]:
        least = share_ppm(spec["cpu_min_us"], server_us(spec))
        if wanted < least or spec["cpu_max_us"] < spec["cpu_min_us"]:
            return (
                "cpu.max of %s/%s does not hold its own cpu.min of %s"
                % (duration(spec["cpu_max_us"]), duration(spec["cpu_period_us"]), budget(spec)),
                "ask for a cpu.max of %s or more, in a period that makes it %s or more"
                % (percent(least + 999), duration(spec["cpu_min_us"])),
            )
    if wanted > _MILLION:
        return (
            "cpu.max is %s of a board with one CPU" % percent(wanted),
            "ask for 100 % at most",
        )
    ratio = board["oversubscription_cpu_ppm"]
    stated = sums(others)[1]
    if stated + wanted <= ratio:
        return None
    room = ratio - stated
    return (
        "the limits would sum to %s, oversubscription.cpu allows %s"
        % (percent(stated + wanted), percent(ratio)),
        _left("cpu.max", percent(room), room >= 1000, "cpu"),
    )


# What to do about a sum that is too high.
def _left(key: str, text: str, any_room: bool, what: str) -> str:
    fits = "a %s of %s fits" % (key, text) if any_room else "nothing is left: lower another's"
    return "%s, or raise the sum with guesthouse set --oversubscription %s=N" % (fits, what)


def _refuse_reservation(spec: dict, others: list, board: dict):
    capacity = _MILLION - board["reserve_ppm"]
    if spec["cpu_min_us"]:
        wanted = share_ppm(spec["cpu_min_us"], server_us(spec))
        free = capacity - sums(others)[0]
        if wanted > free:
            return (
                "cpu.min asks for %s, %s of the CPU is free to reserve"
                % (percent(wanted), percent(max(0, free))),
                _what_fits(spec, others, board),
            )
    lack = missed(others + [spec], board)
    if lack is None:
        return None
    victim, wait, overdrafts, window, reserved, needed = lack
    longest, name = blocking(victim, others + [spec], board)[1:]
    parts = ["%s for the agent" % duration(section_us(others + [spec], board))]
    if overdrafts:
        parts.insert(0, "%s for what other reservations overdraw" % duration(overdrafts))
    if longest:
        parts.insert(0, "%s until that is stopped" % duration(board["kill_us"]))
        parts.insert(0, "%s for a slice of %s" % (duration(longest), name))
    return (
        "%s could miss its cpu.min of %s: in %s it may wait %s (%s); with %s reserved that "
        "is %s, and %s is there"
        % (
            victim["name"],
            budget(victim),
            duration(window),
            duration(wait),
            ", ".join(parts),
            percent(reserved),
            percent(needed),
            percent(capacity),
        ),
        _what_fits(spec, others, board),
    )


# What this guest could ask for, or others give up, so that every reservation holds. The searches
# change one copy of a spec, again and again.
def _what_fits(spec: dict, others: list, board: dict) -> str:
    trial = dict(spec)
    specs = others + [trial]

    def holds(key, us):
        trial[key] = us
        return missed(specs, board) is None

    fitting = []
    us = _most(spec["slice_max_us"] - 1, _SLICE_STEP_US, lambda us: holds("slice_max_us", us))
    trial["slice_max_us"] = spec["slice_max_us"]
    if us:
        fitting.append("a slice_max of %s" % duration(us))
    least = spec["cpu_min_us"]
    if least:
        step = max(1, server_us(spec) // 1000)
        us = _most(least - 1, step, lambda us: holds("cpu_min_us", us))
        trial["cpu_min_us"] = us
        if us:
            fitting.append("a cpu.min of %s" % budget(trial))
        if _lengthen(trial, spec, specs, board):
            fitting.append("a cpu.min of %s" % budget(trial))
    # A guest that nobody needs to make room for has no others to tell.
    if not fitting or least:
        us, names = _shorter(spec, others, board)
        if us:
            fitting.append("this beside a slice_max of %s for %s" % (duration(us), names))
    if not fitting:
        return "nothing fits beside what the others reserve: lower a cpu.min of theirs"
    return "what fits: " + "; or ".join(fitting)


# Gives `trial`, one of the specs, the shortest period, to the millisecond, in which the share that
# `spec` asks for is kept; whether there is one.
def _lengthen(trial: dict, spec: dict, specs: list, board: dict) -> bool:
    period = server_us(spec)

    def holds(ms):
        trial["cpu_min_period_us"] = ms * 1000
        trial["cpu_min_us"] = max(1, spec["cpu_min_us"] * ms * 1000 // period)
        return missed(specs, board) is None

    high = period // 1000
    while high < _LONGEST_PERIOD_MS:
        low = high
        high = min(_LONGEST_PERIOD_MS, 2 * high + 1)
        if holds(high):
            while high - low > 1:
                middle = (low + high) // 2
                if holds(middle):
                    high = middle
                else:
                    low = middle
            return holds(high)
    return False


# The longest slice_max that the others may all keep, and the names of those who have a longer one.
def _shorter(spec: dict, others: list, board: dict) -> tuple:
    specs = [dict(other) for other in others] + [spec]

    def holds(us):
        for i in range(len(others)):
            specs[i]["slice_max_us"] = min(us, others[i]["slice_max_us"])
        return missed(specs, board) is None

    longest = max([other["slice_max_us"] for other in others] + [0])
    us = _most(longest - 1, _SLICE_STEP_US, holds)
    return us, ", ".join([o["name"] for o in others if o["slice_max_us"] > us])


# The greatest multiple of `step` up to `top` that holds, 0 where none does; what holds for more
# holds for less.
def _most(top: int, step: int, holds) -> int:
    low = 0
    high = max(0, top) // step + 1
    while high - low > 1:
        middle = (low + high) // 2
        if holds(middle * step):
            low = middle
        else:
            high = middle
    return low * step


# --- words ---


def percent(ppm: int) -> str:
    return "%d.%d %%" % (ppm // 10000, ppm // 1000 % 10)


# A time as a manifest writes it: 850us, 1.5ms, 2s.
def duration(us: int) -> str:
    if us < 1000:
        return "%dus" % us
    unit, size = ("s", _MILLION) if us >= _MILLION else ("ms", 1000)
    rest = us % size
    if not rest:
        return "%d%s" % (us // size, unit)
    return ("%d.%0*d" % (us // size, 6 if size == _MILLION else 3, rest)).rstrip("0") + unit


# A reservation as a manifest writes it: 1ms/10ms.
def budget(spec: dict) -> str:
    return "%s/%s" % (duration(spec["cpu_min_us"]), duration(server_us(spec)))
