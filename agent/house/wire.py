# The wire: every layout, state, reason and verb that board and host share.
#
# This file is imported by the agent (MicroPython) and, unchanged, by the host
# (CPython); docs/protocol.md explains it in words. Every number below is part of
# the protocol: add at the end of a list, never renumber.
#
# All integers are little endian. Times on the wire are pairs of u32
# (seconds, microseconds below 10**6) since boot, because a MicroPython small int
# ends at 2**30 and a 64-bit integer would allocate.

from struct import calcsize

VERSION = 1

# --- Frames, board to host -------------------------------------------------
#
# magic(2) kind(1) version(1) payload length(2) ~length(2) | payload | crc32(4)
#
# The magic starts with 0xFE, a byte that valid UTF-8 never contains, so frames and
# console text can share one line. The complement guards the length: a damaged
# length is seen at once instead of swallowing the frames behind it. The CRC covers
# everything between magic and CRC.
MAGIC = b"\xfeG"
FRAME_HEADER = "<2sBBHH"
FRAME_HEADER_SIZE = calcsize(FRAME_HEADER)
FRAME_CRC_SIZE = 4
MAX_PAYLOAD = 1024

FRAME_BATCH = 1
FRAME_REPLY = 2

# --- Batches ----------------------------------------------------------------
#
# boot id, number of the first record, send time (s, us), record count, flags,
# records dropped since boot by class. Numbers count the records that were sent,
# modulo 2**32; the drop counters are cumulative so that a lost batch loses none.
BATCH_HEADER = "<IIIIHHIIII"
BATCH_HEADER_SIZE = calcsize(BATCH_HEADER)

BATCH_TRACE = 1  # flag: trace level is on

CLASS_STATE = 0
CLASS_SUMMARY = 1
CLASS_TEXT = 2
CLASS_TRACE = 3
CLASSES = 4

# --- Records ----------------------------------------------------------------
#
# Every record is 32 bytes: type(1) instance(1) second mod 2**16 (2) microsecond(4)
# and a body of 24. Instance 0 is the board itself, 1 the agent, 2 and up guests.
RECORD_SIZE = 32
RECORD_HEADER = "<BBHI"
RECORD_HEADER_SIZE = calcsize(RECORD_HEADER)
BODY_SIZE = RECORD_SIZE - RECORD_HEADER_SIZE

BOARD = 0
AGENT = 1
FIRST_GUEST = 2

NONE = 0xFFFFFFFF  # a u32 field that is not set (a quota without a limit)
SATURATED = 0xFFFFFFFE  # a u32 field that ran out of range

RECORD_BOOT = 1
RECORD_INSTANCE = 2
RECORD_CPU_QUOTA = 3
RECORD_MEM_QUOTA = 4
RECORD_STATE = 5
RECORD_CPU = 6
RECORD_MEM = 7
RECORD_COUNTS = 8
RECORD_HEAP = 9
RECORD_TIME = 10
RECORD_TIME_MORE = 11
RECORD_LINK = 12
RECORD_SLICE = 13
RECORD_TEXT = 14
RECORD_METRIC = 15
RECORD_BLACKOUT = 16
RECORD_BREACH = 17
RECORD_WAKEUPS = 18
RECORD_HEAP_CHECK = 19

# Bodies, each 24 bytes. Field names stand in the comment in order; `s, us` pairs
# are cumulative times since boot unless said otherwise.

