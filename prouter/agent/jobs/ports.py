"""The ports of one start: what is asked for is checked, then a finder is made for each.

Belongs here: what can be asked for together, and which ports are picked. Does not: the modes
(port_modes.py), whether a job serves (serving.py), the reports of jobs (feedback.py). To add a mode: a class in
port_modes.py, and a line in `PortFinders.finder`.
"""

from __future__ import annotations

import random
import re
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from prouter.agent.files.paths import split
from prouter.agent.jobs.feedback import PortFeedback
from prouter.agent.jobs.port_modes import AssignedPort, DetectedPort, ReportedPort, SocketPort
from prouter.agent.jobs.serving import LOOPBACK, Open
from prouter.errors import InvalidRequest, Unavailable
from prouter.model.drivers import Running
from prouter.model.ids import JobUid
from prouter.model.jobs import Port, PortMode, PortRequest

MAX_READY_TIMEOUT_SECONDS = 3600.0
MAX_PORTS = 16
LOOKED_AT = 64
"""How many ports of the range are tried before the system picks, and how many of those that it picks."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

SocketOpener = Callable[[Path, str], Open]
"""(sandbox, relative path): how the unix socket there is connected to, nothing outside ever."""


SocketClearer = Callable[[Path, str], Awaitable[None]]
"""(sandbox, relative path): a unix socket that is there is removed, and nothing else."""


class PortFinder(Protocol):
    """One port of one start."""

    @property
    def number(self) -> int | None:
        """What `{port}` stands for; None when it is not known before the launch."""

    @property
    def socket(self) -> str | None:
        """What `{socket}` stands for: an absolute path; None in other modes than unix."""

    @property
    def replaces(self) -> bool:
        """Whether placeholders in args, env and cwd are replaced in this mode."""

    def environment(self) -> Mapping[str, str]:
        """What the process is told."""

    async def served(self, running: Running) -> Port:
        """Once the process serves it. Raises PortNotServed at the deadline; the end of the process is job.py's."""


def check_ports(requests: tuple[PortRequest, ...]) -> None:
    """What can not be had, before anything is begun. Raises InvalidRequest."""
    if len(requests) > MAX_PORTS:
        raise InvalidRequest(f"Invalid request: a job has at most {MAX_PORTS} ports")
    for mode in (PortMode.REPORT, PortMode.DETECT):
        if sum(request.mode is mode for request in requests) > 1:
            raise InvalidRequest(f"Invalid request: only one port of a job can have the mode {mode.value!r}")
    for request in requests:
        _check(request)
    variables: dict[str, str] = {}
    for request in requests:
        other = variables.setdefault(_variable(request.name), request.name)
        if other != request.name:
            both = f"ports {other!r} and {request.name!r}"
            raise InvalidRequest(f"Invalid request: {both} would both be {_variable(other)} in the environment")


def _variable(name: str) -> str:
    """What the environment calls the number of a port."""
    return "PORT_" + re.sub(r"[^A-Z0-9]", "_", name.upper())


def _check(request: PortRequest) -> None:
    if not _NAME.fullmatch(request.name):
        raise InvalidRequest(
            f"Invalid request: {request.name[:80]!r} can not be a port's name (letters, digits, . _ -)"
        )
    if request.ready is not None and not request.ready.startswith("/"):
        raise InvalidRequest("Invalid request: `ready` is a path and begins with a slash")
    if request.ready is not None and not (request.ready.isascii() and request.ready.isprintable()):
        raise InvalidRequest("Invalid request: `ready` must be percent-encoded")
    if request.ready is not None and any(character in " #" for character in request.ready):
        raise InvalidRequest("Invalid request: `ready` is a path with a query; a space is %20 in it, a # is %23")
    if not 0 < request.ready_timeout_seconds <= MAX_READY_TIMEOUT_SECONDS:
        raise InvalidRequest(f"Invalid request: `ready_timeout` is at most {MAX_READY_TIMEOUT_SECONDS:g} s")
    if (request.mode is PortMode.UNIX) != (request.path is not None):
        raise InvalidRequest("Invalid request: `path` belongs to the port mode unix, which needs it")
    if request.path is not None:
        split(request.path)


