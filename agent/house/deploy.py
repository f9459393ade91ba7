# Deploy: an image's files over the link, beside the old version, then one rename.
# In memory only while a deploy is under way: commands.py loads it and lets go of it.

import binascii
import hashlib

from micropython import const

from . import wire
from .commands import Failed
from .image import make_folders, remove_tree

_FILES = const(64)


class Deploy:
    def __init__(self, store):
        self.store = store
        self.abort()

    # Forgets a deploy that is under way; what it wrote is swept at the next begin.
    def abort(self):
        stream = getattr(self, "stream", None)
        if stream is not None:
            stream.close()
        self.name = None
        self.digest = None
        self.folder = None
        self.stream = None
        self.path = None
        self.size = 0
        self.got = 0
        self.hash = None
        self.sha = None
        self.files = 0

    def begin(self, name, digest, size):
        self.abort()
        for c in name + digest[:8]:
            if not (c in "_-" or "0" <= c <= "9" or "a" <= c <= "z"):
                raise Failed(
                    wire.STATUS_BAD_VALUE,
                    "%s is no name for an image" % name,
                    "use a to z, 0 to 9, _ and -",
                )
        self.store.sweep()
        folder = name + "-" + digest[:8]
        self.check_space(size)
        if folder in self.store.in_use():  # the same version again: beside itself
            folder += "-2"
        self.folder = folder
        remove_tree(self.store.folder + "/" + folder)
        make_folders(self.store.folder + "/" + folder)
        self.name = name
        self.digest = digest

    def check_space(self, size):
        free = self.store.free()
        if size + 8192 > free:
            raise Failed(
                wire.STATUS_NO_SPACE,
                "the image needs %d bytes, the board has %d free" % (size, free),
                "remove a guest with guesthouse rm",
            )

    def file(self, path, size, sha):
        if self.name is None:
            raise Failed(wire.STATUS_WRONG_STATE, "no deploy is under way", "begin it again")
        if path.startswith("/") or ".." in path.split("/") or not path:
            raise Failed(
                wire.STATUS_BAD_VALUE, "the path %s leaves the image" % path, "use relative paths"
            )
        self.files += 1
        if self.files > _FILES:
            raise Failed(wire.STATUS_BAD_VALUE, "more than %d files" % _FILES, "deploy fewer files")
        self.finish_file()
        full = self.store.folder + "/" + self.folder + "/" + path
        make_folders(full[: full.rindex("/")])
        self.stream = open(full, "wb")
        self.path = path
        self.size = size
        self.sha = sha
        self.got = 0
        self.hash = hashlib.sha256()
        if size == 0:
            self.finish_file()

    # A chunk at an offset. One that is already there is acknowledged again.
    def put(self, offset, data):
        if self.path is None:
            raise Failed(wire.STATUS_WRONG_STATE, "no file is open", "begin the deploy again")
        if offset + len(data) <= self.got:
            return self.got
        if offset != self.got or self.got + len(data) > self.size or self.stream is None:
            raise Failed(
                wire.STATUS_WRONG_STATE,
                "%s: a chunk at %d, %d of %d bytes are there"
                % (self.path, offset, self.got, self.size),
                "begin the deploy again",
            )
        try:
            self.stream.write(data)
        except OSError as error:
            self.abort()
            raise Failed(
                wire.STATUS_NO_SPACE,
                "the board's file system: %s" % error,
                "remove a guest with guesthouse rm",
            )
        self.hash.update(data)
        self.got += len(data)
        if self.got == self.size:
            self.finish_file()
        return self.got

    # Closes the file under way and checks it.
    def finish_file(self):
        if self.stream is None:
            return
        self.stream.close()
        self.stream = None
        digest = str(binascii.hexlify(self.hash.digest()), "ascii")
        if self.got != self.size or digest != self.sha:
            path = self.path
            self.abort()
            raise Failed(wire.STATUS_HASH_MISMATCH, "%s arrived damaged" % path, "deploy again")

    # Raises Failed unless every file that was begun is whole.
    def check_complete(self):
        if self.name is None:
            raise Failed(wire.STATUS_WRONG_STATE, "no deploy is under way", "begin it again")
        if self.stream is not None:
            raise Failed(
                wire.STATUS_WRONG_STATE,
                "%s is not complete: %d of %d bytes" % (self.path, self.got, self.size),
                "send the rest of the file",
            )

    # Makes the new version the current one.
    def commit(self):
        self.check_complete()
        self.store.switch(self.name, self.folder, self.digest)
        self.abort()
