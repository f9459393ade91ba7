"""The guests that ``bench quotas`` measures with, and what the host does with them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from guesthouse.board.micropython import Progress
from guesthouse.core import wire
from guesthouse.core.errors import GuesthouseError
from guesthouse.guests.image import Image, build_image
from guesthouse.guests.manifest import normalize
from guesthouse.link.client import Client

_PROGRAMS = Path(__file__).resolve().parent / "programs"
_SETTINGS = "guesthouse set --oversubscription cpu="


def program(name: str, **constants: int) -> str:
    """The source of a measuring program with its constants set."""
    text = (_PROGRAMS / f"{name}.py").read_text(encoding="utf-8")
    for constant, value in constants.items():
        text, found = re.subn(rf"^{constant} = .*$", f"{constant} = {value}", text, flags=re.M)
        assert found == 1, f"{name}.py has no {constant}"
    return text


def guest(
    name: str,
    source: str,
    *,
    memory: int,
    slice_max: int,
    cpu: Mapping[str, Any] | None = None,
    restart: Mapping[str, str] | None = None,
) -> Image:
    """A guest that does not start with the board. ``memory`` in kB, ``slice_max`` in us."""
    manifest = normalize(
        {
            "name": name,
            "autostart": False,
            "cpu": {"slice_max": f"{slice_max}us", **(cpu or {})},
            "memory": {"max": f"{memory}k"},
            "restart": dict(restart or {}),
        },
        "bench",
    )
    return build_image(manifest, {"main.py": source.encode()})


def quantile(ordered: list[int], percent: int) -> int:
    """The value that ``percent`` of an ordered list stay below; its last where there is none."""
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


@contextlib.contextmanager
def oversubscribed(client: Client, cpu: float, warn: Progress) -> Iterator[None]:
    """Limits may add up to ``cpu`` of one CPU at least, as before when the block has ended.

    The client has a complete model. ``warn`` is told where the board could not be asked.
    """
    before = client.model.oversubscription_cpu
    if before is None or before >= cpu:
        yield
        return
    try:
        _oversubscribe(client, cpu)
        yield
    finally:
        try:
            _oversubscribe(client, before)
        except GuesthouseError as error:
            warn(f"its limits may still add up to {cpu:g}; {_SETTINGS}{before:g} ({error.message})")


def _oversubscribe(client: Client, cpu: float) -> None:
    body = {"g": "board", "oversubscription_cpu_ppm": round(cpu * 1_000_000)}
    client.command(wire.VERB_SET, body)
