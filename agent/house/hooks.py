# What a guest meets in place of three builtins: print, open and __import__.
#
# The replacements run inside the guest's guarded slice and may be stopped at any jump, so
# each does its bookkeeping with single stores.

import builtins
import sys

from . import wire
from .image import exists, make_folders

_LINE_MAX = 200  # bytes of a printed line that are kept
_FILES = 8  # files of a guest that are closed by name when it ends; a collection closes the rest

_print = builtins.print
_open = builtins.open
_import = builtins.__import__


class Hooks:
    # `current` is a list whose item 0 is the instance that runs, None in the agent.
    def __init__(self, current, telemetry, root):
        self.current = current
        self.telemetry = telemetry
        self.root = root

    def install(self):
        builtins.print = self.print
        builtins.open = self.open
        builtins.__import__ = self.import_

    def remove(self):
        builtins.print = _print
        builtins.open = _open
        builtins.__import__ = _import

    # --- print: lines for the guest's log ---

    def print(self, *args, sep=" ", end="\n", file=None):
        instance = self.current[0]
        if instance is None or file is not None:
            if file is None:
                _print(*args, sep=sep, end=end)
            else:
                _print(*args, sep=sep, end=end, file=file)
            return
        lines = (instance.partial + sep.join([str(a) for a in args]) + end).split("\n")
        instance.partial = lines.pop()[:_LINE_MAX]
        for line in lines:
            self.line(instance, line)

    # One whole line of a guest. Lines beyond its rate are counted and gone.
    def line(self, instance, text, kind=wire.TEXT_LOG):
        if instance.log_tokens <= 0:
            instance.log_dropped += 1
            return
        instance.log_tokens -= 1
        data = text.encode()
        if len(data) > _LINE_MAX:
            data = data[: _LINE_MAX - 3] + b"..."
        instance.log.add(data)
        if not self.telemetry.say(instance.id, kind, data):
            instance.log_dropped += 1

    # --- open: a guest's relative paths lie in its own folders ---

    # A file is read from the instance's data folder, or else from its image; it is written
    # to the data folder.
    def path(self, instance, name, mode):
        if name.startswith("/"):
            return name
        data = self.root + "/data/" + instance.name
        path = data + "/" + name
        if "r" in mode and "+" not in mode and not exists(path):
            return instance.image.folder + "/" + name
        make_folders(data)
        return path

    def open(self, file, mode="r", *args, **kwargs):
        instance = self.current[0]
        if instance is None:
            return _open(file, mode, *args, **kwargs)
        if isinstance(file, str):
            file = self.path(instance, file, mode)
        stream = _open(file, mode, *args, **kwargs)
        files = instance.files
        if len(files) >= _FILES:
            files.pop(0)
        files.append(stream)
        return stream

    # --- import: two guests may each have a helper.py ---

    def import_(self, name, scope=None, local=None, names=(), level=0):
        instance = self.current[0]
        if instance is None:
            return _import(name, scope, local, names, level)
        first = name.split(".")[0] if level == 0 else None
        own = instance.modules
        if first is None or not (first in own or self._has(instance, first)):
            return _import(name, scope, local, names, level)
        # Put the guest's modules where the import looks, and take them out again. Stopped in
        # between, the kernel's clean() does the second half.
        for key in own:
            sys.modules[key] = own[key]
        sys.path.insert(0, instance.image.folder)
        try:
            return _import(name, scope, local, names, level)
        finally:
            self.clean(instance)

    def _has(self, instance, name):
        path = instance.image.folder + "/" + name
        return exists(path + ".py") or exists(path + ".mpy") or exists(path + "/__init__.py")

    # Takes an instance's own modules out of sys.modules and its folder off sys.path.
    def clean(self, instance):
        folder = instance.image.folder
        own = instance.modules
        for key in list(sys.modules):
            path = getattr(sys.modules[key], "__file__", None)
            if path and path.startswith(folder):
                own[key] = sys.modules.pop(key)
        while folder in sys.path:
            sys.path.remove(folder)

    # Closes what a guest that ended left open.
    def close_files(self, instance):
        for stream in instance.files or ():
            try:
                stream.close()
            except Exception:
                pass
