# /main.py of a board: starts the agent, or says why it cannot and leaves the REPL to the user.
# `guesthouse flash` puts it there, `guesthouse unflash` takes it away.

import binascii
import gc
import os
import sys

_MANIFEST = "/lib/house/package.txt"
_READY = "/lib/house/package.new"


# A flash whose power was cut while the new files took the places of the old ones: the others do
# so now. The list of them is there only if all of them are.
def _finish():
    try:
        with open(_READY) as lines:
            for line in lines:
                if line.startswith("file "):
                    path = "/" + line.split()[-1]
                    try:
                        os.rename(path + ".new", path)
                    except OSError:
                        pass  # it was done before
        os.rename(_READY, _MANIFEST)
    except OSError:
        pass


# Damaged code could do anything, even hang the board before it is seen on USB: it is not run.
def _check():
    buf = bytearray(512)
    with open(_MANIFEST) as lines:
        for line in lines:
            if line.startswith("file "):
                _, wanted, _, path = line.split()
                crc = 0
                with open("/" + path, "rb") as f:
                    n = f.readinto(buf)
                    while n:
                        crc = binascii.crc32(memoryview(buf)[:n], crc)
                        n = f.readinto(buf)
                if "%08x" % crc != wanted:
                    raise ValueError("/%s is damaged" % path)


def _start():
    try:
        _finish()
        _check()
        gc.collect()  # the agent stays where it is loaded: not behind what this has left
        __import__("house.main")  # agent/main.py, compiled: only a board has it there
    # SystemExit too: the firmware would start all over, for ever.
    except (Exception, SystemExit) as error:
        sys.print_exception(error)
        print("Guesthouse's agent cannot start: %s: %s" % (type(error).__name__, error))
        print("run `guesthouse flash` again; the REPL is yours")


_start()
