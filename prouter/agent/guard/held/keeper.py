"""The keeper: started by the agent before all jobs, forks a guardian for each, and inherits what a guardian loses.

Single-threaded. A child that it did not fork as a guardian is an orphan of one that died: it and all below it are
killed. When the agent is gone it waits for its last guardian, helps after a second, and ends. Guardians whose jobs
survive the agent are left in peace: it stays with them, whatever keeper the next agent has.
"""

from __future__ import annotations

import array
import codecs
import contextlib
import json
import os
import select
import signal
import socket
import time
from typing import Any

from . import guardian, trees

HELP_AFTER_SECONDS = 1.0
LOOK_SECONDS = 0.05
"""Between two looks for orphans while there are any, or the agent is gone."""


def main(control_fd: int) -> None:
    """The whole life of the keeper."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    trees.become_subreaper()
    trees.take_precedence()
    codecs.lookup("ascii")  # Python looks for it in a file, which may be another one's after an upgrade
    Keeper(socket.socket(fileno=control_fd), os.getppid()).run()


class Keeper:
    """`_guardians` are those that live and their jobs, by pid."""

    def __init__(self, control: socket.socket, agent: int) -> None:
        self._control = control
        self._agent = agent
        self._agent_fd = open_pidfd(agent)
        self._guardians: dict[int, str] = {}
        self._surviving: set[int] = set()
        """Those of them whose jobs go on without the agent."""
        self._gone_at: float | None = None
        """Monotonic: when the agent was seen to be gone."""
        self._woken, waker = wake_pipe()
        self._waker = waker

    def run(self) -> None:
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        if self._agent_fd >= 0:
            poll.register(self._agent_fd, select.POLLIN)
        while self._gone_at is None or self._guardians or self._orphans():
            for fd, _ in poll.poll(self._patience()):
                if fd == self._woken:
                    drain(self._woken)
                elif self._gone_at is None and (fd == self._agent_fd or not self._command()):
                    self._gone_at = time.monotonic()
                    poll.unregister(self._control)
                    if self._agent_fd >= 0:
                        poll.unregister(self._agent_fd)
            trees.reap(self._ended)
            self._end_orphans()
            if self._gone_at is not None and time.monotonic() - self._gone_at > HELP_AFTER_SECONDS:
                for pid in self._guardians.keys() - self._surviving:
                    trees.end_guardian(pid, trees.start_time(pid))

    def _patience(self) -> int | None:
        """Milliseconds."""
        busy = self._gone_at is not None and self._guardians.keys() != self._surviving
        return int(LOOK_SECONDS * 1000) if busy or self._orphans() else None

    def _ended(self, pid: int, status: int) -> None:
        self._guardians.pop(pid, None)
        self._surviving.discard(pid)

    def _orphans(self) -> list[int]:
        return [pid for pid in trees.children(os.getpid()) if pid not in self._guardians]

    def _end_orphans(self) -> None:
        for orphan in self._orphans():
            trees.kill_all([orphan, *trees.descendants(orphan)])

    def _command(self) -> bool:
        """One message of the agent; False at its end."""
        received = receive(self._control)
        if received is None:
            return False
        message, descriptors = received
        match message.get("op"):
            case "guard" if len(descriptors) == 1:
                self._fork(descriptors[0], message)
            case "kill-below":
                trees.end_guardian(int(message["pid"]), int(message["start"]))  # an earlier keeper's, too
            case "end":
                for pid in [pid for pid, job in self._guardians.items() if job == message["job"]]:
                    trees.end_guardian(pid, trees.start_time(pid))
        for descriptor in descriptors:
            os.close(descriptor)
        return True

    def _fork(self, job_fd: int, message: dict[str, Any]) -> None:
        try:
            pid = os.fork()
        except OSError:
            return  # no room for a process: its socket ends unread, which says so
        if pid:
            self._guardians[pid] = str(message["job"])
            if message.get("survive"):
                self._surviving.add(pid)
            return
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for fd in (self._control.fileno(), self._woken, self._waker, self._agent_fd):
                if fd >= 0:
                    os.close(fd)
            guardian.main(job_fd, self._agent, str(message["job"]), str(message["directory"]))
            status = 0
        finally:
            os._exit(status)


def receive(control: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """A message and the descriptors that came with it; None at the end. They are not inherited by anybody."""
    room = socket.CMSG_SPACE(array.array("i").itemsize)
    try:
        data, ancillary, _, _ = control.recvmsg(65536, room, socket.MSG_CMSG_CLOEXEC)
    except OSError:
        return None
    if not data:
        return None
    descriptors = array.array("i")
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
    return json.loads(data), list(descriptors)


def open_pidfd(pid: int) -> int:
    """-1 where there are none (before Linux 5.3); then only the end of the socket tells."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        return -1


def wake_pipe() -> tuple[int, int]:
    """A pipe that becomes readable when a child ends: the ends for reading and writing."""
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    return reader, writer


def drain(fd: int) -> None:
    with contextlib.suppress(BlockingIOError):
        while os.read(fd, 4096):
            pass
