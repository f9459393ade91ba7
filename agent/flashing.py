# Runs on the board during `guesthouse flash`, which sends it to the raw REPL and calls it.
# Paths are relative to the root, where the REPL is after a soft reset.

import binascii
import hashlib
import json
import os
import sys

_FOLDER = "lib/house"
_MANIFEST = _FOLDER + "/package.txt"
_READY = _FOLDER + "/package.new"


def digest(path):
    buf = bytearray(1024)
    view = memoryview(buf)
    sha = hashlib.sha256()
    with open(path, "rb") as f:
        while n := f.readinto(buf):
            sha.update(view[:n])
    return str(binascii.hexlify(sha.digest()), "ascii")


# The path of every file in the folder and below.
def walk(folder):
    try:
        entries = list(os.ilistdir(folder))
    except OSError:
        return
    for entry in entries:
        path = folder + "/" + entry[0] if folder else entry[0]
        if entry[1] & 0x4000:
            yield from walk(path)
        else:
            yield path


# Prints what is there: the agent's files and those of the root folder with their hashes.
def look():
    finish()
    files = [[path, digest(path)] for path in walk(_FOLDER)]
    for entry in os.ilistdir():
        path = entry[0]
        if not entry[1] & 0x4000:
            files.append([path, digest(path) if path.startswith("main.py") else ""])
    try:
        with open(_MANIFEST) as f:
            manifest = f.read()
    except OSError:
        manifest = ""
    try:
        images = os.listdir("images")
    except OSError:
        images = []
    fs = os.statvfs("/")
    print(
        json.dumps(
            {
                "files": files,
                "images": images,
                "manifest": manifest,
                "block": fs[0],
                "free": fs[0] * fs[3],
            }
        )
    )


def sizes():
    print(json.dumps([[path, os.stat(path)[6]] for path in walk("")]))


def make_folders(path):
    end = path.find("/")
    while end > 0:
        try:
            os.mkdir(path[:end])
        except OSError:
            pass  # it is there; and where not, opening the file says why
        end = path.find("/", end + 1)


# Takes lines: "PATH SIZE SHA256", then the file in base64, then the next; "." ends it. Every line
# is answered with one character: "+", behind the last of a file "=" or, if it arrived damaged, "?".
def receive():
    while True:
        line = sys.stdin.readline().split()
        if len(line) != 3:
            sys.stdout.write(".")
            return
        path, left, wanted = line[0], int(line[1]), line[2]
        make_folders(path)
        try:
            with open(path, "wb") as f:
                while left:
                    sys.stdout.write("+")
                    data = binascii.a2b_base64(sys.stdin.readline())
                    f.write(data)
                    left -= len(data)
            sys.stdout.write("=" if digest(path) == wanted else "?")
        except OSError as error:
            remove([path])
            raise error


# A second name for what is in the way of a file of the agent's.
def keep(path, name):
    buf = bytearray(1024)
    view = memoryview(buf)
    with open(path, "rb") as old, open(name + ".new", "wb") as new:
        while n := old.readinto(buf):
            new.write(view[:n])
    os.rename(name + ".new", name)


# From here on the new files count: a cut is ended by the board's main.py.
def commit():
    os.rename(_MANIFEST + ".new", _READY)
    finish()


def finish():
    try:
        with open(_READY) as f:
            lines = f.read().split("\n")
    except OSError:
        return
    for line in lines:
        if line.startswith("file "):
            path = line.split(" ")[-1]
            try:
                os.rename(path + ".new", path)
            except OSError:
                pass  # it is in its place
    os.rename(_READY, _MANIFEST)


# Gives back the flash that the agent has written beside the file system. One that has no such
# module, or whose module is damaged, leaves it: nothing looks there.
def release():
    try:
        from house.ports import rp2_xip

        rp2_xip.erase()
    except Exception:
        pass


def restore(name, path):
    os.rename(name, path)


# Removes files, and folders with all that is in them; what is not there is no error.
def remove(paths):
    for path in paths:
        try:
            folder = os.stat(path)[0] & 0x4000
        except OSError:
            continue
        if folder:
            remove([path + "/" + entry[0] for entry in os.ilistdir(path)])
            os.rmdir(path)
        else:
            os.remove(path)


# Removes folders that are empty.
def tidy(folders):
    for folder in folders:
        try:
            os.rmdir(folder)
        except OSError:
            pass