class PortFinders:
    """Makes the finder for a request, and remembers which ports were picked for jobs that are not over.

    `numbers` are those that jobs are given.
    """

    def __init__(
        self, feedback: PortFeedback, open_socket: SocketOpener, clear_socket: SocketClearer, numbers: range
    ) -> None:
        self._feedback = feedback
        self._numbers = numbers
        self._open_socket = open_socket
        self._clear_socket = clear_socket
        self._reserved: set[int] = set()

    async def clear(self, requests: tuple[PortRequest, ...], sandbox: Path) -> None:
        """Before a launch, when nothing of the job runs: sockets of its last run are gone, which many servers want."""
        for request in requests:
            if request.path is not None:
                await self._clear_socket(sandbox, request.path)

    def finder(
        self, request: PortRequest, job: JobUid, sandbox: Path, *, first: bool, number: int | None = None
    ) -> AbstractContextManager[PortFinder]:
        """For a request that `check_ports` let pass; what it holds is given back at the context's end.

        `number` was picked by an earlier run of the agent, for a job that outlived it.
        """
        match request.mode:
            case PortMode.ASSIGN:
                return self._assigned(request, first, number)
            case PortMode.DETECT:
                return self._detected(request)
            case PortMode.UNIX:
                return self._socket(request, sandbox)
            case PortMode.REPORT:
                return self._reported(request, job)

    @contextmanager
    def reported(self, job: JobUid, running: Running, port: Port | None) -> Iterator[None]:
        """For a job that outlived the agent to which it reported this port: it may say so again, and no other."""
        with self._feedback.expecting(job) as expected:
            expected.running.set_result(running)
            if port is not None and port.number is not None:
                expected.port.set_result((port.number, port.host))
            yield

    @contextmanager
    def kept(self, number: int) -> Iterator[None]:
        """Nobody else is given this port, whoever listens there and whoever does not."""
        self._reserved.add(number)
        try:
            yield
        finally:
            self._reserved.discard(number)

    @contextmanager
    def _reported(self, request: PortRequest, job: JobUid) -> Iterator[PortFinder]:
        with self._feedback.expecting(job) as expected:
            yield ReportedPort(request, expected, self._feedback.url)

    @contextmanager
    def _assigned(self, request: PortRequest, first: bool, number: int | None) -> Iterator[PortFinder]:
        if number is None or number in self._reserved:
            number = next((free for free in free_ports(self._numbers) if free not in self._reserved), None)
        if number is None:
            raise Unavailable("no port is free for the job; try again when other jobs have ended, or widen jobs.ports")
        named = _variable(request.name)
        with self.kept(number):
            yield AssignedPort(request, number, ("PORT", named) if first else (named,))

    @contextmanager
    def _detected(self, request: PortRequest) -> Iterator[PortFinder]:
        yield DetectedPort(request, lambda: frozenset(self._reserved))

    @contextmanager
    def _socket(self, request: PortRequest, sandbox: Path) -> Iterator[PortFinder]:
        assert request.path is not None
        yield SocketPort(request, str(sandbox / request.path), self._open_socket(sandbox, request.path))


def free_ports(numbers: range) -> Iterator[int]:
    """Loopback ports on which nobody listens, at most 2 * LOOKED_AT: of `numbers`, then of those that the system picks.

    Somebody may take one before the job does: then the job says so. That is rare where no system gives ports of
    `numbers` to connections and to servers that ask for any.
    """
    for number in random.sample(numbers, min(LOOKED_AT, len(numbers))):
        if _bound(number) is not None:
            yield number
    for _ in range(LOOKED_AT):
        picked = _bound(0)
        if picked is not None:
            yield picked


def _bound(number: int) -> int | None:
    """The port that can be had; None when somebody has it."""
    with socket.socket() as probe:
        try:
            if sys.platform == "win32":  # elsewhere a listener on all addresses is in the way by itself
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
            probe.bind((LOOPBACK, number))
        except OSError:
            return None
        bound: int = probe.getsockname()[1]
        return bound
