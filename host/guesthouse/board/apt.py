"""Debian packages without installing them: a private apt beside the system's own.

The system's apt is only read: where it fetches from, which key signs that, which proxy it uses.
Lists, archives and state are in a folder of ours, so this works for an ordinary user, and
signatures are checked as always. Only the standard library is used, because the set-up of the
checkout runs this before anything is installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from guesthouse.core.errors import GuesthouseError

_APT_ETC = Path("/etc/apt")
_OS_RELEASE = Path("/etc/os-release")
_DEBIAN_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_TIMEOUT_S = 300
_TAIL_LINES = 8


@dataclass(frozen=True, slots=True)
class Archive:
    """Where a machine's own apt gets Debian from.

    ``signed_by`` is the value of the deb822 field: a path, a fingerprint or a key in full (then
    with its continuation lines), empty where the machine trusts all of its keys.
    """

    uris: tuple[str, ...]
    signed_by: str = ""


def os_release(path: Path = _OS_RELEASE) -> dict[str, str]:
    """The fields of os-release(5), empty on a system without one."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
    return {key.strip(): value.strip().strip("\"'") for key, _, value in pairs}


def find_archive(codename: str, etc: Path = _APT_ETC) -> Archive | None:
    """The archive the machine takes the suite ``codename`` from, None when it has none.

    Reads ``sources.list`` (an entry a line) and ``sources.list.d`` (both formats). Security and
    vendor archives do not carry the suite itself, so they never match.
    """
    for archive, suites, components in _entries(etc):
        if codename in suites and "main" in components and archive.uris:
            return archive
    return None


def debian_archive() -> Archive | None:
    """Debian's archive as this machine reaches it, None on Ubuntu and its kin: not the same one."""
    system = os_release()
    if "ubuntu" in (system.get("ID", ""), *system.get("ID_LIKE", "").split()):
        return None
    names = (system.get("DEBIAN_CODENAME", ""), system.get("VERSION_CODENAME", ""))
    for suite in (*names, "stable", "oldstable", "testing", "sid", "unstable"):
        if suite and (archive := find_archive(suite)) is not None:
            return archive
    return None


def _entries(etc: Path) -> Iterator[tuple[Archive, list[str], list[str]]]:
    parts = etc / "sources.list.d"
    files = [etc / "sources.list", *(sorted(parts.iterdir()) if parts.is_dir() else [])]
    for file in files:
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        if file.suffix == ".list":
            yield from _one_line_entries(text)
        elif file.suffix == ".sources":
            yield from _deb822_entries(text)


def _one_line_entries(text: str) -> Iterator[tuple[Archive, list[str], list[str]]]:
    for raw in text.splitlines():
        kind, *words = raw.partition("#")[0].replace("\t", " ").split(" ")
        if kind != "deb":
            continue
        rest = " ".join(words).strip()
        options: dict[str, str] = {}
        if rest.startswith("["):
            inside, _, rest = rest[1:].partition("]")
            options = {k: v for k, eq, v in (o.partition("=") for o in inside.split()) if eq}
        uri, *words = rest.split() or [""]
        if words and ":" in uri and not uri.startswith("cdrom:"):
            # Several key files are separated by commas here and by blanks in deb822.
            signed_by = options.get("signed-by", "").replace(",", " ")
            yield Archive((uri,), signed_by), words[:1], words[1:]


def _deb822_entries(text: str) -> Iterator[tuple[Archive, list[str], list[str]]]:
    for stanza in _stanzas(text):
        if stanza.get("enabled", "yes").strip().lower() in ("no", "false", "0", "off"):
            continue
        if "deb" not in stanza.get("types", "").split():
            continue
        uris = tuple(u for u in stanza.get("uris", "").split() if not u.startswith("cdrom:"))
        archive = Archive(uris, stanza.get("signed-by", ""))
        yield archive, stanza.get("suites", "").split(), stanza.get("components", "").split()


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    """Stanzas of a deb822 file; continuation lines stay as written, a key in full needs them."""
    stanza: dict[str, str] = {}
    key = ""
    for line in [*text.splitlines(), ""]:
        if line.startswith("#"):
            continue
        if not line.strip():
            if stanza:
                yield stanza
            stanza, key = {}, ""
        elif line[0] in " \t":
            if key:
                stanza[key] += "\n" + line
        else:
            name, _, value = line.partition(":")
            key = name.strip().lower()
            stanza[key] = value.strip()


