# Where a guest was: an exception's traceback as one line of text.

import io
import sys

_FRAMES = 6  # innermost frames that are worth the room


# "hog.py:4 in spin < hog.py:9 in main", innermost first, without the agent's own frames.
# `agent` is the prefix of the agent's file names. An exception that was raised several
# times, in a guest that swallowed it, carries the places of the older raises behind the
# newest chain: with `again` the chain ends where a function comes round.
def where(error, agent, again=False):
    out = io.StringIO()
    sys.print_exception(error, out)
    frames = []  # type: list[str]
    last = ""
    for line in out.getvalue().split("\n"):
        if not line.startswith('  File "'):
            continue
        end = line.find('"', 8)
        name = line[8:end]
        if name.startswith(agent) or name == "<string>":
            continue
        number, function = _place(line[end + 1 :])
        if again and frames and name + function == last:
            break
        last = name + function
        frames.append(name + ":" + number + (" in " + function if function else ""))
    return " < ".join(reversed(frames[-_FRAMES:]))


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
