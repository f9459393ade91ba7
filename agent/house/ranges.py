# What the values of guest.json may be. The host has checked them, but what is on the flash can be
# damaged, and one that fits no counter would end the agent. Loaded when a guest comes or its quotas
# change, and let go of.

_SIZE = 0xFFFFFFFD  # the largest in a u32 of the wire that has two special values

# The key, the least, the most; and whether it may be None: not set.
_NUMBERS = (
    ("criticality", 0, 10, False),
    ("cpu_max_us", 1, 10000000, True),
    ("cpu_period_us", 1000, 10000000, False),
    ("cpu_min_us", 1, 10000000, True),
    ("cpu_min_period_us", 1000, 10000000, True),
    ("weight", 1, 10000, False),
    ("slice_max_us", 100, 1000000, False),
    ("mem_min", 0, _SIZE, True),
    ("mem_high", 0, _SIZE, True),
    ("mem_max", 1, _SIZE, True),
    ("mem_buffer", 0, _SIZE, True),
    ("storage_max", 0, _SIZE, True),
    ("backoff_min_s", 0, 65535, False),
    ("backoff_max_s", 0, 65535, False),
    ("load_max_us", 1000, 60000000, True),
)
_PERIODS = ("cpu_period_us", "cpu_min_period_us")
_ORDER = (("mem_min", "mem_high"), ("mem_min", "mem_max"), ("mem_high", "mem_max"))
_WORDS = (
    ("entry", ("async", "generator", "run")),
    ("trust", ("own", "confined")),
    ("on_overrun", ("kill", "suspend")),
    ("restart", ("never", "on-failure", "always")),
)


# What is wrong with a spec that has all keys, None where nothing is.
def wrong(spec):
    for key, least, most, optional in _NUMBERS:
        value = spec.get(key)
        if value is None and optional:
            continue
        if not isinstance(value, int) or not least <= value <= most:
            return "%s is %r, and takes %d to %d" % (key, value, least, most)
    for key in _PERIODS:
        if (spec[key] or 0) % 1000:
            return "%s is %d, and takes whole ms" % (key, spec[key])
    for low, high in _ORDER:
        if spec[low] is not None and spec[high] is not None and spec[low] > spec[high]:
            return "%s is %d, above %s, %d" % (low, spec[low], high, spec[high])
    least, most, period = spec["cpu_min_us"], spec["cpu_max_us"], spec["cpu_period_us"]
    if least and most and least * period > most * (spec["cpu_min_period_us"] or period):
        return "cpu_min_us is %d, above the share of cpu_max_us" % least
    for key, words in _WORDS:
        if spec[key] not in words:
            return "%s is %r, and takes %s" % (key, spec[key], ", ".join(words))
    return None
