"""What a guardian writes for the next agent: whole files, one of which has its room on the disk before it is needed."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

RESERVED_BYTES = 1024
"""More than an account of an end takes."""
FRESH = ".new"


def reserve(path: str) -> None:
    """So that `write` finds room there on a disk that is full by then: it writes over this. Never raises OSError."""
    with contextlib.suppress(OSError):
        _write_over(path + FRESH, b" " * RESERVED_BYTES)


def write(path: str, content: dict[str, Any]) -> bool:
    """Whole or not at all, and whether: a full disk is no reason to lose the job."""
    with contextlib.suppress(OSError):
        _write_over(path + FRESH, json.dumps(content).encode("ascii") + b"\n", sync=True)
        os.rename(path + FRESH, path)
        return True
    return False


def _write_over(path: str, data: bytes, *, sync: bool = False) -> None:
    """Raises OSError. What is there is not cut to nothing first, which would give its room away."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
    try:
        written = 0
        while written < len(data):
            written += os.write(file, data[written:])
        os.ftruncate(file, len(data))
        if sync:
            os.fsync(file)
    finally:
        os.close(file)


def is_gone(path: str) -> bool:
    """For certain: a disk that answers with an error does not say so."""
    try:
        os.stat(path)
    except FileNotFoundError:
        return True
    except OSError:
        pass
    return False
