"""The documents point at what is there: links resolve, files exist, commands are verbs."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from guesthouse.cli.data import board_data, guest_data
from guesthouse.cli.main import build_parser
from guesthouse.core.model import BoardModel, InstanceModel

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
COMMAND = re.compile(r"(?:^\$ |`|^)(?:\.venv/bin/)?guesthouse ([a-z]+)\b([^`\n#]*)", re.MULTILINE)
OPTION = re.compile(r"(?<![\w-])(--?[a-z][a-z-]*)")
SOURCE = re.compile(r"`((?:agent|host|tests|tools|boards|docs)/[\w./-]+)`")


def anchor(heading: str) -> str:
    """The fragment that a forge gives a heading: letters, digits, spaces as dashes."""
    words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", words).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    return {anchor(found) for found in HEADING.findall(FENCE.sub("", page.read_text("utf-8")))}


def verbs() -> dict[str, argparse.ArgumentParser]:
    for action in build_parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    raise AssertionError("the command line has no verbs")


@pytest.mark.parametrize("name", NAMES)
def test_links_resolve(name: str) -> None:
    page = ROOT / name
    for target in LINK.findall(FENCE.sub("", page.read_text("utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        to = (page.parent / path).resolve() if path else page
        assert to.exists(), target
        assert to.is_relative_to(ROOT), target
        if fragment:
            assert fragment in anchors(to), target


@pytest.mark.parametrize("name", NAMES)
def test_commands_are_verbs_with_these_options(name: str) -> None:
    known = verbs()
    for verb, rest in COMMAND.findall((ROOT / name).read_text("utf-8")):
        assert verb in known, f"guesthouse {verb}"
        options = {text for action in known[verb]._actions for text in action.option_strings}
        for option in OPTION.findall(rest):
            assert option in options, f"guesthouse {verb} {option}"


@pytest.mark.parametrize("name", NAMES)
def test_files_that_are_named_exist(name: str) -> None:
    for path in SOURCE.findall((ROOT / name).read_text("utf-8")):
        assert (ROOT / path).exists(), path


def test_the_readme_names_every_verb_or_the_guide_does() -> None:
    told = "".join((ROOT / page).read_text("utf-8") for page in ("README.md", "docs/user-guide.md"))
    for verb in verbs():
        assert re.search(rf"\b{verb}\b", told), verb


def test_make_has_the_two_commands_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in set(re.findall(r"^make (\w+)", readme, re.MULTILINE)) | {"demo", "test"}:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
        assert f"make {target}" in readme


def test_every_decision_is_listed() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = (folder / "README.md").read_text("utf-8")
    for page in folder.glob("[0-9]*.md"):
        assert f"({page.name})" in listed
        number = int(page.name[:4])
        assert page.read_text("utf-8").startswith(f"# {number}. ")


def _keys_in_table(heading: str) -> set[str]:
    guide = (ROOT / "docs/user-guide.md").read_text("utf-8")
    table = guide.split(f"| {heading} | |\n", 1)[1].split("\n\n", 1)[0]
    return {key for row in table.splitlines() for key in re.findall(r"`(\w+)`", row.split("|")[1])}


def test_every_key_of_ps_and_top_is_explained() -> None:
    assert _keys_in_table("keys of a guest") == set(guest_data(InstanceModel(2)))
    assert _keys_in_table("keys of the board") == set(board_data(BoardModel())) - {"guests"}
