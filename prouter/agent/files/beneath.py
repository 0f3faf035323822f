"""Opening beneath a directory: whatever links are there, and whoever swaps them, nothing outside is reached.

Two ways that give the same: openat2(2) with RESOLVE_BENEATH, where the kernel resolves the whole path, and a walk, name
by name, with O_NOFOLLOW (which alone refuses links that lead deeper than MAX_NAMES). Symlinks that stay inside are
followed, absolute ones never. POSIX only; plain.py is the fallback for systems without directory descriptors.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import stat
import sys
from collections.abc import Sequence

from prouter.agent.files.paths import MAX_NAMES
from prouter.errors import StartupError

OPENAT2 = 437
"""The number of the system call; the same on every architecture (Linux 5.6)."""
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_BENEATH = 0x08
EAGAIN_TRIES = 128
"""The kernel says EAGAIN when a rename raced with the resolution of `..`; after so many somebody attacks."""
MAX_LINKS = 40
"""Symlinks in one path (Linux: path_resolution(7))."""
CLOEXEC = getattr(os, "O_CLOEXEC", 0)
NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
DIRECTORY = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0) | CLOEXEC
"""A directory to go on from, which need not be readable."""


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class Beneath:
    """Opens names beneath directories in one of the two ways; chosen once."""

    def __init__(self, resolution: str) -> None:
        """`resolution` is "auto", "openat2" or "walk". Raises StartupError when openat2 is asked for and not there."""
        self.kernel = resolution != "walk" and _openat2_works(required=resolution == "openat2")

    def open(self, root: int, names: Sequence[str], flags: int) -> int:
        """A descriptor of `names` beneath the directory `root`, symlinks followed unless flags has O_NOFOLLOW.

        Never with O_CREAT. Raises OSError: EXDEV or ELOOP for what would leave the root.
        """
        if self.kernel:
            return _openat2("/".join(names) or ".", root, flags)
        return _walk(root, names, flags)


def _openat2(path: str, root: int, flags: int) -> int:
    how = _How(flags | CLOEXEC, 0, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS)
    raw = os.fsencode(path)
    for _ in range(EAGAIN_TRIES):
        found: int = _system_call()(OPENAT2, root, raw, ctypes.byref(how), ctypes.sizeof(how))
        if found >= 0:
            return found
        code = ctypes.get_errno()
        if code not in (errno.EAGAIN, errno.EINTR):
            raise OSError(code, os.strerror(code), path)
    raise OSError(errno.EXDEV, "the directories are moved about all the time", path)


@functools.cache
def _system_call() -> ctypes._NamedFuncPointer:
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    call.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t)
    return call


def _openat2_works(*, required: bool) -> bool:
    """Only ENOSYS, or EPERM here (an old seccomp filter), chooses the walk; anything else is not guessed about."""
    code = errno.ENOSYS
    if sys.platform == "linux":
        root = os.open("/", DIRECTORY)
        try:
            os.close(_openat2(".", root, DIRECTORY))
        except OSError as error:
            code = error.errno or 0
        else:
            return True
        finally:
            os.close(root)
    if required or code not in (errno.ENOSYS, errno.EPERM):
        raise StartupError(f"jobs.path_resolution: openat2 can not be used here: {os.strerror(code)}; `walk` can")
    return False


def _walk(root: int, names: Sequence[str], flags: int) -> int:
    """Name by name. The stack holds a descriptor of every directory on the way, so `..` in a link never leaves it."""
    stack = [os.open(".", DIRECTORY, dir_fd=root)]
    todo = list(reversed(names)) or ["."]
    links = 0
    try:
        while True:
            name = todo.pop()
            last = not todo
            if name in ("", "."):
                if last:
                    return os.open(".", flags | CLOEXEC, dir_fd=stack[-1])
                continue
            if name == "..":
                os.stat(".", dir_fd=stack[-1])  # as the kernel, ask for the right to search it
                if len(stack) == 1:
                    raise OSError(errno.EXDEV, "leaves the sandbox")
                os.close(stack.pop())
                if last:
                    todo.append(".")
                continue
            target = _link(stack[-1], name, follow=not (last and flags & NOFOLLOW))
            if target is None and last:
                return os.open(name, flags | NOFOLLOW | CLOEXEC, dir_fd=stack[-1])
            if target is None:
                _enter(stack, name)
                continue
            links += 1
            if links > MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            if target.startswith("/"):
                raise OSError(errno.EXDEV, "leaves the sandbox")
            todo.extend(reversed(target.split("/")))
    finally:
        for descriptor in stack:
            os.close(descriptor)


def _enter(stack: list[int], name: str) -> None:
    if len(stack) > MAX_NAMES:
        raise OSError(errno.ELOOP, "links lead too deep")
    stack.append(os.open(name, DIRECTORY | NOFOLLOW, dir_fd=stack[-1]))


def _link(directory: int, name: str, *, follow: bool) -> str | None:
    """Where a symlink points; None when it is none, or is not to be followed."""
    if not follow or not stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
        return None
    try:
        return os.readlink(name, dir_fd=directory)
    except OSError as error:
        if error.errno == errno.EINVAL:  # swapped for something else meanwhile, which is opened without following
            return None
        raise
