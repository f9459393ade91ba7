"""The demo's guests: where their folders are and what each is there for."""

from __future__ import annotations

from pathlib import Path

from guesthouse.guests.image import Image, load_image

FOLDER = Path(__file__).resolve().parent.parent / "guests" / "demo"

# In the order in which they come to the board: those that work, then those that try them.
NAMES = (
    "control",
    "sampler",
    "logger",
    "blinker",
    "pipeline",
    "coop_hog",
    "leaker",
    "crasher",
    "spin_hog",
)
CONTROL = "control"
HOG = "spin_hog"
CONTROL_PERIOD_MS = 10


def folders() -> list[Path]:
    """The guests' folders, in the order of NAMES."""
    return [FOLDER / name for name in NAMES]


def description(folder: Path) -> str:
    """What a guest does: the first line of its main.py, which is a comment."""
    with (folder / "main.py").open(encoding="utf-8") as file:
        return file.readline().lstrip("# ").rstrip()


def images() -> list[Image]:
    """The guests' images."""
    return [load_image(folder) for folder in folders()]
