"""Namespaces of the network: hosts of their own on this machine. Needs root and iproute2.

Belongs here: making them, being inside, and that none is left behind, not even by a run that was killed. Does not:
what joins them (two_hosts.py, lossy_line.py).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)
PLACE = Path("/run/netns")
OURS = re.compile(r"prt-(\d+)-")
"""Names begin with the pid of the run that they are of."""

needs_namespaces = [
    pytest.mark.needs_root,
    pytest.mark.skipif(
        os.geteuid() != 0 or not all(map(shutil.which, ("ip", "nft", "ss"))), reason="needs root, iproute2 and nftables"
    ),
]
"""`pytestmark` of a module."""


@contextlib.contextmanager
def hosts(*letters: str) -> Iterator[list[str]]:
    """The names of so many new namespaces, in which only the loopback device is up."""
    sweep()
    tag = f"prt-{os.getpid()}-{os.urandom(3).hex()}"
    with contextlib.ExitStack() as undo:
        names = [f"{tag}-{letter}" for letter in letters]
        for name in names:
            ip("netns", "add", name)
            undo.callback(ip, "netns", "delete", name)
            ip("-n", name, "link", "set", "lo", "up")
        yield names


def sweep() -> None:
    """Delete those of runs that ended without doing so."""
    for name in os.listdir(PLACE) if PLACE.is_dir() else ():
        ours = OURS.match(name)
        if ours and not Path(f"/proc/{ours[1]}").exists():
            subprocess.run(["ip", "netns", "delete", name], check=False)  # another run may be faster


@contextlib.contextmanager
def inside(namespace: str) -> Iterator[None]:
    """The calling thread is in it; its sockets and children stay there for good."""
    with open("/proc/thread-self/ns/net") as back:
        _enter(PLACE / namespace)
        try:
            yield
        finally:
            assert LIBC.setns(back.fileno(), CLONE_NEWNET) == 0


def _enter(place: Path) -> None:
    with place.open() as there:
        if LIBC.setns(there.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"{place} can not be entered")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
