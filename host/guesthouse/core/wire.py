"""The agent's wire module, loaded unchanged: the host keeps no copy of the protocol.

``house`` is a package for MicroPython and is not importable here, so the one file is executed in
this module's namespace. Type checkers read it as ``house.wire`` (``mypy_path`` has ``agent``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from guesthouse.core.assets import agent_dir

if TYPE_CHECKING:
    from house.wire import *
else:
    _source = agent_dir() / "house" / "wire.py"
    # Our own source, not input; an import would leave __pycache__ beside the agent's files.
    exec(compile(_source.read_bytes(), str(_source), "exec"), globals())  # noqa: S102
