"""SIGHUP from the process's beginning on: it means to read the configuration again, and never to end.

Nothing heavy is imported here: until `keep` was called, SIGHUP kills.
"""

from __future__ import annotations

import signal

_came = False


def keep() -> None:
    """From now on it is noted; who can do something about it asks `came` and then handles it itself."""
    if hasattr(signal, "SIGHUP"):  # Windows has none
        signal.signal(signal.SIGHUP, _note)


def came() -> bool:
    """Whether it came since `keep`."""
    return _came


def _note(number: int, frame: object) -> None:
    global _came
    _came = True
