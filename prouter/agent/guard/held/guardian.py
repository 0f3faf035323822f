"""The guardian: parent and subreaper of one job's tree; holds its output, its limits and its exit code.

It ends the tree when the main process exits, when it is told to, at the timeout, beyond a limit (bounds.py), and when
the agent is gone, which it sees by its socket and by a pidfd (a fork of the agent may hold the socket).

Messages are JSON lines over its socket. In: first the command, then {"op": "signal" | "kill" | "tail", ...}. Out:
{"started": PID} or {"failed": ERRNO, "what": TEXT, "step": WORD}, {"tail": TEXT}, and last
{"exit_code", "reason", "finished_at", "detail"}.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import time
from typing import Any

from . import cgroup, trees
from .bounds import Bounds
from .launch import DIRECTORY, PROGRAM, Launched, launch
from .segments import STDERR

PROTOCOL = 1
MAX_LINE_BYTES = 16 * 1024 * 1024
"""A command: arguments and environment; the kernel takes 2 MiB of both together."""


def main(job_fd: int, agent: int, job: str, directory: str) -> None:
    """The whole life of a guardian."""
    from .keeper import open_pidfd, wake_pipe

    os.setsid()
    trees.become_subreaper()
    agent_fd = open_pidfd(agent)
    woken, _ = wake_pipe()
    with socket.socket(fileno=job_fd) as channel:
        Guardian(channel, agent_fd, woken, job, directory).run()


class Guardian:
    """`_exit_code` is that of the main process, once it has ended."""

    def __init__(self, channel: socket.socket, agent_fd: int, woken: int, job: str, directory: str) -> None:
        self._channel = channel
        self._agent_fd = agent_fd
        self._woken = woken
        self._job = job
        self._directory = directory
        self._received = b""
        self._launched: Launched | None = None
        self._exit_code: int | None = None
        self._main_over = False
        self._reason = ""
        """Why the tree is being ended, when it was not the main process's own end."""
        self._detail = ""
        """What the job did to be ended, for people; empty when there is nothing to say."""
        self._deadline: float | None = None

    def run(self) -> None:
        command = self._first_command()
        if command is None:
            return
        try:
            self._launched = launched = launch(self._job, self._directory, command)
        except OSError as error:
            step = error.filename if error.filename in (PROGRAM, DIRECTORY) else ""
            self._say({"failed": error.errno or 0, "what": error.strerror or type(error).__name__, "step": step})
            return
        if command.get("timeout") is not None:
            self._deadline = time.clock_gettime(time.CLOCK_BOOTTIME) + float(command["timeout"])
        limits = {str(name): int(limit) for name, limit in command.get("limits", {}).items()}
        bounds = Bounds(limits, launched.cgroup, launched.controllers, f"{self._directory}/sandbox")
        held = {"cgroup": launched.cgroup, "controllers": list(launched.controllers.made.values())}
        self._write("guardian.json", self._describe(launched) | held)
        self._say({"started": launched.pid, "guardian": os.getpid()} | held)
        self._watch(launched, bounds)
        self._end(launched, bounds)

    def _first_command(self) -> dict[str, Any] | None:
        while True:
            line, newline, rest = self._received.partition(b"\n")
            if newline:
                self._received = rest
                found: dict[str, Any] = json.loads(line)
                return found
            data = self._channel.recv(65536)
            if not data or len(self._received) > MAX_LINE_BYTES:
                return None
            self._received += data

    def _watch(self, launched: Launched, bounds: Bounds) -> None:
        """Until there is a reason to end the tree."""
        poll = select.poll()
        for fd in (self._channel.fileno(), self._woken, self._agent_fd, *(o.source for o in launched.outlets)):
            if fd >= 0:
                poll.register(fd, select.POLLIN)
        outlets = {outlet.source: outlet for outlet in launched.outlets}
        next_check = 0.0
        if self._received:
            self._commands(b"")
        while not self._reason:
            trees.reap(self._ended)
            if self._main_over:
                return
            ready = poll.poll(int(bounds.seconds * 1000))
            for fd, _ in ready:
                if fd in outlets:
                    if not outlets[fd].pump():
                        poll.unregister(fd)
                elif fd == self._agent_fd:
                    self._reason = self._reason or "agent-lost"
                elif fd == self._channel.fileno():
                    self._hear()
                else:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._woken, 4096)
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
        self._write("exit.json", outcome)
        self._say(outcome | {"tail": self._tail()})

    def _ended(self, pid: int, status: int) -> None:
        if self._launched is not None and pid == self._launched.pid:
            self._main_over = True
            self._exit_code = os.waitstatus_to_exitcode(status)

    def _check_limits(self, bounds: Bounds) -> None:
        if self._deadline is not None and time.clock_gettime(time.CLOCK_BOOTTIME) >= self._deadline:
            self._reason = self._reason or "timeout"
        if not self._reason and (found := bounds.excess()):
            self._reason, self._detail = found

    # --- the agent ---

    def _hear(self) -> None:
        try:
            data = self._channel.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._reason = self._reason or "agent-lost"
            return
        self._commands(data)

    def _commands(self, data: bytes) -> None:
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            self._command(json.loads(line))

    def _command(self, message: dict[str, Any]) -> None:
        assert self._launched is not None
        match message.get("op"):
            case "kill":
                self._reason = self._reason or str(message.get("reason") or "stopped")
            case "signal":
                with contextlib.suppress(OSError):
                    os.killpg(self._launched.pid, int(message["number"]))
            case "tail":
                for outlet in self._launched.outlets:
                    outlet.pump()
                self._say({"tail": self._tail()})

    def _tail(self) -> str:
        """The newest output of both streams, at most 8 KiB."""
        return self._launched.spool.kept.decode("utf-8", "replace") if self._launched is not None else ""

    def _say(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            self._channel.sendall(json.dumps(message).encode() + b"\n")

    # --- files ---

    def _describe(self, launched: Launched) -> dict[str, Any]:
        own = os.getpid()
        return {
            "protocol": PROTOCOL,
            "boot_id": trees.boot_id(),
            "guardian": {"pid": own, "start": trees.start_time(own)},
            "main": {"pid": launched.pid, "start": trees.start_time(launched.pid)},
        }

    def _write(self, name: str, content: dict[str, Any]) -> None:
        """Whole or not at all; a full disk is no reason to lose the job."""
        path = f"{self._directory}/{name}"
        with contextlib.suppress(OSError):
            with open(f"{path}.new", "w", encoding="ascii") as file:
                json.dump(content, file)
                file.flush()
                os.fsync(file.fileno())
            os.rename(f"{path}.new", path)
