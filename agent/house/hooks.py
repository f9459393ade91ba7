# What a guest meets in place of three builtins: print, open and input.
#
# The replacements run inside the guest's guarded slice and may be stopped at any jump, so
# each does its bookkeeping with single stores.

import _thread
import builtins
import micropython
import sys

from . import guest, loop, wire
from .image import exists, make_folders

_LINE_MAX = 200  # bytes of a printed line that are kept
_FILES = 8  # files of a guest that are closed by name when it ends; a collection closes the rest

_print = builtins.print
_open = builtins.open
_input = builtins.input


# What guests get for `import _thread`. A thread would run beside the guard, unbilled and
# unstoppable, in the middle of other guests' slices.
class _NoThreads:
    allocate_lock = staticmethod(_thread.allocate_lock)
    get_ident = staticmethod(_thread.get_ident)

    @staticmethod
    def start_new_thread(*_):
        raise RuntimeError("a guest has no threads: use asyncio tasks")


# What guests get for `import micropython`: the module itself, but for two functions. The VM runs a
# scheduled callback between any two jumps, and the next jump may be the agent's, where nothing
# bounds it: a guest's callback runs in a slice of its own instead. Ctrl-C is the agent's, for which
# it is a byte like any other: raised as an exception it would cut file-system calls in the middle.
class _Micropython:
    def __init__(self, current):
        self._current = current

    def __getattr__(self, name):
        return getattr(micropython, name)

    def kbd_intr(self, char):
        if self._current[0] is None:
            micropython.kbd_intr(char)

    def schedule(self, function, argument):
        instance = self._current[0]
        if instance is None:
            micropython.schedule(function, argument)
        else:
            instance.queue.push(loop.new_task(loop.Call(function, argument)))


class Hooks:
    # `current` is a list whose item 0 is the instance that runs, None in the agent.
    def __init__(self, current, telemetry, root):
        self.current = current
        self.telemetry = telemetry
        self.root = root

    def install(self):
        builtins.print = self.print  # type: ignore[assignment]
        builtins.open = self.open
        builtins.input = self.input
        guest.publish = self.publish
        sys.modules["_thread"] = _NoThreads  # type: ignore[assignment]
        sys.modules["micropython"] = _Micropython(self.current)  # type: ignore[assignment]

    def remove(self):
        builtins.print = _print
        builtins.open = _open
        builtins.input = _input
        guest.publish = guest.nowhere
        sys.modules["_thread"] = _thread
        sys.modules["micropython"] = micropython

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

    # One whole line of a guest. The board keeps the last ones; those beyond the guest's rate do not
    # go to the host and are counted.
    def line(self, instance, text, kind=wire.TEXT_LOG):
        data = text.encode()
        if len(data) > _LINE_MAX:
            data = data[: _LINE_MAX - 3] + b"..."
        instance.busy = True
        instance.log.add(data)
        if instance.log_tokens <= 0:
            instance.log_dropped += 1
        else:
            instance.log_tokens -= 1
            if self.telemetry.say(instance.id, kind, data):
                instance.tells((len(data) + wire.TEXT_SIZE - 1) // wire.TEXT_SIZE)
            else:
                instance.log_dropped += 1
        instance.busy = False

    # --- input: the serial line is the agent's ---

    def input(self, prompt=""):
        if self.current[0] is None:
            return _input(prompt)
        raise OSError("a guest has no console to read from")

    # --- metrics: a guest's own figures ---

    def publish(self, name, value):
        instance = self.current[0]
        if instance is None:
            return
        telemetry = self.telemetry
        instance.metrics += 1
        instance.tells(1)
        instance.busy = True
        try:
            telemetry.put(
                telemetry.text,
                wire.RECORD_METRIC,
                instance.id,
                wire.BODY_METRIC,
                name,
                value,
                instance.metrics,
            )
        finally:
            instance.busy = False

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

    # Closes what a guest that ended left open.
    def close_files(self, instance):
        for stream in instance.files or ():
            try:
                stream.close()
            except Exception:
                pass
