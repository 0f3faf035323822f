"""Ports that jobs report: who is expected to, and whether what they say is true.

Belongs here: the rule that only a port on which the job's own tree listens can be reported. Does not: the socket it
arrives at (endpoint of app.py, reports.py), how a start waits for it (ports.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from prouter.agent.jobs.serving import first_accepting
from prouter.errors import InvalidRequest
from prouter.model.drivers import Running
from prouter.model.ids import JobUid
from prouter.pipe.steps import in_a_task

LAUNCH_SECONDS = 5.0
"""A quick job reports before its launch has been told to us; the report waits for that."""
LISTEN_SECONDS = 1.0
"""Some programs report just before they listen; so long they may take."""
LOOK_SECONDS = 0.05


class Expected:
    """One start that waits for a report."""

    def __init__(self, job: JobUid) -> None:
        self.job = job
        loop = asyncio.get_running_loop()
        self.running: asyncio.Future[Running] = loop.create_future()
        """Set by the start once the process runs."""
        self.port: asyncio.Future[tuple[int, str]] = loop.create_future()
        """And at which address of the loopback."""


class PortFeedback:
    """The starts that wait for a report, by job."""

    def __init__(self) -> None:
        self.url = ""
        """Where jobs report; set once the socket listens."""
        self._expected: dict[JobUid, Expected] = {}

    @contextmanager
    def expecting(self, job: JobUid) -> Iterator[Expected]:
        """For the length of one start and the run after it."""
        expected = self._expected[job] = Expected(job)
        try:
            yield expected
        finally:
            del self._expected[job]
            expected.running.cancel()
            expected.port.cancel()

    async def report(self, job_id: str, port_text: str) -> None:
        """What a job said. Raises InvalidRequest with the reason when it is not believed."""
        port = int(port_text) if port_text.isdecimal() and len(port_text) <= 5 else 0
        if not 0 < port < 65536:
            raise InvalidRequest(f"Invalid request: {port_text[:32]!r} is no port")
        expected = self._expected.get(JobUid(job_id))
        if expected is None:
            raise InvalidRequest("Invalid request: no job of this id waits for a port")
        host = await self._listens(expected, port)
        if host is None:
            raise InvalidRequest(
                f"Invalid request: port {port} is not one on which this job listens at 127.0.0.1 or ::1"
            )
        if expected.port.done():
            if expected.port.cancelled() or expected.port.result()[0] != port:
                raise InvalidRequest("Invalid request: this job reported another port before")
            return
        expected.port.set_result((port, host))

    async def _listens(self, expected: Expected, port: int) -> str | None:
        """At which address."""
        await in_a_task()
        try:
            async with asyncio.timeout(LAUNCH_SECONDS):
                running = await asyncio.shield(expected.running)
        except (TimeoutError, asyncio.CancelledError):
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return None
        until = asyncio.get_running_loop().time() + LISTEN_SECONDS
        while (host := await first_accepting(port, (await running.ports(port)).get(port, ()))) is None:
            if asyncio.get_running_loop().time() > until or expected.port.cancelled():
                return None
            await asyncio.sleep(LOOK_SECONDS)
        return host
