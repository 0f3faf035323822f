"""Opening beneath a directory: whatever links are there, and whoever swaps them, nothing outside is reached.

Two ways that give the same: openat2(2) with RESOLVE_BENEATH, where the kernel resolves the whole path, and a walk, name
by name, with O_NOFOLLOW. Symlinks that stay inside are followed, absolute ones never. POSIX only; sandbox.py has the
fallback for systems without directory descriptors.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Sequence

from prouter.agent.files.paths import MAX_PATH_BYTES

OPENAT2 = 437
"""The number of the system call; the same on every architecture (Linux 5.6)."""
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_BENEATH = 0x08
EAGAIN_TRIES = 128
"""The kernel says EAGAIN when a rename raced with the resolution of `..`; after so many somebody attacks."""
MAX_LINKS = 40
"""Symlinks in one path (Linux: path_resolution(7))."""
_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
_PATH = getattr(os, "O_PATH", os.O_RDONLY)
_DIRECTORY = _PATH | getattr(os, "O_DIRECTORY", 0) | _CLOEXEC
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class Beneath:
    """Opens names beneath directories in one of the two ways; chosen once."""

    def __init__(self, resolution: str) -> None:
        """`resolution` is "auto", "openat2" or "walk". Raises OSError when openat2 is asked for and not there."""
        self.kernel = resolution != "walk" and _openat2_works(required=resolution == "openat2")

    def open(self, root: int, names: Sequence[str], flags: int) -> int:
        """A descriptor of `names` beneath the directory `root`, symlinks followed unless flags has O_NOFOLLOW.

        Without O_CREAT. Raises OSError: EXDEV or ELOOP for what would leave the root.
        """
        if self.kernel:
            return _openat2("/".join(names) or ".", root, flags)
        return _walk(root, names, flags)

    def open_parent(self, root: int, names: Sequence[str], *, make: bool) -> tuple[int, list[tuple[str, ...]]]:
        """The directory in which the last of `names` is, and which directories had to be made for it."""
        made: list[tuple[str, ...]] = []
        above = tuple(names[:-1])
        while True:
            try:
                return self.open(root, above, _DIRECTORY), made
            except FileNotFoundError:
                if not make:
                    raise
            for depth in range(1, len(above) + 1):
                if self._make(root, above[:depth]):
                    made.append(above[:depth])

    def _make(self, root: int, names: tuple[str, ...]) -> bool:
        parent = self.open(root, names[:-1], _DIRECTORY)
        try:
            os.mkdir(names[-1], 0o755, dir_fd=parent)
        except FileExistsError:
            return False
        finally:
            os.close(parent)
        return True


def _openat2(path: str, root: int, flags: int) -> int:
    how = _How(flags | _CLOEXEC, 0, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS)
    raw = os.fsencode(path)
    for _ in range(EAGAIN_TRIES):
        found: int = _libc().syscall(OPENAT2, root, raw, ctypes.byref(how), ctypes.sizeof(how))
        if found >= 0:
            return found
        code = ctypes.get_errno()
        if code not in (errno.EAGAIN, errno.EINTR):
            raise OSError(code, os.strerror(code), path)
    raise OSError(errno.EXDEV, "the directories are moved about all the time", path)


def _libc() -> ctypes.CDLL:
    global _LIBC
    if _LIBC is None:
        _LIBC = ctypes.CDLL(None, use_errno=True)
    return _LIBC


_LIBC: ctypes.CDLL | None = None


def _openat2_works(*, required: bool) -> bool:
    """Only ENOSYS, or EPERM here (an old seccomp filter), chooses the walk."""
    try:
        root = os.open("/", _DIRECTORY)
    except OSError:
        return False
    try:
        os.close(_openat2(".", root, _DIRECTORY))
    except (OSError, AttributeError) as error:
        code = error.errno if isinstance(error, OSError) else errno.ENOSYS
        if required or code not in (errno.ENOSYS, errno.EPERM):
            raise
        return False
    finally:
        os.close(root)
    return True


def _walk(root: int, names: Sequence[str], flags: int) -> int:
    """Name by name. The stack holds a descriptor of every directory on the way, so `..` in a link never leaves it."""
    stack = [os.dup(root)]
    todo = list(reversed(names)) or ["."]
    links = 0
    try:
        while True:
            name = todo.pop()
            last = not todo
            if name in ("", "."):
                if last:
                    return os.open(".", flags | _CLOEXEC, dir_fd=stack[-1])
                continue
            if name == "..":
                if len(stack) == 1:
                    raise OSError(errno.EXDEV, "leaves the sandbox")
                os.close(stack.pop())
                if last:
                    todo.append(".")
                continue
            target = _link(stack[-1], name, follow=not (last and flags & _NOFOLLOW))
            if target is None and last:
                return os.open(name, flags | _NOFOLLOW | _CLOEXEC, dir_fd=stack[-1])
            if target is None:
                stack.append(os.open(name, _DIRECTORY | _NOFOLLOW, dir_fd=stack[-1]))
                continue
            links += 1
            if links > MAX_LINKS or len(target) > MAX_PATH_BYTES:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            if target.startswith("/"):
                raise OSError(errno.EXDEV, "leaves the sandbox")
            todo.extend(reversed(target.split("/")))
    finally:
        for descriptor in stack:
            os.close(descriptor)


def _link(directory: int, name: str, *, follow: bool) -> str | None:
    """Where a symlink points; None when it is none, or is not to be followed."""
    if not follow or not stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
        return None
    return os.readlink(name, dir_fd=directory)