# wire version, reset cause, unclean boots, guests at most, heap bytes, load limit us,
# capacity of CPU for guests ppm, oversubscription.cpu ppm, oversubscription.ram ppm
BODY_BOOT = "<BBBBIIIII"
# image id, index, state, flags, criticality, restart policy, reason of the last fault (its texts
# have reference 0), pad, digest (first 4 bytes), name
BODY_INSTANCE = "<BBBBBBBB4s12s"
# max us, max period us, min us, min period us, slice max us, weight, pad
BODY_CPU_QUOTA = "<IIIIIHH"
# min, high, max, storage max bytes; load limit us; backoff first and last in s
BODY_MEM_QUOTA = "<IIIIIHH"
# old, new, reason, event ref, a, b, c, d, e (by reason; see REASON_*)
BODY_STATE = "<BBBBIIIII"
# cpu s, us, throttled s, us, slices, pressure of the last summary period (1/10000), state, reason
BODY_CPU = "<IIIIIHBB"
# live bytes, bytes at most so far, max bytes (NONE: no limit), collections caused, flags,
# ms that it could run and did not (modulo 2**16; BODY_CPU is full),
# allocated bytes since the last collection
BODY_MEM = "<IIIIHHI"
# overruns, kills, restarts, failures, log lines dropped, longest slice us
BODY_COUNTS = "<IIIIII"
# pool bytes, used bytes, agent's bytes, collections, longest collection us, largest free run bytes
BODY_HEAP = "<IIIIII"
# agent s, us, idle s, us, stolen s, us
BODY_TIME = "<IIIIII"
# elapsed s, us, guests s, us, telemetry's part of the agent's time s, us
BODY_TIME_MORE = "<IIIIII"
# bytes sent (mod 2**28), batches, stalls, commands, damaged commands, rx bytes discarded
BODY_LINK = "<IIIIII"
# cpu us, wall us, us from runnable to running, heap change in bytes, task number, flags, pad
BODY_SLICE = "<IIIiIHH"
# kind, index, count, event ref, 20 bytes of UTF-8, zero padded
BODY_TEXT = "<BBBB20s"
# name, value, sequence
BODY_METRIC = "<12sqI"
# kind, pad, length us, bytes freed, live bytes after, pad
BODY_BLACKOUT = "<BBHIIIII"
# cause (a blackout), who caused it, pad, its length us, missing us, breaches so far, min us, its
# period us
BODY_BREACH = "<BBHIIIII"
# counts of wake-ups, modulo 2**16, that waited below 2**7 us, 2**8 us, ... and longer
BODY_WAKEUPS = "<HHHHHHHHHHHH"
# checks, of them failed, bytes of all owners together, bytes in use as the collector says, bytes
# that guests have left behind for ever, pad
BODY_HEAP_CHECK = "<IIIIII"

TEXT_SIZE = 20
TEXT_CHUNKS = 12  # a text is at most this many records; longer ones are cut and say so
NAME_SIZE = 12  # an image's name; the instance's is name.index
METRIC_SIZE = 12
WAKEUP_BUCKETS = 12
WAKEUP_SHIFT = 7

INSTANCE_AUTOSTART = 1
INSTANCE_CONFINED = 2
INSTANCE_GONE = 4  # removed: the id may be used again
INSTANCE_SUSPEND = 8  # on_overrun = "suspend"

MEM_EXACT = 1
MEM_HIGH = 2  # it is above its memory.high

SLICE_OVERRUN = 1
SLICE_ENDED = 2
SLICE_LOAD = 4

BLACKOUT_NONE = 0  # of a breach: none is known
BLACKOUT_COLLECT = 1
BLACKOUT_LOAD = 2
BLACKOUT_FLASH = 3
BLACKOUT_COMMAND = 4  # one that the host asked for
BLACKOUT_STOLEN = 5  # the machine ran something else

TEXT_LOG = 1  # a line a guest printed
TEXT_ERROR = 2  # a line the agent says about a guest
TEXT_WHERE = 3  # where a guest was: "file:line in function < file:line in caller"
TEXT_WHAT = 4  # what happened: the exception's type and message
TEXT_BOARD = 5
TEXT_FIRMWARE = 6
TEXT_AGENT = 7
TEXT_MECHANISM = 8  # "name: ok" or "name: reason it failed"
TEXT_VERSION = 9  # an image's version and full digest

# --- States -----------------------------------------------------------------
STATE_LOADING = 1
STATE_READY = 2
STATE_RUNNING = 3
STATE_WAITING = 4
STATE_THROTTLED = 5
STATE_SUSPENDED = 6
STATE_STOPPED = 7
STATE_EXITED = 8
STATE_FAILED = 9
STATE_KILLED = 10
STATE_BACKOFF = 11
STATE_QUARANTINED = 12

