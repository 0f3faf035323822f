"""How many descriptors this process may have: a connection is one, so is a pipe, and so is a file."""

from __future__ import annotations

import contextlib
import sys

WANTED = 65536


def raise_limit() -> None:
    """The soft limit to what the hard one allows, at most WANTED. Nothing where there is none (Windows)."""
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def descriptors() -> int:
    """How many there can be: the limit that was really reached."""
    try:
        import resource
    except ImportError:
        return sys.maxsize
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft
