"""An image: the files of a guest as the board will hold them, checked and hashed on the host."""

from __future__ import annotations

import ast
import fnmatch
import hashlib
import json
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from guesthouse.core.errors import ExitCode, GuesthouseError
from guesthouse.core.units import fmt_bytes
from guesthouse.guests.manifest import (
    Capacity,
    Manifest,
    Options,
    check_name,
    load_manifest,
    manifest_from_options,
    valid_name,
)

FILE_MAX = 256 * 1024
IMAGE_MAX = 1024 * 1024
FILES_MAX = 63  # the board takes 64, and guest.json is one
PATH_MAX = 64  # a path, its hash and the rest fit one command line

MANIFEST = "guest.toml"
MANIFEST_ON_BOARD = "guest.json"

# What editors, version control and CPython leave beside a program. Names that start with
# a dot are left out as well.
JUNK = (
    "__pycache__",
    "*.pyc",
    "*.pyo",
    "*.pyi",
    "*~",
    "#*#",
    "*.swp",
    "*.swo",
    "*.bak",
    "*.orig",
    "*.rej",
    "*.tmp",
    "Thumbs.db",
    "desktop.ini",
    # the editor's set-up that `guesthouse new` writes, and what pip puts there
    "typings",
    "pyproject.toml",
    "requirements-dev.txt",
)
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class ImageError(GuesthouseError):
    """Files that cannot become an image."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint, ExitCode.USAGE)


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One file: its path below the image's folder ('/' between parts), content, SHA-256 in hex."""

    path: str
    data: bytes
    sha256: str


@dataclass(frozen=True, slots=True)
class Image:
    """A guest ready to be sent. ``digest`` (hex) stands for every path and every byte."""

    name: str
    version: str
    digest: str
    files: tuple[ImageFile, ...]
    manifest: Manifest
    warnings: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(len(file.data) for file in self.files)


def load_image(
    path: Path,
    *,
    name: str | None = None,
    options: Options | None = None,
    capacity: Capacity | None = None,
    force: bool = False,
) -> Image:
    """The image of a guest's folder, or of a single file, which becomes its ``main.py``.

    ``options`` are laid over the manifest (see manifest.OPTIONS). With ``force``, Python that
    does not compile is a warning: the board then says itself what it thinks of it.
    Raises ImageError or ManifestError.
    """
    if path.is_dir():
        if not (path / "main.py").is_file():
            raise ImageError(
                f"{path}: there is no main.py in it",
                "a guest is a folder with main.py (and guest.toml), or a single .py file",
            )
        contents = _read_folder(path)
        source = path / MANIFEST
        if source.is_file():
            manifest = load_manifest(
                source,
                default_name=valid_name(path.resolve().name),
                overrides=options,
                capacity=capacity,
            )
        else:
            manifest = manifest_from_options(
                valid_name(path.resolve().name), options or {}, capacity=capacity
            )
        shown = {inside: path / inside for inside in contents}
    elif path.is_file():
        if path.suffix != ".py":
            raise ImageError(
                f"{path}: is not a .py file", "a guest is a Python program or a folder"
            )
        manifest = manifest_from_options(valid_name(path.stem), options or {}, capacity=capacity)
        contents = {"main.py": _read_file(path)}
        shown = {"main.py": path}
    else:
        raise ImageError(
            f"{path}: there is no such file or folder", "name a guest's folder, or a Python file"
        )
    if name is not None:
        manifest = replace(manifest, name=check_name(name, "--name"))
    remarks = _check_python(contents, shown, force)
    entry, remark = find_entry(contents["main.py"])
    if remark:
        remarks.append(f"{shown['main.py']}: {remark}")
    remarks += manifest.unenforced()
    return build_image(replace(manifest, entry=entry), contents, tuple(remarks))


def build_image(
    manifest: Manifest, contents: Mapping[str, bytes], remarks: tuple[str, ...] = ()
) -> Image:
    """An image of checked parts; adds ``guest.json``. ``contents`` is content by path."""
    _check_bounds(contents)
    board_manifest = json.dumps(manifest.to_json_dict(), sort_keys=True, separators=(",", ":"))
    everything = {**contents, MANIFEST_ON_BOARD: board_manifest.encode()}
    files = tuple(
        ImageFile(path, data, hashlib.sha256(data).hexdigest())
        for path, data in sorted(everything.items())
    )
    return Image(manifest.name, manifest.version, digest_of(files), files, manifest, remarks)


def digest_of(files: Iterable[ImageFile]) -> str:
    """SHA-256 in hex over ``<sha256>  <path>\\n`` of every file by path, as sha256sum prints it."""
    total = hashlib.sha256()
    for file in sorted(files, key=lambda one: one.path):
        total.update(f"{file.sha256}  {file.path}\n".encode())
    return total.hexdigest()


def find_entry(source: bytes) -> tuple[str, str]:
    """How the board starts a main.py, and a remark ("" where there is none).

    "run" where the module runs itself (it ends in ``asyncio.run(main())``), "async" for
    ``async def main()``, "generator" for a ``def main()`` that yields.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return "async", ""  # deployed by force: the board will say what is wrong
    main: ast.AST | None = None
    runs = guarded_runs = False
    for node in _module_level(tree.body):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == "main":
            main = node
        elif isinstance(node, ast.Expr | ast.Assign) and _runs_loop(node):
            runs = True
        elif isinstance(node, ast.If) and _is_main_guard(node.test):
            guarded_runs = guarded_runs or any(map(_runs_loop, _module_level(node.body)))
    if runs:
        return "run", ""
    if isinstance(main, ast.AsyncFunctionDef):
        return "async", ""
    if isinstance(main, ast.FunctionDef):
        if any(isinstance(node, ast.Yield | ast.YieldFrom) for node in _own_nodes(main)):
            return "generator", ""
        return "generator", "main() neither is async nor yields: it runs in one slice"
    if guarded_runs:
        return "run", ""
    if any(_binds_main(node) for node in _module_level(tree.body)):
        return "async", ""
    return "run", "there is no main() and nothing calls asyncio.run(): the board may say no-main"


def _module_level(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run with the module, inside try, with and plain if as well."""
    for node in body:
        yield node
        if isinstance(node, ast.If) and _is_main_guard(node.test):
            continue
        for part in ("body", "orelse", "finalbody"):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield from _module_level(getattr(node, part, ()))
        if isinstance(node, ast.Try):
            for handler in node.handlers:
                yield from _module_level(handler.body)


