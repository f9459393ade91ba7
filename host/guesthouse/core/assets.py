"""Where the agent's source and the board profiles are: in the wheel, or in the checkout."""

from __future__ import annotations

from pathlib import Path

from guesthouse.core.errors import GuesthouseError

_PACKAGE = Path(__file__).resolve().parent.parent
_CHECKOUT = _PACKAGE.parent.parent


def agent_dir() -> Path:
    """The folder that holds the agent's ``main.py`` and ``house/``."""
    return _find("agent")


def boards_dir() -> Path:
    """The folder that holds one folder per board profile."""
    return _find("boards")


def _find(name: str) -> Path:
    # The wheel first: an installed package may by chance sit two levels below some "agent".
    for folder in (_PACKAGE / f"_{name}", _CHECKOUT / name):
        if folder.is_dir():
            return folder
    raise GuesthouseError(
        f"the {name} folder is missing from this installation of guesthouse",
        "install guesthouse again, or run it from a complete checkout",
    )
