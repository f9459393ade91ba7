# A stand-in for the agent: says "ready CAUSE", then sends back what it gets. It ends on 0x03, or
# on the word of the host: "!exit N", "!kill" (as the last resort does). "!all" is answered with
# every byte value; after "!spin" it answers nothing any more.
import os
import sys

import ffi

_cause = os.getenv("GUESTHOUSE_RESET_CAUSE")
sys.stdout.buffer.write(("ready %s\n" % _cause).encode())
_line = b""
while True:
    _byte = sys.stdin.buffer.read(1)
    if not _byte or _byte == b"\x03":
        sys.exit(0)
    sys.stdout.buffer.write(_byte)
    _line += _byte
    if _byte == b"\n":
        _word = _line
        _line = b""
        if _word.startswith(b"!exit"):
            sys.exit(int(_word.split()[1]))
        if _word == b"!kill\n":
            _libc = ffi.open(None)
            _libc.func("i", "kill", "ii")(_libc.func("i", "getpid", "")(), 9)
        while _word == b"!spin\n":
            pass
        if _word == b"!all\n":
            sys.stdout.buffer.write(bytes(range(256)))