def _own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(function):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            yield node
            yield from _own_nodes(node)


def _is_main_guard(test: ast.expr) -> bool:
    return "__name__" in {node.id for node in ast.walk(test) if isinstance(node, ast.Name)}


def _runs_loop(node: ast.stmt) -> bool:
    if not isinstance(node, ast.Expr | ast.Assign):
        return False
    return any(
        (
            isinstance(call.func, ast.Attribute)
            and call.func.attr in ("run_until_complete", "run_forever")
        )
        or (
            isinstance(call.func, ast.Attribute)
            and call.func.attr == "run"
            and isinstance(call.func.value, ast.Name)
            and call.func.value.id in ("asyncio", "uasyncio")
        )
        or (isinstance(call.func, ast.Name) and call.func.id == "run" and bool(call.args))
        for call in ast.walk(node)
        if isinstance(call, ast.Call)
    )


def _binds_main(node: ast.stmt) -> bool:
    if isinstance(node, ast.ImportFrom | ast.Import):
        return any((alias.asname or alias.name) == "main" for alias in node.names)
    if isinstance(node, ast.Assign):
        return any(isinstance(to, ast.Name) and to.id == "main" for to in node.targets)
    return False


def _check_python(
    contents: Mapping[str, bytes], shown: Mapping[str, Path], force: bool
) -> list[str]:
    """Compile every .py file. A board takes a subset: what passes here may still fail there."""
    remarks = []
    for inside, data in contents.items():
        if not inside.endswith(".py"):
            continue
        problem = _syntax_problem(data)
        if not problem:
            continue
        message = f"{shown[inside]}{problem}"
        if not force:
            raise ImageError(message, "correct it, or send it as it is with --force")
        remarks.append(message)
    return remarks


def _syntax_problem(data: bytes) -> str:
    try:
        text = data.decode("utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an unknown escape is the user's to like
            compile(text, "main.py", "exec", dont_inherit=True)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return f":{line}: is not UTF-8 text"
    except SyntaxError as error:
        line_text = (error.text or "").strip()
        return f":{error.lineno or 1}: {error.msg}" + (f": {line_text}" if line_text else "")
    except (ValueError, RecursionError, MemoryError) as error:
        return f": does not compile: {error}"
    return ""


def _read_folder(folder: Path) -> dict[str, bytes]:
    contents: dict[str, bytes] = {}
    root = folder.resolve()
    pending = [folder]
    total = 0
    while pending:
        here = pending.pop()
        for path in sorted(here.iterdir()):
            if path.name.startswith(".") or any(fnmatch.fnmatch(path.name, j) for j in JUNK):
                continue
            if not path.resolve().is_relative_to(root):
                raise ImageError(
                    f"{path}: leads out of the guest's folder",
                    "copy what the guest needs into its folder",
                )
            if path.is_dir():
                # A link to a folder above would be walked for ever.
                if path.is_symlink():
                    raise ImageError(
                        f"{path}: is a link to a folder",
                        "copy what the guest needs into its folder",
                    )
                pending.append(path)
                continue
            inside = path.relative_to(folder).as_posix()
            if inside == MANIFEST:
                continue  # the board reads guest.json
            if inside == MANIFEST_ON_BOARD:
                raise ImageError(
                    f"{path}: is written by guesthouse itself, from {MANIFEST}",
                    f"move it away, and say in {MANIFEST} what it said",
                )
            check_path(inside, str(path))
            contents[inside] = _read_file(path)
            total += len(contents[inside])
            if len(contents) > FILES_MAX or total > IMAGE_MAX:
                raise ImageError(
                    f"{folder}: holds more than {FILES_MAX} files or {fmt_bytes(IMAGE_MAX)}",
                    "is it a guest's folder? data that belongs elsewhere can be moved out of it",
                )
    return contents


def _read_file(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise ImageError(f"{path}: is no regular file", "remove it from the guest's folder")
        if path.stat().st_size > FILE_MAX:
            raise ImageError(
                f"{path}: is larger than {fmt_bytes(FILE_MAX)}",
                "a board's flash holds little: move it out of the guest's folder",
            )
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}") from error


def check_path(inside: str, shown: str) -> None:
    """Refuse a path that could leave the image's folder or that some file system cannot hold."""
    if not all(map(_PART.fullmatch, inside.split("/"))):
        raise ImageError(
            f"{shown}: this name cannot be used on a board",
            "letters, digits, '_', '-' and '.', not first, in every part of the path",
        )
    if len(inside) > PATH_MAX:
        raise ImageError(
            f"{shown}: its path is longer than {PATH_MAX} characters", "shorten the names"
        )


def _check_bounds(contents: Mapping[str, bytes]) -> None:
    folded: dict[str, str] = {}
    for inside in contents:
        check_path(inside, inside)
        other = folded.setdefault(inside.lower(), inside)
        if other != inside:
            raise ImageError(
                f"{inside} and {other} differ only in case",
                "some file systems cannot tell them apart: rename one",
            )
