# Where a guest was: an exception's traceback as one line of text.

import io
import sys

_FRAMES = 6  # innermost frames that are worth the room


# Takes a printed traceback line by line, outermost frame first, and keeps the innermost ones: a
# traceback may have thousands of lines, and the heap may be short.
class _Frames(io.IOBase):
    def __init__(self, agent, again):
        self.agent = agent  # prefix of the agent's file names, whose frames are left out
        self.again = again
        self.line = b""
        self.last = ""
        self.done = False
        self.kept = []  # type: list[str]

    def write(self, data):
        if not self.done:
            self.line += bytes(data)
            while b"\n" in self.line:
                line, self.line = self.line.split(b"\n", 1)
                self.frame(str(line, "utf-8"))
        return len(data)

    def frame(self, line):
        if self.done or not line.startswith('  File "'):
            return
        end = line.find('"', 8)
        name = line[8:end]
        if name.startswith(self.agent) or name == "<string>":
            return
        number, function = _place(line[end + 1 :])
        if self.again and name + function == self.last:
            self.done = True
            return
        self.last = name + function
        self.kept.append(name + ":" + number + (" in " + function if function else ""))
        if len(self.kept) > _FRAMES:
            self.kept.pop(0)


# "hog.py:4 in spin < hog.py:9 in main", innermost first, without the agent's own frames.
# `agent` is the prefix of the agent's file names. An exception that was raised several
# times, in a guest that swallowed it, carries the places of the older raises behind the
# newest chain: with `again` the chain ends where a function comes round.
def where(error, agent, again=False):
    frames = _Frames(agent, again)
    sys.print_exception(error, frames)
    return " < ".join(reversed(frames.kept))


# ", line 4, in spin" -> ("4", "spin")
def _place(text):
    number = function = ""
    for part in text.split(", "):
        if part.startswith("line "):
            number = part[5:]
        elif part.startswith("in "):
            function = part[3:]
    return number, "" if function == "<module>" else function


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
