"""A real MicroPython is found or provided: fetched for real, and wrong machines made up."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from guesthouse.board import apt, provision
from guesthouse.board.micropython import MicroPython, find_or_provide, probe, run_selftest
from guesthouse.core.errors import GuesthouseError

CAN_FETCH = platform.system() == "Linux" and not apt.missing_tools()
fetches = [
    pytest.mark.network,
    pytest.mark.skipif(not CAN_FETCH, reason="packages are fetched on Debian only"),
    pytest.mark.skipif(
        bool(os.environ.get("GUESTHOUSE_OFFLINE")), reason="GUESTHOUSE_OFFLINE is set"
    ),
]
NOWHERE = apt.Archive(("file:///nonexistent/debian",))


def good(_: MicroPython) -> str:
    return ""


def environ(cache: Path, **more: str) -> dict[str, str]:
    """Nothing on PATH, an empty cache."""
    return {"PATH": "", "XDG_CACHE_HOME": str(cache), **more}


def said(micropython: MicroPython, program: str) -> str:
    done = subprocess.run([*micropython.argv, "-c", program], capture_output=True, text=True)
    return done.stdout + done.stderr


@pytest.fixture
def no_debian(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever fetches something fails."""
    monkeypatch.setattr(provision, "_debian_archive", lambda: NOWHERE)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def fetched(cache: Path) -> MicroPython:
    # What a killed process left, and a folder that is there but does not work.
    store = cache / "guesthouse" / "micropython"
    (store / ".new-killed" / "usr").mkdir(parents=True)
    broken = store / f"debian-trixie-{apt.architecture()}-1" / "usr" / "bin"
    broken.mkdir(parents=True)
    (broken / "micropython").write_text("cut off")
    return find_or_provide(environ=environ(cache), selftest=good)


