# Where a guest was: an exception's traceback as one line of text.

import io
import sys

import micropython
from micropython import const

_FRAMES = 6  # innermost frames that are worth the room
_NEWEST = const(768)  # bytes of a traceback that hold the newest chain
_HEAD = b'  File "'


# "hog.py:4 in spin < hog.py:9 in main", innermost first, without the agent's own frames.
# `agent` is the prefix of the agent's file names. An exception that was raised several
# times, in a guest that swallowed it, carries the places of the older raises behind the
# newest chain: with `again` the chain ends where a function comes round.
#
# The traceback is printed in C and only what is kept is looked at: a stream of our own would be
# called seven times a line, and that takes a Pico 2 ms.
def where(error, agent, again=False):
    prefix = agent.encode()
    if again:
        # Nothing is wanted of what is behind the newest chain, and there may be a hundred raises:
        # the stream is full when it cannot grow.
        stream = io.BytesIO(_NEWEST)
        micropython.heap_lock()
        try:
            sys.print_exception(error, stream)
        except MemoryError:
            pass
        finally:
            micropython.heap_unlock()
    else:
        stream = io.BytesIO()
        sys.print_exception(error, stream)
    text = stream.getvalue()
    kept = []  # type: list[str]
    if again:
        last = b""
        at = text.find(_HEAD)
        while at >= 0:
            place, function = _frame(text, at, prefix)
            if place:
                if function == last:
                    break
                last = function
                kept.insert(0, place)
            at = text.find(_HEAD, at + 8)
        return " < ".join(kept[:_FRAMES])
    at = text.rfind(_HEAD)
    while at >= 0 and len(kept) < _FRAMES:
        place = _frame(text, at, prefix)[0]
        if place:
            kept.append(place)
        at = text.rfind(_HEAD, 0, at)
    return " < ".join(kept)


# The frame whose line begins at `at`: ("hog.py:4 in spin", file and function); "" where it is none
# of the guest's. The line: `  File "hog.py", line 4, in spin`.
def _frame(text, at, prefix):
    end = text.find(b"\n", at)
    close = text.find(b'"', at + 8)
    if end < 0 or close < 0:
        return "", b""  # cut off
    name = text[at + 8 : close]
    if name.startswith(prefix) or name == b"<string>":
        return "", b""
    comma = text.find(b",", close + 8, end)
    if comma < 0:
        comma = end
    function = text[comma + 5 : end]
    place = name + b":" + text[close + 8 : comma]
    if function and function != b"<module>":
        place += b" in " + function
    return str(place, "utf-8"), name + function


# (where, what) of a guest's exception. It runs the guest's code where the exception or one of its
# arguments has a __str__ of the guest's, so it is asked for through Kernel.ask().
def describe(question):
    error, agent, again = question
    return where(error, agent, again), what(error)


# Whether a SystemExit is one of a good end. Through Kernel.ask(), like describe().
def is_good_exit(error):
    return not error.args or error.args[0] in (None, 0)


# The exception's type and message, cut to fit a text record.
def what(error):
    try:
        message = str(error)
    except Exception:  # a guest's own class may raise here
        message = ""
    name = type(error).__name__
    return (name + ": " + message if message else name)[:120]
