"""How a job's port is found: one class for each mode, from before the launch until the port is served.

Belongs here: what a process is told, and when it counts as serving. Does not: the process (job.py), the reports
themselves (feedback.py). To add a mode: a class with the methods of `PortFinder`, and a line in `PortFinders.finder`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from prouter.agent.jobs.feedback import Expected, PortFeedback
from prouter.errors import InvalidRequest, NotPossible, PortNotServed
from prouter.model.ids import JobUid
from prouter.model.jobs import Port, PortMode, PortRequest
from prouter.model.plugin import Running

LOOPBACK = "127.0.0.1"
FIRST_LOOK_SECONDS = 0.01
LONGEST_LOOK_SECONDS = 0.2
"""Between two looks at a port that is not served yet: short at first, since most programs start quickly."""
READY_SECONDS = 5.0
"""For one answer of the job's ready path."""
MAX_READY_TIMEOUT_SECONDS = 3600.0


class PortFinder(Protocol):
    """One port of one start."""

    @property
    def number(self) -> int | None:
        """What `{port}` stands for; None when it is not known before the launch."""

    @property
    def replaces(self) -> bool:
        """Whether placeholders in args, env and cwd are replaced in this mode."""

    def environment(self) -> Mapping[str, str]:
        """What the process is told."""

    async def served(self, running: Running) -> Port:
        """Once the process serves it. Raises PortNotServed at the deadline; the end of the process is job.py's."""


def check_ports(requests: tuple[PortRequest, ...]) -> None:
    """What can not be had, before anything is begun. Raises InvalidRequest, NotPossible."""
    if len(requests) > 1:
        raise NotPossible("this agent can not start a job with several ports yet; ask for one")
    for request in requests:
        if request.mode not in (PortMode.REPORT, PortMode.ASSIGN):
            raise NotPossible(f"the port mode {request.mode.value!r} is not known here yet; use report or assign")
        if request.ready is not None and not request.ready.startswith("/"):
            raise InvalidRequest("Invalid request: `ready` is a path and begins with a slash")
        if request.ready is not None and not (request.ready.isascii() and request.ready.isprintable()):
            raise InvalidRequest("Invalid request: `ready` must be percent-encoded")
        if not 0 < request.ready_timeout_seconds <= MAX_READY_TIMEOUT_SECONDS:
            raise InvalidRequest(f"Invalid request: `ready_timeout` is at most {MAX_READY_TIMEOUT_SECONDS:g} s")


class PortFinders:
    """Makes the finder for a request, and remembers which ports were picked for starts that are under way."""

    def __init__(self, feedback: PortFeedback) -> None:
        self._feedback = feedback
        self._reserved: set[int] = set()

    def finder(self, request: PortRequest, job: JobUid) -> AbstractContextManager[PortFinder]:
        """For a request that `check_ports` let pass; what it holds is given back at the context's end."""
        if request.mode is PortMode.ASSIGN:
            return self._assigned(request)
        return self._reported(request, job)

    @contextmanager
    def _reported(self, request: PortRequest, job: JobUid) -> Iterator[PortFinder]:
        with self._feedback.expecting(job) as expected:
            yield ReportedPort(request, expected, self._feedback.url)

    @contextmanager
    def _assigned(self, request: PortRequest) -> Iterator[PortFinder]:
        number = free_port()
        while number in self._reserved:
            number = free_port()
        self._reserved.add(number)
        try:
            yield AssignedPort(request, number)
        finally:
            self._reserved.discard(number)


class ReportedPort:
    """The job picks a port and tells us: the original's way."""

    number: int | None = None
    replaces = False

    def __init__(self, request: PortRequest, expected: Expected, url: str) -> None:
        self._request = request
        self._expected = expected
        self._url = url

    def environment(self) -> Mapping[str, str]:
        return {"DA__PAGENT__JOB_ENDPOINT": self._url, "DA__PAGENT__JOB_ID": self._expected.job}

    async def served(self, running: Running) -> Port:
        request = self._request
        self._expected.running.set_result(running)
        try:
            async with asyncio.timeout(request.ready_timeout_seconds):
                number = await asyncio.shield(self._expected.port)
                if request.ready is not None:
                    await until_ready(number, request.ready)
        except TimeoutError:
            raise PortNotServed(
                f"the job did not report a port that it serves within {request.ready_timeout_seconds:g} s"
            ) from None
        return Port(request.name, number, keep_prefix=request.keep_prefix)


class AssignedPort:
    """We pick a free port and tell the job: for programs that know nothing of us."""

    replaces = True

    def __init__(self, request: PortRequest, number: int) -> None:
        self._request = request
        self.number: int | None = number

    def environment(self) -> Mapping[str, str]:
        return {"PORT": str(self.number)}

    async def served(self, running: Running) -> Port:
        request, number = self._request, self.number
        assert number is not None
        try:
            async with asyncio.timeout(request.ready_timeout_seconds):
                await until_listening(number, running)
                if request.ready is not None:
                    await until_ready(number, request.ready)
        except TimeoutError:
            what = f"answer {request.ready} below 500" if request.ready is not None else "accept connections"
            raise PortNotServed(
                f"the job did not {what} on port {number} within {request.ready_timeout_seconds:g} s"
            ) from None
        return Port(request.name, number, keep_prefix=request.keep_prefix)


def free_port() -> int:
    """A loopback port on which nobody listens. Somebody may take it before the job does: then the job says so."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        number: int = probe.getsockname()[1]
        return number


async def until_listening(number: int, running: Running) -> None:
    """Until the job's own tree listens there, and can be reached: it may listen on another address."""
    pause = FIRST_LOOK_SECONDS
    while not (await running.owns_port(number) and await _accepts(number)):
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, LONGEST_LOOK_SECONDS)


async def until_ready(number: int, path: str) -> None:
    """Until GET on that path is answered below 500."""
    pause = FIRST_LOOK_SECONDS
    while not 100 <= await _status(number, path) < 500:
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, LONGEST_LOOK_SECONDS)


async def _accepts(number: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(LOOPBACK, number)
    except OSError:
        return False
    writer.transport.abort()
    return True


async def _status(number: int, path: str) -> int:
    """The status of one GET; 0 for everything that is no answer."""
    try:
        async with asyncio.timeout(READY_SECONDS):
            reader, writer = await asyncio.open_connection(LOOPBACK, number)
            try:
                request = f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}:{number}\r\nConnection: close\r\n\r\n"
                writer.write(request.encode("ascii"))
                line = await reader.readline()
            finally:
                writer.transport.abort()
    except (OSError, ValueError):  # TimeoutError is an OSError
        return 0
    parts = line.split(b" ", 2)
    valid = len(parts) >= 2 and parts[0].startswith(b"HTTP/1.") and len(parts[1]) == 3 and parts[1].isdigit()
    return int(parts[1]) if valid else 0
