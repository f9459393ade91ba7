"""Where a machine's own apt gets Debian from, read from every form a sources file has."""

from __future__ import annotations

from pathlib import Path

import pytest

from guesthouse.board.apt import Archive, find_archive, os_release

KEY = " -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBF==\n -----END PGP PUBLIC KEY BLOCK-----"


def etc(folder: Path, **files: str) -> Path:
    (folder / "sources.list.d").mkdir()
    for name, text in files.items():
        stem, _, suffix = name.rpartition("_")
        file = folder / "sources.list" if name == "list" else folder / "sources.list.d" / stem
        file.with_suffix(f".{suffix or 'list'}").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("line", "archive"),
    [
        ("deb http://mirror.test/debian bookworm main", Archive(("http://mirror.test/debian",))),
        (
            "deb [arch=amd64 signed-by=/k.gpg] https://mirror.test/debian bookworm main contrib",
            Archive(("https://mirror.test/debian",), "/k.gpg"),
        ),
        (
            "deb [ signed-by=/a.gpg,/b.gpg ] http://mirror.test bookworm contrib main # ours",
            Archive(("http://mirror.test",), "/a.gpg /b.gpg"),
        ),
        ("deb\thttp://mirror.test\tbookworm\tmain", Archive(("http://mirror.test",))),
        ("deb mirror+file:/etc/mirrors bookworm main", Archive(("mirror+file:/etc/mirrors",))),
        ("# deb http://mirror.test bookworm main", None),
        ("deb-src http://mirror.test bookworm main", None),
        ("deb cdrom:[Debian]/ bookworm main", None),
        ("deb http://mirror.test bookworm-security main", None),
        ("deb http://mirror.test bookworm contrib", None),
        ("deb http://mirror.test ./", None),
        ("deb", None),
        ("deb [", None),
        ("", None),
    ],
)
def test_one_line_sources(tmp_path: Path, line: str, archive: Archive | None) -> None:
    assert find_archive("bookworm", etc(tmp_path, list=line + "\n")) == archive


PLAIN = """\
Types: deb
URIs: http://mirror.test/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/k.gpg
"""
WITH_COMMENTS = """\
# ours
Types: deb deb-src
# two mirrors
URIs: http://a.test https://b.test
Suites:
 bookworm
 bookworm-updates
Components: contrib main
"""
KEY_IN_FULL = f"""\
types: deb
uris: http://a.test
suites: bookworm
components: main
signed-by:
{KEY}
"""
SECURITY_FIRST = """\
Types: deb
URIs: http://other.test
Suites: bookworm-security
Components: main


Types: deb
URIs: http://a.test
Suites: bookworm
Components: main
"""


@pytest.mark.parametrize(
    ("text", "archive"),
    [
        (PLAIN, Archive(("http://mirror.test/debian",), "/usr/share/keyrings/k.gpg")),
        (WITH_COMMENTS, Archive(("http://a.test", "https://b.test"))),
        (KEY_IN_FULL, Archive(("http://a.test",), f"\n{KEY}")),
        (SECURITY_FIRST, Archive(("http://a.test",))),
        ("Enabled: no\n" + PLAIN, None),
        (PLAIN.replace("deb", "deb-src", 1), None),
        (PLAIN.replace("http://mirror.test/debian", ""), None),
        (" stray\n:\nno colon\n", None),
    ],
)
def test_deb822_sources(tmp_path: Path, text: str, archive: Archive | None) -> None:
    assert find_archive("bookworm", etc(tmp_path, debian_sources=text)) == archive


def test_the_first_file_that_has_the_suite_counts(tmp_path: Path) -> None:
    folder = etc(
        tmp_path,
        a_list="deb http://vendor.test stable main\n",
        b_list="deb http://mirror.test bookworm main\n",
        c_save="deb http://old.test bookworm main\n",
    )
    assert find_archive("bookworm", folder) == Archive(("http://mirror.test",))


def test_a_machine_without_sources_has_no_archive(tmp_path: Path) -> None:
    assert find_archive("bookworm", tmp_path / "nothing") is None


def test_os_release_is_read_with_and_without_quotes(tmp_path: Path) -> None:
    file = tmp_path / "os-release"
    file.write_text('ID=debian\nPRETTY_NAME="Debian 12"\n# x=y\n\nVERSION_CODENAME=bookworm\n')
    assert os_release(file) == {
        "ID": "debian",
        "PRETTY_NAME": "Debian 12",
        "VERSION_CODENAME": "bookworm",
    }
    assert os_release(tmp_path / "nothing") == {}
