"""A board for flash without a board: files in a dict, and a cable that is pulled when told to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from guesthouse.core.errors import GuesthouseError
from guesthouse.install.board import Content, Identity, Progress
from guesthouse.install.package import BOOT, MANIFEST, BoardFile, parse_manifest
from guesthouse.install.target import Target

RP2040 = Target("rp2", "armv6m", "6.3")
READY = "lib/house/package.new"


class Pulled(GuesthouseError):
    """The cable is out, or the power is off."""

    def __init__(self) -> None:
        super().__init__("it went away")


class FakeBoard:
    """Does what agent/flashing.py does, one step of the file system at a time.

    ``cut_at`` pulls the cable at that step, counted from 1; a file that is being written then is
    left empty, as littlefs leaves it. ``sent`` are the paths that were written, in order.
    """

    name = "fake"

    def __init__(self, files: dict[str, bytes] | None = None, free: int = 1 << 20) -> None:
        self.files = dict(files or {})
        self.free = free
        self.sent: list[str] = []
        self.steps = 0
        self.cut_at = 0

    def _step(self, done: Callable[[], None], half: Callable[[], None] | None = None) -> None:
        self.steps += 1
        if self.steps == self.cut_at:
            if half is not None:
                half()
            raise Pulled
        done()

    def identity(self) -> Identity:
        return Identity("micropython", "1.28.0", "Pico", "MicroPython 1.28.0", RP2040)

    def look(self) -> Content:
        self._finish()
        text = self.files.get(MANIFEST, b"").decode()
        return Content(
            hashes={path: hashlib.sha256(data).hexdigest() for path, data in self.files.items()},
            images=tuple(
                sorted({path.split("/")[1] for path in self.files if path.startswith("images/")})
            ),
            manifest=parse_manifest(text),
            block=4096,
            free=self.free,
        )

    def sizes(self) -> dict[str, int]:
        return {path: len(data) for path, data in self.files.items()}

    def stage(self, files: Sequence[BoardFile], progress: Progress) -> None:
        for file in files:
            self.sent.append(file.path)
            self._step(
                lambda file=file: self.files.__setitem__(file.path, file.data),  # type: ignore[misc]
                lambda file=file: self.files.__setitem__(file.path, b""),  # type: ignore[misc]
            )
            progress(1, 1, file.path)

    def keep(self, path: str, name: str) -> None:
        self._step(lambda: self.files.__setitem__(name, self.files[path]))

    def commit(self) -> None:
        self.restore(f"{MANIFEST}.new", READY)
        self._finish()

    def restore(self, name: str, path: str) -> None:
        self._step(lambda: self.files.__setitem__(path, self.files.pop(name)))

    def release(self) -> None:
        pass

    def remove(self, paths: Sequence[str]) -> None:
        for path in paths:
            for one in [one for one in self.files if one == path or one.startswith(f"{path}/")]:
                self._step(lambda one=one: self.files.__delitem__(one))  # type: ignore[misc]

    def tidy(self, folders: Sequence[str]) -> None:
        pass

    def _finish(self) -> None:
        if READY not in self.files:
            return
        manifest = parse_manifest(self.files[READY].decode())
        assert manifest is not None
        for path in manifest.files:
            if f"{path}.new" in self.files:
                self.restore(f"{path}.new", path)
        self.restore(READY, MANIFEST)

    def starts(self) -> str:
        """What the board does at power on: "nothing", an agent's version, "repl", "program"."""
        if b"agent cannot start" not in self.files.get(BOOT, b""):
            return "program" if self.files.get(BOOT) else "nothing"
        self.cut_at = 0
        self._finish()
        manifest = parse_manifest(self.files.get(MANIFEST, b"").decode())
        if manifest is None:
            return "repl"
        right = all(
            hashlib.sha256(self.files.get(path, b"")).hexdigest() == sha
            for path, sha in manifest.files.items()
        )
        return manifest.version if right else "repl"
