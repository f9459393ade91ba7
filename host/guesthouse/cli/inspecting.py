"""What a guest's memory is used for, in words."""

from __future__ import annotations

from collections.abc import Mapping

from guesthouse.core.units import fmt_bytes

_PARTS = (
    ("loop", "its event loop"),
    ("code", "what its load made: bytecode, constants, names, its module's data"),
    ("data", "what it has made since"),
)


def render_inspect(reply: Mapping[str, object], *, collected: bool) -> str:
    """The answer of VERB_INSPECT; a key that is missing shows as ``-``. ``collected``: garbage was
    collected before. Sizes are bytes; those of an estimate are marked with ``~``."""

    def size(key: str) -> str:
        value = reply.get(key)
        about = "" if reply.get("exact") else "~"
        return about + fmt_bytes(value) if isinstance(value, int) else "-"

    garbage = "garbage apart" if collected else "garbage that is not collected yet included"
    lines = [f"{reply.get('name', 'guest')} holds {size('live')}, {garbage}"]
    lines += [f"  {size(key):>9}  {words}" for key, words in _PARTS]
    limits = ", ".join(
        f"{key} {fmt_bytes(value)}"
        for key in ("min", "high", "max")
        if isinstance(value := reply.get(key), int)
    )
    lines += [
        f"  {size('peak'):>9}  at most so far, garbage included, as seen between slices",
        f"  {size('allocated'):>9}  allocated since the last collection",
        f"  {size('strays'):>9}  left behind by its runs until the board is reset",
        f"quotas: {limits or 'none'}",
        f"the board: {size('used')} of {size('heap')} in use, {size('agent')} of it the agent's; "
        f"the largest free block is {size('largest_free')}",
    ]
    if not reply.get("exact"):
        lines.append("These are estimates; guesthouse doctor says why.")
    return "\n".join(lines) + "\n"
