"""prouter: programs on machines that you can not reach, behind one HTTP API.

The front door for authors of plugins: `hookimpl` marks an implementation of a hook (prouter.hookspecs,
prouter.agent_hookspecs); the values that hooks get and return are in prouter.model, the errors in prouter.errors.
"""

from __future__ import annotations

import pluggy

__version__ = "0.1.0"

hookimpl = pluggy.HookimplMarker("prouter")

__all__ = ["__version__", "hookimpl"]
