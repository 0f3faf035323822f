"""The ways in which a job's port is found: one class for each mode, with the methods of `PortFinder` (ports.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from prouter.agent.jobs.feedback import Expected
from prouter.agent.jobs.serving import (
    Open,
    tcp,
    until_accepting,
    until_detected,
    until_listening,
    until_ready,
)
from prouter.errors import PortNotServed
from prouter.model.drivers import Running
from prouter.model.jobs import Port, PortRequest

SHOWN_PORTS = 10
"""In a sentence."""


class ReportedPort:
    """The job picks a port and tells us: the original's way."""

    number: int | None = None
    socket: str | None = None
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
        what, wanted = "report a port that it serves", None
        try:
            async with asyncio.timeout(request.ready_timeout_seconds):
                number, host = await asyncio.shield(self._expected.port)
                if request.ready is not None:
                    what, wanted = _ready(request, number), number
                    await until_ready(tcp(number, host), request.ready)
        except TimeoutError:
            raise await _late(request, running, what, wanted) from None
        return Port(request.name, number, keep_prefix=request.keep_prefix, host=host)


class AssignedPort:
    """We pick a free port and tell the job: for programs that know nothing of us."""

    socket: str | None = None
    replaces = True

    def __init__(self, request: PortRequest, number: int, variables: tuple[str, ...]) -> None:
        self._request = request
        self.number: int | None = number
        self._variables = variables

    def environment(self) -> Mapping[str, str]:
        return dict.fromkeys(self._variables, str(self.number))

    async def served(self, running: Running) -> Port:
        request, number = self._request, self.number
        assert number is not None
        what = f"accept connections on port {number}"
        try:
            async with asyncio.timeout(request.ready_timeout_seconds):
                host = await until_listening(number, running)
                if request.ready is not None:
                    what = _ready(request, number)
                    await until_ready(tcp(number, host), request.ready)
        except TimeoutError:
            raise await _late(request, running, what, number) from None
        return Port(request.name, number, keep_prefix=request.keep_prefix, host=host)


class DetectedPort:
    """The job listens where it likes, and we look: for programs whose port can not be chosen."""

    number: int | None = None
    socket: str | None = None
    replaces = True

    def __init__(self, request: PortRequest, excepted: Callable[[], frozenset[int]]) -> None:
        self._request = request
        self._excepted = excepted
        """Ports that the same start was given."""

    def environment(self) -> Mapping[str, str]:
        return {}

    async def served(self, running: Running) -> Port:
        request, what, wanted = self._request, "listen on a port of the loopback", None
        try:
            async with asyncio.timeout(request.ready_timeout_seconds):
                number, host = await until_detected(running, self._excepted())
                if request.ready is not None:
                    what, wanted = _ready(request, number), number
                    await until_ready(tcp(number, host), request.ready)
        except TimeoutError:
            raise await _late(request, running, what, wanted) from None
        return Port(request.name, number, keep_prefix=request.keep_prefix, host=host)


class SocketPort:
    """The job listens on a unix socket in its sandbox."""

    number: int | None = None
    replaces = True

    def __init__(self, request: PortRequest, path: str, connect: Open) -> None:
        self._request = request
        self.socket: str | None = path
        """Absolute, for the job."""
        self._connect = connect

    def environment(self) -> Mapping[str, str]:
        return {}

    async def served(self, running: Running) -> Port:
        request = self._request
        what = f"accept connections on the socket {request.path!r}"
        try:
            async with asyncio.timeout(request.ready_timeout_seconds):
                await until_accepting(self._connect)
                if request.ready is not None:
                    what = _ready(request, None)
                    await until_ready(self._connect, request.ready)
        except TimeoutError:
            raise await _late(request, running, what) from None
        return Port(request.name, None, request.path, request.keep_prefix)


def _ready(request: PortRequest, number: int | None) -> str:
    where = f"on port {number}" if number is not None else f"on the socket {request.path!r}"
    return f"answer {request.ready} below 500 {where}"


async def _late(request: PortRequest, running: Running, what: str, wanted: int | None = None) -> PortNotServed:
    """What the job did not do in time, and where it listens instead."""
    found = await running.ports()
    elsewhere = [
        str(number) if hosts else f"{number} (on neither 127.0.0.1 nor ::1)"
        for number, hosts in sorted(found.items())
        if number != wanted or not hosts
    ]
    shown = ", ".join(elsewhere[:SHOWN_PORTS])
    more = f" and {len(elsewhere) - SHOWN_PORTS} more" if len(elsewhere) > SHOWN_PORTS else ""
    hint = f"; it listens on {shown}{more}" if elsewhere else ""
    return PortNotServed(f"the job did not {what} within {request.ready_timeout_seconds:g} s{hint}")
