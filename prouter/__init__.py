"""prouter: programs on machines that you can not reach, behind one HTTP API.

The front door for authors of plugins: `hookimpl` marks an implementation of a hook (prouter.hookspecs,
prouter.agent_hookspecs), `implements` does so in a form that type checkers understand; the values that hooks get and
return are in prouter.model, the errors in prouter.errors.
"""

from __future__ import annotations

from prouter.marks import hookimpl, implements

__version__ = "0.1.0"

__all__ = ["__version__", "hookimpl", "implements"]