# --- Reasons ----------------------------------------------------------------
# What a, b, c, ... of RECORD_STATE hold stands behind each; nothing where silent.
REASON_NONE = 0
REASON_DEPLOYED = 1
REASON_BOOT = 2
REASON_START = 3
REASON_LOADED = 4  # a: us the load took
REASON_RETURNED = 5  # main() returned
REASON_EXIT = 6  # SystemExit
REASON_OVERRUN = 7  # a: us on the CPU, b: slice_max us, c: deliveries of the exception
REASON_OOM = 8  # a: live bytes, b: memory.max bytes
REASON_EXCEPTION = 9
REASON_THROTTLED = 10  # a: us over the budget, b: us until the next budget
REASON_REFILLED = 11
REASON_STOP = 12
REASON_KILL = 13
REASON_RESTART = 14
REASON_BACKOFF = 15  # a: ms until the next start, b: failures in a row
REASON_RETRY = 16
REASON_TOO_MANY_FAILURES = 17  # b: failures in a row
REASON_SYNTAX = 18
REASON_NO_MAIN = 19
REASON_LOAD_OVERRUN = 20  # a: us on the CPU, b: load limit us, c: deliveries
REASON_DEADLOCK = 21  # no task of the guest can ever run again
REASON_REMOVED = 22
REASON_REFUSED = 23  # admission
REASON_ESCALATED = 24  # the last resort ended it
REASON_AGENT_FAULT = 25
REASON_HEAP_FULL = 26  # a: bytes it held; evicted or refused because the heap is short
REASON_BAD_IMAGE = 27
REASON_WOKEN = 28
REASON_YIELDED = 29
REASON_SAFE_MODE = 30  # the board came up without starting guests
REASON_UNCLEAN_BOOT = 31  # in the journal: the board was reset while it ran, nobody knows by whom
REASON_EVICTED = 32  # a: bytes that this freed, b: bytes above its memory.min, c: deliveries
REASON_STRAYS = 33  # a: bytes that its runs have left for ever, b: bytes that they may

# --- Resets -------------------------------------------------------------------
# Why the board started.
RESET_UNKNOWN = 0
RESET_POWER_ON = 1  # or the reset button: nothing was kept
RESET_SOFT = 2  # the agent had been left for the REPL, or somebody asked for a reset
RESET_WATCHDOG = 3  # the last resort, or the watchdog of the agent itself
RESET_FAULT = 4  # the agent ended with an error

# --- Commands, host to board -------------------------------------------------
#
# One line of ASCII: 0x16, base64(command header, body, crc32), "\n". Base64 keeps
# 0x03 and 0x04 off the line, which a MicroPython board takes as Ctrl-C and Ctrl-D.
# The body of VERB_PUT is a u32 offset and raw bytes, every other body is a JSON object.
COMMAND_START = 0x16
COMMAND_HEADER = "<BBI"  # verb, flags, command id
COMMAND_HEADER_SIZE = calcsize(COMMAND_HEADER)
COMMAND_LINE_MAX = 384  # fits the receive ring of a Pico beside what is under way
PUT_CHUNK = 192  # file bytes in one VERB_PUT

VERB_HELLO = 1  # {} -> announces every instance anew
VERB_LEVEL = 2  # {"trace": bool}
VERB_START = 3  # {"g": instance}
VERB_STOP = 4
VERB_KILL = 5
VERB_RESTART = 6
VERB_REMOVE = 7  # {"g": image}
VERB_SET = 8  # {"g": instance, <guest.json keys to change>}, {"g": "board", <figures in ppm>}
VERB_WHY = 9  # {"g": instance}
VERB_LOGS = 10  # {"g": instance, "from": line number}
VERB_BEGIN = 11  # {"image": name, "digest": hex, "size": bytes}
VERB_FILE = 12  # {"path": relative path, "size": bytes, "sha": hex SHA-256}
VERB_PUT = 13
VERB_COMMIT = 14  # {"start": bool}
VERB_ABORT = 15
VERB_PING = 16  # {"flash": bool, "fill": bytes of padding}, each may be missing
VERB_JOURNAL = 17  # {"from": number of the first event}
VERB_INSPECT = 18  # {"g": instance, "collect": bool}

# Reply payload: command id, status, flags, then a JSON object: the result, or
# {"error": what went wrong, "hint": what to do}.
REPLY_HEADER = "<IBB"
REPLY_HEADER_SIZE = calcsize(REPLY_HEADER)

STATUS_OK = 0
STATUS_DAMAGED = 1  # the command did not survive the line: send it again
STATUS_UNKNOWN_VERB = 2
STATUS_NO_SUCH_GUEST = 3
STATUS_BAD_VALUE = 4
STATUS_REFUSED = 5  # admission: does not fit beside the others
STATUS_WRONG_STATE = 6
STATUS_NO_SPACE = 7
STATUS_HASH_MISMATCH = 8
STATUS_AGENT_ERROR = 9

RESTART_NEVER = 0
RESTART_ON_FAILURE = 1
RESTART_ALWAYS = 2