class TestFetched:
    """What is fetched from Debian, once for all of these tests."""

    pytestmark = fetches

    def test_it_runs_everything_that_the_agent_needs(self, fetched: MicroPython) -> None:
        program = "import ffi, asyncio, _thread, uctypes, micropython; print(ffi.open('libc.so.6'))"
        assert said(fetched, program).startswith("<ffimod")
        assert tuple(map(int, fetched.version.split("."))) >= (1, 24, 0)
        assert fetched.origin == "packages"

    def test_it_runs_through_its_own_loader(self, fetched: MicroPython, cache: Path) -> None:
        assert len(fetched.argv) == 4
        assert all(str(cache) in part for part in (fetched.argv[0], *fetched.argv[2:]))
        program = "print(open('/proc/self/maps').read())"
        assert str(cache) in next(
            line for line in said(fetched, program).splitlines() if line.endswith("libc.so.6")
        )

    def test_it_passes_the_agents_self_tests(self, fetched: MicroPython) -> None:
        assert run_selftest(fetched) == ""

    def test_nothing_but_the_whole_folder_is_in_the_cache(
        self, fetched: MicroPython, cache: Path
    ) -> None:
        store = cache / "guesthouse" / "micropython"
        names = sorted(path.name for path in store.iterdir())
        assert names == [".lock", f"debian-trixie-{apt.architecture()}-1"]
        assert sorted(path.name for path in (store / names[1]).iterdir()) in (
            ["etc", "usr"],
            ["usr"],
        )

    @pytest.mark.usefixtures("no_debian")
    def test_it_is_used_again_without_a_network(self, fetched: MicroPython, cache: Path) -> None:
        assert find_or_provide(environ=environ(cache), selftest=good) == fetched

    def test_one_that_fails_the_self_tests_is_refused_with_the_reason(
        self, fetched: MicroPython, cache: Path
    ) -> None:
        with pytest.raises(GuesthouseError, match="cannot host guests: slot: not found") as caught:
            find_or_provide(environ=environ(cache), selftest=lambda _: "slot: not found")
        assert "GUESTHOUSE_MICROPYTHON" in caught.value.hint
        assert Path(fetched.argv[0]).exists()


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that other users can reach: tmp_path is private."""
    folder = Path(tempfile.mkdtemp(prefix="guesthouse-test-"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.network
@pytest.mark.skipif(not CAN_FETCH, reason="packages are fetched on Debian only")
@pytest.mark.skipif(bool(os.environ.get("GUESTHOUSE_OFFLINE")), reason="GUESTHOUSE_OFFLINE is set")
def test_two_ordinary_users_processes_at_once_share_one_copy(public_folder: Path) -> None:
    # In a fork, so that it works as well where only root can read this Python.
    pids = []
    for number in range(2):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                if os.geteuid() == 0:
                    os.setgroups([])
                    os.setgid(65534)
                    os.setuid(65534)
                words: list[str] = []
                made = find_or_provide(words.append, environ=environ(public_folder), selftest=good)
                text = "\n".join([made.argv[0], *words])
                (public_folder / f"said-{number}").write_text(text)
                status = 0
            finally:
                os._exit(status)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0]
    both = [(public_folder / f"said-{number}").read_text().splitlines() for number in range(2)]
    assert both[0][0] == both[1][0]
    assert sum("fetching" in line for words in both for line in words) == 1


@pytest.mark.skipif(not CAN_FETCH, reason="packages are fetched on Debian only")
class TestBrokenArchives:
    def left(self, cache: Path) -> list[str]:
        return [path.name for path in (cache / "guesthouse" / "micropython").iterdir()]

    @pytest.mark.usefixtures("no_debian")
    def test_an_archive_out_of_reach_leaves_nothing_in_the_cache(self, tmp_path: Path) -> None:
        with pytest.raises(GuesthouseError, match="could not be provided") as caught:
            find_or_provide(environ=environ(tmp_path), selftest=good)
        assert "apt install micropython" in caught.value.hint
        assert self.left(tmp_path) == [".lock"]

    def test_an_archive_that_nobody_signed_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        suite = tmp_path / "archive" / "dists" / "trixie"
        (suite / "main" / f"binary-{apt.architecture()}").mkdir(parents=True)
        (suite / "main" / f"binary-{apt.architecture()}" / "Packages").write_text("")
        (suite / "Release").write_text("Suite: trixie\nCodename: trixie\n")
        archive = apt.Archive((f"file://{tmp_path}/archive",))
        monkeypatch.setattr(provision, "_debian_archive", lambda: archive)
        with pytest.raises(GuesthouseError, match="not signed"):
            find_or_provide(environ=environ(tmp_path / "cache"), selftest=good)
        assert self.left(tmp_path / "cache") == [".lock"]

    def test_a_download_that_is_interrupted_leaves_nothing_in_the_cache(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(provision, "_debian_archive", lambda: NOWHERE)

        def interrupt(_: apt.PrivateApt) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(apt.PrivateApt, "update", interrupt)
        with pytest.raises(KeyboardInterrupt):
            find_or_provide(environ=environ(tmp_path), selftest=good)
        assert self.left(tmp_path) == [".lock"]

    def test_what_a_killed_process_left_goes_at_the_next_try(self, tmp_path: Path) -> None:
        script = textwrap.dedent("""
            import os, signal
            from guesthouse.board import apt, micropython, provision
            provision._debian_archive = lambda: apt.Archive(("file:///nonexistent",))
            apt.PrivateApt.update = lambda self: os.kill(os.getpid(), signal.SIGKILL)
            environ = {**os.environ, "PATH": ""}  # no micropython that this machine may have
            micropython.find_or_provide(environ=environ, selftest=lambda _: "")
        """)
        env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
        env.pop("GUESTHOUSE_MICROPYTHON", None)
        killed = subprocess.run([sys.executable, "-c", script], env=env, check=False)
        assert killed.returncode == -signal.SIGKILL
        assert any(name.startswith(".new-") for name in self.left(tmp_path))
        with (
            pytest.MonkeyPatch.context() as patch,
            pytest.raises(GuesthouseError, match="could not be provided"),
        ):
            patch.setattr(provision, "_debian_archive", lambda: NOWHERE)
            find_or_provide(environ=environ(tmp_path), selftest=good)
        assert self.left(tmp_path) == [".lock"]

    def test_the_systems_own_apt_is_left_alone(self, tmp_path: Path) -> None:
        apt.PrivateApt(tmp_path / "apt", "trixie", NOWHERE)
        command = ["apt-config", "shell"]
        for name in ("State", "State::Lists", "Cache", "Cache::Archives", "Etc::SourceParts"):
            command += [name.replace("::", "_"), f"Dir::{name}/d"]
        env = {**os.environ, "APT_CONFIG": str(tmp_path / "apt" / "apt.conf")}
        folders = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        for line in folders.stdout.splitlines():
            assert str(tmp_path / "apt") in line
        hooks = subprocess.run(
            ["apt-config", "dump", "APT::Update", "DPkg::Post-Invoke"],
            env=env,
            capture_output=True,
            text=True,
            check=True,
        )
        assert "Invoke" not in hooks.stdout


class TestUnsupportedSystems:
    def refused(self, cache: Path) -> GuesthouseError:
        with pytest.raises(GuesthouseError) as caught:
            find_or_provide(environ=environ(cache), selftest=good)
        assert "apt install micropython" in caught.value.hint
        assert "brew install micropython" in caught.value.hint
        assert "GUESTHOUSE_MICROPYTHON" in caught.value.hint
        return caught.value

    def test_a_system_without_apt_is_told_which_package_to_install(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(apt, "missing_tools", lambda: ["apt-get"])
        assert "no MicroPython on this system" in self.refused(tmp_path).message

    def test_another_system_is_told_which_package_to_install(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "platform", "darwin")
        self.refused(tmp_path)

    @pytest.mark.skipif(not CAN_FETCH, reason="needs dpkg")
    def test_ubuntus_archive_is_not_taken_for_debians(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fields = {"ID": "ubuntu", "ID_LIKE": "debian", "VERSION_CODENAME": "jammy"}
        monkeypatch.setattr(apt, "os_release", lambda: fields)
        monkeypatch.setattr(apt, "find_archive", lambda _: NOWHERE)
        assert "no Debian archive" in self.refused(tmp_path).message

    @pytest.mark.skipif(not CAN_FETCH, reason="needs dpkg")
    def test_a_cache_that_cannot_be_written_is_an_error_that_says_what_to_do(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(GuesthouseError, match="cannot be made") as caught:
            find_or_provide(environ=environ(tmp_path / "file"), selftest=good)
        assert "XDG_CACHE_HOME" in caught.value.hint


class TestFound:
    """Which MicroPython is taken; the programs here only say what they are."""

    @pytest.fixture
    def provided(self, monkeypatch: pytest.MonkeyPatch) -> MicroPython:
        made = MicroPython(("provided",), "1.25.0", "packages")
        monkeypatch.setattr(provision, "provide", lambda *_, **__: made)
        return made

    def program(self, folder: Path, says: str, name: str = "micropython") -> Path:
        folder.mkdir(exist_ok=True)
        file = folder / name
        file.write_text(f"#!/bin/sh\n{says}\n")
        file.chmod(0o755)
        return file

    def test_one_on_path_that_is_new_enough_is_taken(
        self, tmp_path: Path, provided: MicroPython
    ) -> None:
        file = self.program(tmp_path, "echo micropython 1.24.0")
        found = find_or_provide(environ={"PATH": str(tmp_path)}, selftest=good)
        assert found == MicroPython((str(file),), "1.24.0", "path")

    @pytest.mark.parametrize(
        ("says", "why"),
        [
            ("echo micropython 1.23.0", "needs 1.24"),
            ("echo circuitpython 9.0.0", "is not MicroPython"),
            ("echo ImportError: no module named ffi >&2; exit 1", "no module named ffi"),
        ],
    )
    def test_one_on_path_that_cannot_be_used_is_named_and_another_provided(
        self, tmp_path: Path, provided: MicroPython, says: str, why: str
    ) -> None:
        self.program(tmp_path, says)
        words: list[str] = []
        environ = {"PATH": str(tmp_path)}
        assert find_or_provide(words.append, environ=environ, selftest=good) == provided
        assert why in words[0]

    def test_a_new_version_is_not_enough_where_the_self_tests_fail(
        self, tmp_path: Path, provided: MicroPython
    ) -> None:
        self.program(tmp_path, "echo micropython 1.26.0")
        environ = {"PATH": str(tmp_path)}
        assert find_or_provide(environ=environ, selftest=lambda _: "slot: no") == provided

    def test_the_variable_names_a_program_or_a_command(
        self, tmp_path: Path, provided: MicroPython
    ) -> None:
        file = self.program(tmp_path, "echo micropython 1.20.0", "mp")
        for named, argv in ((str(file), (str(file),)), (f"{file} -O1", (str(file), "-O1"))):
            environ = {"PATH": "", "GUESTHOUSE_MICROPYTHON": named}
            found = find_or_provide(environ=environ, selftest=lambda _: "not asked")
            assert found == MicroPython(argv, "1.20.0", "named")

    @pytest.mark.parametrize("named", ["/nonexistent/micropython", "no-such-program"])
    def test_a_variable_that_names_nothing_is_an_error(self, named: str) -> None:
        with pytest.raises(GuesthouseError, match="GUESTHOUSE_MICROPYTHON") as caught:
            find_or_provide(environ={"PATH": "", "GUESTHOUSE_MICROPYTHON": named}, selftest=good)
        assert "unset it" in caught.value.hint

    def test_a_variable_that_names_something_else_is_an_error(self, tmp_path: Path) -> None:
        file = self.program(tmp_path, "echo Python 3.11", "python")
        with pytest.raises(GuesthouseError, match="is not MicroPython"):
            find_or_provide(environ={"PATH": "", "GUESTHOUSE_MICROPYTHON": str(file)})

    def test_a_failed_self_test_names_the_mechanism(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        says = "echo slot: ok; echo timer: no signal; exit 1"
        file = self.program(tmp_path, says)
        reason = run_selftest(MicroPython((str(file),), "1.25.0", "path"))
        assert "timer: no signal" in reason
        assert "slot" not in reason

    def test_a_program_that_is_gone_is_an_error(self) -> None:
        with pytest.raises(GuesthouseError, match="does not start"):
            probe(("/nonexistent/micropython",), "path")
