"""The guardian: parent and subreaper of one job's tree; holds its output, its limits and its exit code.

It ends the tree when the main process exits, when it is told to, at the timeout, beyond a limit (bounds.py), and when
the agent is gone, which it sees by its socket and by a pidfd (a fork of the agent may hold the socket). A job that
survives its agent goes on instead: the next agent comes to the guardian's door (door.py); where none comes within the
orphan timeout, the tree is ended all the same. What is said is in talk.py.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from collections.abc import Callable
from typing import Any

from . import cgroup, papers, trees
from .bounds import Bounds
from .door import Door, hung_up
from .launch import DIRECTORY, PROGRAM, Launched, launch
from .segments import STDERR
from .talk import PROTOCOL, Talker

MAX_PEERS = 8
"""Who came to the door and is not the agent; the oldest goes."""
UNTOLD_SECONDS = 0.2
"""Between two tries to write how the job ended on a full disk, while no agent is there who could be told."""


def main(job_fd: int, agent: int, job: str, directory: str) -> None:
    """The whole life of a guardian."""
    from .keeper import open_pidfd, wake_pipe

    os.setsid()
    trees.become_subreaper()
    agent_fd = open_pidfd(agent)
    woken, _ = wake_pipe()
    with socket.socket(fileno=job_fd) as channel:
        Guardian(channel, agent, agent_fd, woken, job, directory).run()


class Guardian:
    """`_exit_code` is that of the main process, once it has ended."""

    def __init__(self, channel: socket.socket, agent: int, agent_fd: int, woken: int, job: str, directory: str) -> None:
        self._agent: Talker | None = Talker(channel, agent)
        self._agent.trust()
        self._agent_fd = agent_fd
        self._channel = channel
        self._woken = woken
        self._job = job
        self._directory = directory
        self._said: list[dict[str, Any]] = []
        """By the agent beside its command."""
        self._launched: Launched | None = None
        self._exit_code: int | None = None
        self._main_over = False
        self._reason = ""
        """Why the tree is being ended, when it was not the main process's own end."""
        self._detail = ""
        """What the job did to be ended, for people; empty when there is nothing to say."""
        self._deadline: float | None = None
        self._untold: dict[str, Any] = {}
        """What is to be on disk of this guardian, and found no room yet."""
        self._survive = False
        self._orphan_seconds: float | None = None
        self._alone_since: float | None = None
        """On CLOCK_BOOTTIME: when the agent was seen to be gone."""
        self._door: Door | None = None
        self._peers: dict[int, Talker] = {}
        self._poll = select.poll()
        self._heard: dict[int, Callable[[], None]] = {}
        """What is done when a descriptor is readable."""

    def run(self) -> None:
        command = self._first_command()
        if command is None:
            return
        survival = command.get("survive")
        if isinstance(survival, dict):
            self._obey(True, survival.get("orphan_seconds"))
            with contextlib.suppress(OSError):  # it can not be found then, and ends with its agent
                self._door = Door(self._directory)
            self._survive = self._door is not None
        try:
            if not self._is_wanted():
                return
            self._run(command)
        finally:
            self._shut()

    def _shut(self) -> None:
        """Before anybody is told of the end: the guardian of the next run has a door of the same name."""
        if self._door is not None:
            self._door.close()
            self._door = None

    def _run(self, command: dict[str, Any]) -> None:
        try:
            self._launched = launched = launch(self._job, self._directory, command)
        except OSError as error:
            step = error.filename if error.filename in (PROGRAM, DIRECTORY) else ""
            self._shut()
            self._say({"failed": error.errno or 0, "what": error.strerror or type(error).__name__, "step": step})
            return
        if command.get("timeout") is not None:
            self._deadline = now() + float(command["timeout"])
        limits = {str(name): int(limit) for name, limit in command.get("limits", {}).items()}
        bounds = Bounds(limits, launched.cgroup, launched.controllers, f"{self._directory}/sandbox")
        self._untold = self._describe() | {"limits": limits, "deadline": self._deadline}
        self._introduce()
        papers.reserve(f"{self._directory}/exit.json")
        self._say(self._held())
        self._watch(launched, bounds)
        self._end(launched, bounds)

    def _first_command(self) -> dict[str, Any] | None:
        assert self._agent is not None
        poll = select.poll()
        poll.register(self._agent.fd, select.POLLIN)
        while not self._said:
            poll.poll()
            said = self._agent.hear()
            if said is None:
                return None
            self._said = said
        return self._said.pop(0)

    def _is_wanted(self) -> bool:
        """Whether the agent lives that asked for it: the next one finds the door, or nothing that ever ran."""
        return not hung_up(self._channel) and not _readable(self._agent_fd)

    def _watch(self, launched: Launched, bounds: Bounds) -> None:
        """Until there is a reason to end the tree."""
        assert self._agent is not None
        self._listen(self._agent.fd, self._hear_agent)
        self._listen(self._woken, self._drain_woken)
        if self._agent_fd >= 0:
            self._listen(self._agent_fd, self._agent_is_gone)
        if self._door is not None:
            self._listen(self._door.fd, self._open_door)
        outlets = {outlet.source: outlet for outlet in launched.outlets}
        for fd in outlets:
            self._poll.register(fd, select.POLLIN)
        next_check = 0.0
        said, self._said = self._said, []
        for message in said:
            self._command(message, self._agent)
        while not self._reason:
            trees.reap(self._ended)
            if self._main_over:
                return
            ready = self._poll.poll(int(bounds.seconds * 1000))
            for fd, _ in ready:
                if fd in outlets:
                    if not outlets[fd].pump():
                        self._poll.unregister(fd)
                        del outlets[fd]  # the number may be that of somebody who knocks
                elif fd in self._heard:  # another one's end may have ended this one
                    self._heard[fd]()
            if not ready or time.monotonic() >= next_check or any(fd not in outlets for fd, _ in ready):
                self._check_limits(bounds)
                next_check = time.monotonic() + bounds.seconds

    def _end(self, launched: Launched, bounds: Bounds) -> None:
        """End the tree, wait until it is gone, tell how the job ended."""
        trees.end_below(self._ended, also=lambda: cgroup.kill(launched.cgroup) if launched.cgroup else None)
        if not self._reason and (found := bounds.at_end(self._exit_code)):
            self._reason, self._detail = found
        words = f"\n[the job was ended: {self._detail}]\n".encode() if self._detail else b""
        for outlet in launched.outlets:
            outlet.drain(words if outlet.stream == STDERR else b"")
        launched.spool.close()
        launched.controllers.remove()
        if launched.cgroup:
            cgroup.remove(launched.cgroup)
        natural = "signaled" if (self._exit_code or 0) < 0 else "exited"
        outcome = {
            "exit_code": self._exit_code,
            "reason": self._reason or natural,
            "finished_at": time.time(),
            "detail": self._detail,
        }
        self._tell(outcome)

    def _tell(self, outcome: dict[str, Any]) -> None:
        """On disk, and to the agent; where neither takes it, until one does or the orphan timeout is over."""
        while True:
            written = self._write("exit.json", outcome)
            if written:
                self._shut()
            if self._say(outcome | {"tail": self._tail()}) or written or not self._waits():
                return
            for fd, _ in self._poll.poll(int(UNTOLD_SECONDS * 1000)):
                if fd in self._heard:
                    self._heard[fd]()
            time.sleep(UNTOLD_SECONDS)

    def _waits(self) -> bool:
        """Whether the next agent may come yet."""
        if not self._survive or self._door is None:
            return False
        if self._agent is not None:  # it is there, and took nothing
            return False
        if papers.is_gone(self._directory):  # the job was removed, or set aside: nobody looks for us here
            return False
        return not self._is_orphaned()

    def _ended(self, pid: int, status: int) -> None:
        if self._launched is not None and pid == self._launched.pid:
            self._main_over = True
            self._exit_code = os.waitstatus_to_exitcode(status)

    def _check_limits(self, bounds: Bounds) -> None:
        if self._deadline is not None and now() >= self._deadline:
            self._reason = self._reason or "timeout"
        if self._is_orphaned():
            self._reason = self._reason or "orphaned"
        if not self._reason and (found := bounds.excess()):
            self._reason, self._detail = found
        self._introduce()

    # --- the agent ---

    def _obey(self, survive: bool, orphan_seconds: object) -> None:
        """What is done when the agent that said so is gone. None: the next one is waited for without end."""
        self._survive = survive
        self._orphan_seconds = float(orphan_seconds) if isinstance(orphan_seconds, int | float) else None

    def _hear_agent(self) -> None:
        agent = self._agent
        assert agent is not None
        said = agent.hear()
        if said is None:
            self._agent_is_gone()
            return
        for message in said:
            self._command(message, agent)

    def _agent_is_gone(self) -> None:
        if self._agent is not None:
            self._forget(self._agent.fd)
            self._agent.close()
            self._agent = None
        if self._agent_fd >= 0:
            self._forget(self._agent_fd)
            os.close(self._agent_fd)
            self._agent_fd = -1
        self._alone_since = now()
        if not self._survive or self._door is None:
            self._reason = self._reason or "agent-lost"

    def _is_orphaned(self) -> bool:
        if self._alone_since is None or self._orphan_seconds is None:
            return False
        return now() - self._alone_since >= self._orphan_seconds

    def _hello(self, message: dict[str, Any], comer: Talker) -> None:
        """The next agent. One that lives is not replaced."""
        from .keeper import open_pidfd

        if self._agent is comer:
            return
        if self._agent is not None:
            comer.say({"refused": f"process {self._agent.pid} is the agent of this job, and lives"})
            return
        self._agent_fd = open_pidfd(comer.pid)
        del self._peers[comer.fd]
        comer.trust()
        self._agent, self._alone_since = comer, None
        self._obey(bool(message.get("survive")), message.get("orphan_seconds"))
        self._listen(comer.fd, self._hear_agent)
        if self._agent_fd >= 0:
            self._listen(self._agent_fd, self._agent_is_gone)
        self._say({"hello": PROTOCOL, "job": self._job} | self._held())

    # --- the door ---

    def _open_door(self) -> None:
        assert self._door is not None
        admitted = self._door.admit(self._tree)
        if admitted is None:
            return
        while len(self._peers) >= MAX_PEERS:
            self._dismiss(next(iter(self._peers.values())))
        peer = Talker(*admitted)
        self._peers[peer.fd] = peer
        self._listen(peer.fd, lambda: self._hear_peer(peer))

    def _hear_peer(self, peer: Talker) -> None:
        said = peer.hear()
        if said is None:
            self._dismiss(peer)
            return
        for message in said:
            self._command(message, peer)

    def _dismiss(self, peer: Talker) -> None:
        self._forget(peer.fd)
        self._peers.pop(peer.fd, None)
        peer.close()

    def _tree(self) -> set[int]:
        tree = set(trees.descendants(os.getpid()))
        return tree | set(cgroup.pids(self._launched.cgroup) if self._launched and self._launched.cgroup else ())

    # --- what is said ---

    def _command(self, message: dict[str, Any], by: Talker) -> None:
        assert self._launched is not None
        match message.get("op"):
            case "kill":
                self._reason = self._reason or str(message.get("reason") or "stopped")
            case "signal":
                with contextlib.suppress(OSError, ValueError, TypeError, OverflowError):
                    if not self._main_over:
                        os.killpg(self._launched.pid, int(message.get("number") or 0))
            case "tail":
                for outlet in self._launched.outlets:
                    outlet.pump()
                by.say({"tail": self._tail()})
            case "hello":
                self._hello(message, by)
            case "status":
                by.say({"status": self._status()})

    def _status(self) -> dict[str, Any]:
        alone = None if self._alone_since is None else now() - self._alone_since
        agent = self._agent.pid if self._agent is not None else None
        over = {"agent": agent, "alone_seconds": alone, "deadline": self._deadline, "reason": self._reason or None}
        return self._describe() | {"job": self._job} | over

    def _tail(self) -> str:
        """The newest output of both streams, at most 8 KiB."""
        return self._launched.spool.kept.decode("utf-8", "replace") if self._launched is not None else ""

    def _say(self, message: dict[str, Any]) -> bool:
        """To the agent; whether it took it."""
        return self._agent is not None and self._agent.say(message)

    def _held(self) -> dict[str, Any]:
        launched = self._launched
        assert launched is not None
        groups = {"cgroup": launched.cgroup, "controllers": list(launched.controllers.made.values())}
        return {"started": launched.pid, "guardian": os.getpid()} | groups

    # --- descriptors ---

    def _listen(self, fd: int, heard: Callable[[], None]) -> None:
        self._heard[fd] = heard
        self._poll.register(fd, select.POLLIN)

    def _forget(self, fd: int) -> None:
        if self._heard.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def _drain_woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._woken, 4096)

    # --- files ---

    def _describe(self) -> dict[str, Any]:
        launched, own = self._launched, os.getpid()
        assert launched is not None
        return {
            "protocol": PROTOCOL,
            "boot_id": trees.boot_id(),
            "guardian": {"pid": own, "start": trees.start_time(own)},
            "main": {"pid": launched.pid, "start": trees.start_time(launched.pid)},
            "cgroup": launched.cgroup,
            "controllers": list(launched.controllers.made.values()),
            "survives": self._survive,
            "output": list(launched.begins_at),
        }

    def _introduce(self) -> None:
        """The next agent knows by that who is at the door."""
        if self._untold and self._write("guardian.json", self._untold):
            self._untold = {}

    def _write(self, name: str, content: dict[str, Any]) -> bool:
        return papers.write(f"{self._directory}/{name}", content)


def now() -> float:
    """On CLOCK_BOOTTIME, which goes on while the machine sleeps, and which nobody sets."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _readable(fd: int) -> bool:
    if fd < 0:
        return False
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))
