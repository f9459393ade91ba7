"""What inspect prints."""

from __future__ import annotations

from guesthouse.cli.inspecting import render_inspect

REPLY: dict[str, object] = {
    "name": "sampler.0", "exact": True, "live": 6944, "loop": 192, "code": 768, "data": 5984,
    "strays": 128, "peak": 25_000, "allocated": 320, "collections": 3, "min": 8192, "high": None,
    "max": 32768, "heap": 4 << 20, "used": 281_088, "agent": 274_144, "largest_free": 3_700_000,
    "checks": 1,
}  # fmt: skip


def test_the_parts_the_peak_and_the_quotas_are_told() -> None:
    told = render_inspect(REPLY, collected=True)
    lines = told.splitlines()
    assert lines[0] == "sampler.0 holds 6.8 KiB, garbage apart"
    for figure in ("192 B", "768 B", "5.8 KiB", "24.4 KiB", "320 B", "128 B"):
        assert sum(figure in line for line in lines[1:]) == 1, figure
    assert "quotas: min 8 KiB, max 32 KiB" in lines
    assert "~" not in told and "estimate" not in told


def test_an_estimate_is_called_one_in_every_figure() -> None:
    told = render_inspect({**REPLY, "exact": False}, collected=False)
    assert told.startswith("sampler.0 holds ~6.8 KiB, garbage that is not collected yet included")
    assert told.count("~") >= 8 and "estimates" in told


def test_an_answer_without_its_keys_is_no_error() -> None:
    """Of an agent of another version."""
    assert "holds" in render_inspect({"name": "g.0"}, collected=False)
