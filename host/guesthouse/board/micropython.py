"""Finds a MicroPython of the Unix port that can host guests, or provides one."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from guesthouse.core.assets import agent_dir
from guesthouse.core.errors import GuesthouseError

VARIABLE = "GUESTHOUSE_MICROPYTHON"
MINIMUM = (1, 24)  # the first with the asyncio and the VM state that the agent relies on

_PROBE = (
    "import sys, ffi, asyncio, _thread, uctypes, micropython\n"
    "i = sys.implementation\n"
    "print(i.name, '.'.join([str(n) for n in i.version[:3]]))"
)
_PROBE_TIMEOUT_S = 20
_SELFTEST_TIMEOUT_S = 60

Progress = Callable[[str], None]
"""Told in a few words what takes long; called from the caller's thread."""


@dataclass(frozen=True, slots=True)
class MicroPython:
    """A MicroPython that starts.

    ``argv`` starts it and takes MicroPython's own arguments behind it: a binary, or a loader with
    its arguments and the binary. ``version`` is ``"1.25.0"``. ``origin`` says where it is from:
    ``"named"`` (the variable), ``"path"``, ``"packages"`` or ``"source"``.
    """

    argv: tuple[str, ...]
    version: str
    origin: str


SelfTest = Callable[[MicroPython], str]
"""Why this MicroPython cannot host guests, empty when it can."""


def find_or_provide(
    progress: Progress | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    selftest: SelfTest | None = None,
) -> MicroPython:
    """The MicroPython to run Unix-port boards with.

    In this order: the one that ``$GUESTHOUSE_MICROPYTHON`` names (taken as it is, when it starts);
    ``micropython`` on ``PATH`` when it is new enough and passes the agent's self-tests; one from
    the cache; one put there from Debian's packages, or built from Debian's source. Raises
    GuesthouseError that names the package to install where none of this works.
    """
    from guesthouse.board import provision  # here: it imports MicroPython from this module

    environ = os.environ if environ is None else environ
    selftest = selftest or run_selftest
    progress = progress or (lambda _: None)
    if named := environ.get(VARIABLE, "").strip():
        return _named(named, environ)
    refused = ""
    if found := shutil.which("micropython", path=environ.get("PATH", os.defpath)):
        try:
            candidate = probe((found,), "path")
            refused = _too_old(candidate) or selftest(candidate)
        except GuesthouseError as error:
            refused = error.message
        else:
            if not refused:
                return candidate
        refused = f"{found} cannot be used: {refused}"
        progress(refused)
    try:
        return provision.provide(progress, environ=environ, selftest=selftest)
    except GuesthouseError as error:
        message = f"{refused}; and {error.message}" if refused else error.message
        raise GuesthouseError(message, error.hint, error.code) from error


def probe(argv: tuple[str, ...], origin: str) -> MicroPython:
    """Start it once and ask for its version; GuesthouseError when it is no usable MicroPython."""
    try:
        done = subprocess.run(
            [*argv, "-c", _PROBE],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GuesthouseError(f"{shlex.join(argv)} does not start: {error}") from error
    words = done.stdout.split()
    if done.returncode != 0:
        reason = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise GuesthouseError(
            f"{shlex.join(argv)} does not work (status {done.returncode}): {''.join(reason)}"
        )
    if len(words) != 2 or words[0] != "micropython":
        raise GuesthouseError(f"{shlex.join(argv)} is not MicroPython")
    return MicroPython(argv, words[1], origin)


def run_selftest(micropython: MicroPython) -> str:
    """Let the agent try every mechanism it rests on; gives why it cannot run, or nothing.

    The agent prints ``name: ok`` or ``name: reason`` a line and ends with status 0 when it can
    hold its promises with what passed.
    """
    main = agent_dir() / "main.py"
    if not main.is_file():
        return ""  # whoever starts a board without an agent is told so then
    command = [*micropython.argv, "-X", "heapsize=1m", str(main), "--selftest"]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SELFTEST_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"the agent's self-test did not run: {error}"
    if done.returncode == 0:
        return ""
    lines = [line.strip() for line in done.stdout.splitlines() if ": " in line]
    failed = [line for line in lines if not line.endswith(": ok")]
    tail = failed or done.stderr.strip().splitlines()[-1:]
    return f"the agent's self-test failed (status {done.returncode}): " + "; ".join(tail)


def _named(named: str, environ: Mapping[str, str]) -> MicroPython:
    """The user's own choice: a path, or a command with arguments. No version is required."""
    argv = (named,) if Path(named).is_file() else tuple(shlex.split(named))
    program = shutil.which(argv[0], path=environ.get("PATH", os.defpath))
    if program is None:
        raise GuesthouseError(
            f"{VARIABLE} names {named}, which is not a program",
            f"set {VARIABLE} to a MicroPython of the Unix port, or unset it to have one provided",
        )
    try:
        return probe((program, *argv[1:]), "named")
    except GuesthouseError as error:
        raise GuesthouseError(
            f"{VARIABLE}: {error.message}",
            f"unset {VARIABLE} to have a MicroPython provided",
        ) from error


def _too_old(micropython: MicroPython) -> str:
    version = tuple(int(part) for part in micropython.version.split(".")[:2])
    if version >= MINIMUM:
        return ""
    wanted = ".".join(map(str, MINIMUM))
    return f"it is MicroPython {micropython.version}, and Guesthouse needs {wanted} or newer"
