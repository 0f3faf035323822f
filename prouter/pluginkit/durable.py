"""Files that are whole or not there, and that last: written beside, on disk, then renamed, and that is on disk, too.

Everything here blocks: call it off the event loop.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

TORN = (ValueError, KeyError, TypeError, OverflowError, RecursionError)
"""What reading JSON of ours raises where it is torn or is something else."""
FRESH = ".new"
"""Ends the name of a file that is being written; what a crash leaves of it is deleted or replaced by the next one."""


def replace_file(path: Path, content: bytes) -> None:
    """With mode 0600. Raises OSError; what was there before is there then, and nothing else."""
    fresh = path.with_name(path.name + FRESH)
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0), 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        sync_directory(path.parent)
    except OSError:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise


def set_aside(path: Path) -> Path:
    """Keep what is there for people to look at, in place of what was set aside before; where it is now."""
    aside = path.with_name(f"torn-{path.name}")
    with contextlib.suppress(OSError):
        path.replace(aside)
        return aside
    return path


def sync_directory(path: Path) -> None:
    """Make renames in it last. Directories can not be opened on Windows, where a rename itself is written through."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
