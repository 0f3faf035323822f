"""The guardian's own door, a unix socket in the job's directory, where the next agent finds a job that outlived one.

Belongs here: binding it, and who may come in. Does not: what is said there (talk.py), and what a guardian does then.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
from collections.abc import Callable, Iterable

from . import trees

NAME = "g.sock"
"""In the job's directory, 0700; itself 0600."""
BACKLOG = 8
_CREDENTIALS = struct.Struct("=iII")
"""ucred: pid, uid, gid."""


class Door:
    """Listens; `fd` is readable when somebody knocks."""

    def __init__(self, directory: str) -> None:
        """In place of a socket that is left from an earlier run. Raises OSError."""
        self._directory = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(NAME, dir_fd=self._directory)
            before = os.umask(0o177)
            try:
                self._socket.bind(path_below(self._directory))
            finally:
                os.umask(before)
            self._own = self._entry()
            self._socket.listen(BACKLOG)
            self._socket.setblocking(False)
        except BaseException:
            self._socket.close()
            os.close(self._directory)
            raise
        self.fd = self._socket.fileno()

    def admit(self, tree: Callable[[], Iterable[int]]) -> tuple[socket.socket, int] | None:
        """Who knocked, and its pid; None for whom the door is not for: other users, and processes of the job itself."""
        try:
            comer, _ = self._socket.accept()
        except OSError:
            return None
        pid, uid = peer_of(comer)
        if uid in (0, os.geteuid()) and pid > 0 and not _gone(pid) and pid not in set(tree()):
            return comer, pid
        comer.close()
        return None

    def close(self) -> None:
        """Nobody finds it any more; who knocks just now is told so by the end of the connection. One that the next
        run's guardian made in its place stays."""
        with contextlib.suppress(OSError):
            if self._entry() == self._own:
                os.unlink(NAME, dir_fd=self._directory)
        self._socket.close()
        os.close(self._directory)

    def _entry(self) -> tuple[int, int, int]:
        """What has the name now; numbers of files are given again, times are not. Raises OSError."""
        facts = os.stat(NAME, dir_fd=self._directory, follow_symlinks=False)
        return facts.st_dev, facts.st_ino, facts.st_ctime_ns


def knock(directory: str, seconds: float) -> tuple[socket.socket, int]:
    """A connection to who listens there, and its pid; blocks. Raises OSError, also for another user's."""
    below = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        found.settimeout(seconds)
        found.connect(path_below(below))
        pid, uid = peer_of(found)  # as it was when it began to listen
        if uid not in (0, os.geteuid()):
            raise PermissionError(f"at {directory}/{NAME} listens process {pid} of user {uid}")
    except BaseException:
        found.close()
        raise
    finally:
        os.close(below)
    return found, pid


def path_below(directory: int) -> str:
    """Of the socket in a directory that is open: a whole path may be longer than the 108 bytes that a name can have."""
    return f"/proc/self/fd/{directory}/{NAME}"


def peer_of(connected: socket.socket) -> tuple[int, int]:
    """Pid and uid at the other end, as they were when it connected or began to listen; pid 0: of another namespace."""
    raw = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(raw)
    return pid, uid


def hung_up(connected: socket.socket) -> bool:
    """Whether the other end is closed, although there may be more to read."""
    poll = select.poll()
    poll.register(connected, select.POLLRDHUP)
    return bool(poll.poll(0))


def _gone(pid: int) -> bool:
    return not trees.stat_fields(pid)
