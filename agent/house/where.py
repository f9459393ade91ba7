# Where a guest was: an exception's traceback as one line of text.

import io
import sys

_FRAMES = 6  # innermost frames that are worth the room


# "hog.py:4 in spin < hog.py:9 in main", innermost first, without the agent's own frames.
# `agent` is the prefix of the agent's file names. An exception that was raised several
# times, as in a guest that swallowed it, carries one chain for each raise; the newest is
# printed first, and the chain ends where its outermost frame comes round again.
def where(error, agent):
    out = io.StringIO()
    sys.print_exception(error, out)
    chain = []
    for line in out.getvalue().split("\n"):
        if not line.startswith('  File "'):
            continue
        end = line.find('"', 8)
        name = line[8:end]
        if name.startswith(agent) or name == "<string>":
            if chain:
                break
            continue
        number, function = _place(line[end + 1 :])
        frame = name + ":" + number + (" in " + function if function else "")
        if chain and function == chain[0][1] and name == chain[0][2]:
            break
        chain.append((frame, function, name))
    return " < ".join([c[0] for c in reversed(chain[-_FRAMES:])])


# ", line 4, in spin" -> ("4", "spin")
def _place(text):
    number = function = ""
    for part in text.split(", "):
        if part.startswith("line "):
            number = part[5:]
        elif part.startswith("in "):
            function = part[3:]
    return number, "" if function == "<module>" else function


# The exception's type and message, cut to fit a text record.
def what(error):
    try:
        message = str(error)
    except Exception:  # a guest's own class may raise here
        message = ""
    name = type(error).__name__
    return (name + ": " + message if message else name)[:120]
