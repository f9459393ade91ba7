# Images: what is deployed, on the board's file system.
#
# images/NAME.ref names the folder that is the current version; it is written beside the
# old one and renamed, so that the switch is one step and power may fail at any byte.

import json
import os

from . import modules


class BadImage(Exception):
    pass


class Image:
    def __init__(self, ident, name, folder, digest, spec):
        self.id = ident
        self.name = name
        self.folder = folder
        self.digest = digest  # hex SHA-256
        self.spec = spec  # what the agent reads of guest.json; its values are shared, never set


# The file names of a folder; an absent folder has none.
def names(folder):
    try:
        return sorted([e[0] for e in os.ilistdir(folder) if e[0] not in (".", "..")])
    except OSError:
        return []


def exists(path):
    try:
        os.stat(path)
        return True
    except OSError:
        return False


# Removes a file or a folder and all below it; what is not there is no error.
def remove_tree(path):
    try:
        is_folder = os.stat(path)[0] & 0x4000
    except OSError:
        return
    if not is_folder:
        os.remove(path)
        return
    for name in names(path):
        remove_tree(path + "/" + name)
    os.rmdir(path)


def make_folders(path):
    end = 0
    while end >= 0:
        end = path.find("/", end + 1)
        part = path[:end] if end > 0 else path
        if not exists(part):
            os.mkdir(part)


# Writes a file so that a reader sees the old content or the new, never half of it.
def write_whole(path, text):
    with open(path + ".new", "w") as f:
        f.write(text)
    os.rename(path + ".new", path)


# What is wrong with the values of a spec that has all keys, None where nothing is.
def check(spec):
    from . import ranges

    wrong = ranges.wrong(spec)
    modules.drop(ranges)
    return wrong


# The images of a board.
class Store:
    def __init__(self, root):
        self.folder = root + "/images"
        self.file = root + "/guesthouse.json"  # what was set for the whole board
        make_folders(self.folder)

    # What keep_settings() was given last; nothing where that cannot be read.
    def settings(self):
        try:
            with open(self.file) as f:
                kept = json.load(f)
        except (OSError, ValueError):
            return {}
        return kept if isinstance(kept, dict) else {}

    def keep_settings(self, settings):
        write_whole(self.file, json.dumps(settings))

    # Bytes that the file system has left.
    def free(self):
        info = os.statvfs(self.folder)
        return info[0] * info[3]

    def installed(self):
        return [n[:-4] for n in names(self.folder) if n.endswith(".ref")]

    # Reads the current version of an image. Raises BadImage with what is wrong.
    def load(self, name, ident):
        try:
            with open(self.folder + "/" + name + ".ref") as f:
                ref = json.load(f)
            return self.read(name, ref["dir"], ref["digest"], ident)
        except (OSError, ValueError, KeyError) as e:
            raise BadImage("%s cannot be read (%r): deploy it again" % (name, e))

    # Reads the image in one folder of the store. Raises BadImage.
    def read(self, name, folder, digest, ident):
        path = self.folder + "/" + folder
        try:
            with open(path + "/guest.json") as f:
                spec = json.load(f)
        except (OSError, ValueError) as e:
            raise BadImage("%s/guest.json cannot be read (%r): deploy it again" % (name, e))
        missing = [k for k in _KEYS if not isinstance(spec, dict) or k not in spec]
        if missing:
            raise BadImage("%s/guest.json lacks %s: deploy it again" % (name, ", ".join(missing)))
        wrong = check(spec)
        if wrong:
            raise BadImage("%s/guest.json: %s: deploy it again" % (name, wrong))
        kept = {k: spec[k] for k in _KEYS}
        kept["version"] = spec.get("version", "")
        if spec.get("mem_buffer"):
            kept["mem_buffer"] = spec["mem_buffer"]  # few have one
        return Image(ident, name, path, digest, kept)

    # Makes the folder the current version of the image.
    def switch(self, name, folder, digest):
        write_whole(
            self.folder + "/" + name + ".ref", json.dumps({"dir": folder, "digest": digest})
        )

    def remove(self, name):
        try:
            os.remove(self.folder + "/" + name + ".ref")
        except OSError:
            pass
        self.sweep()

    # The folders that references name.
    def in_use(self):
        used = []
        for name in self.installed():
            try:
                with open(self.folder + "/" + name + ".ref") as f:
                    used.append(json.load(f)["dir"])
            except (OSError, ValueError, KeyError):
                pass
        return used

    # Removes every folder that no reference names: old versions, and deploys that were cut.
    def sweep(self):
        used = self.in_use()
        for name in names(self.folder):
            if not name.endswith(".ref") and name not in used:
                remove_tree(self.folder + "/" + name)


_KEYS = (
    "name",
    "entry",
    "autostart",
    "criticality",
    "trust",
    "cpu_max_us",
    "cpu_period_us",
    "cpu_min_us",
    "cpu_min_period_us",
    "weight",
    "slice_max_us",
    "on_overrun",
    "mem_min",
    "mem_high",
    "mem_max",
    "storage_max",
    "restart",
    "backoff_min_s",
    "backoff_max_s",
    "load_max_us",
)