class PrivateApt:
    """apt with every folder of its own below ``folder``, fetching one suite from one archive."""

    def __init__(
        self, folder: Path, suite: str, archive: Archive, *, sources: bool = False
    ) -> None:
        self._folder = folder
        signed_by = archive.signed_by
        if not signed_by and _DEBIAN_KEYRING.is_file():
            signed_by = str(_DEBIAN_KEYRING)
        for name in ("etc", "state/lists/partial", "cache/archives/partial", "log"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        stanza = [
            f"Types: {'deb deb-src' if sources else 'deb'}",
            f"URIs: {' '.join(archive.uris)}",
            f"Suites: {suite}",
            "Components: main",
            f"Architectures: {architecture()}",
        ]
        if signed_by:
            stanza.append(f"Signed-By: {signed_by}")
        (folder / "etc" / "private.sources").write_text("\n".join(stanza) + "\n", encoding="utf-8")
        self._config = folder / "apt.conf"
        self._config.write_text(self._settings(), encoding="utf-8")

    def _settings(self) -> str:
        """Ours, and of the machine's only how to reach the network (proxies, certificates).

        The rest is left out on purpose: machines have hooks there that clean the system's cache
        or wake daemons after every update.
        """
        dumped = _run(["apt-config", "dump"], "reading apt's configuration").splitlines()
        network = [line for line in dumped if line.startswith("Acquire::")]
        own: dict[str, str | Path] = {
            "Dir::Etc::main": "/dev/null",
            "Dir::Etc::parts": "/dev/null",
            "Dir::Etc::sourcelist": "/dev/null",
            "Dir::Etc::sourceparts": self._folder / "etc",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Dir::State": self._folder / "state",
            "Dir::State::status": "/dev/null",
            "Dir::Cache": self._folder / "cache",
            "Dir::Log": self._folder / "log",
            "Acquire::Languages": "none",
            "Acquire::Retries": "2",
            "Acquire::http::Timeout": "30",
            "Acquire::https::Timeout": "30",
            # A list that could not be fetched is an error, not a warning and status 0.
            "APT::Update::Error-Mode": "any",
        }
        if os.geteuid() == 0:
            # apt would drop to the user _apt, who may not write below a home folder.
            own["APT::Sandbox::User"] = "root"
        lines = [*network, "#clear Acquire::Languages;"]
        lines += [f'{key} "{value}";' for key, value in own.items()]
        return "\n".join(lines) + "\n"

    def update(self) -> None:
        """Fetch the suite's package lists; GuesthouseError when the archive cannot be reached."""
        self._apt(["update"], "fetching Debian's package lists", self._folder)

    def download(self, packages: Sequence[str], into: Path) -> list[Path]:
        """Download the .deb files of ``packages`` into the folder ``into``."""
        into.mkdir(parents=True, exist_ok=True)
        self._apt(["download", *packages], f"downloading {' '.join(packages)}", into)
        files = sorted(into.glob("*.deb"))
        if len(files) < len(packages):
            raise GuesthouseError(f"apt downloaded {len(files)} of {len(packages)} packages")
        return files

    def download_source(self, package: str, into: Path) -> None:
        """Download and unpack the source of ``package``; needs ``sources=True`` and dpkg-dev."""
        into.mkdir(parents=True, exist_ok=True)
        self._apt(["source", package], f"downloading the source of {package}", into)

    def download_tarball(self, package: str, into: Path) -> Path:
        """Download the upstream source of ``package``, without Debian's patches; the tarball.

        Checked against the signed lists like everything else. Needs ``sources=True``; unlike
        ``download_source`` it needs no dpkg-dev.
        """
        into.mkdir(parents=True, exist_ok=True)
        what = f"downloading the source of {package}"
        self._apt(["source", "--download-only", package], what, into)
        found = sorted(into.glob(f"{package}_*.orig.tar.*"))
        found = [path for path in found if path.suffix != ".asc"]
        if len(found) != 1:
            raise GuesthouseError(f"the source of {package} is not one tarball: {len(found)}")
        return found[0]

    def _apt(self, arguments: Sequence[str], what: str, cwd: Path) -> None:
        environment = {**os.environ, "APT_CONFIG": str(self._config), "LC_ALL": "C.UTF-8"}
        _run(["apt-get", "-q", *arguments], what, cwd=cwd, env=environment)


def architecture() -> str:
    """Debian's name of this machine's architecture, such as ``amd64``."""
    return _run(["dpkg", "--print-architecture"], "asking dpkg for the architecture").strip()


def missing_tools() -> list[str]:
    """The programs that a private apt needs and this machine lacks."""
    return [tool for tool in ("apt-get", "apt-config", "dpkg") if shutil.which(tool) is None]


def unpack(package: Path, into: Path) -> None:
    """Unpack the files of a .deb below ``into``; nothing is installed, no script is run."""
    into.mkdir(parents=True, exist_ok=True)
    _run(["dpkg", "-x", str(package), str(into)], f"unpacking {package.name}")


def _run(
    command: Sequence[str],
    what: str,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a command, give its output; GuesthouseError with the last lines when it fails."""
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError as error:
        raise GuesthouseError(f"{what} failed: {command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise GuesthouseError(f"{what} took longer than {_TIMEOUT_S} s") from error
    if done.returncode != 0:
        words = (done.stderr.strip() or done.stdout.strip()).splitlines()[-_TAIL_LINES:]
        raise GuesthouseError(f"{what} failed (status {done.returncode}): " + "\n".join(words))
    return done.stdout
