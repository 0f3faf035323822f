"""The agent's half: reads a job's output from the requested place on, and follows it as long as its client reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prouter import hookimpl
from prouter.errors import JobNotFound, ProuterError, RangeNotSatisfiable, TooManyRequests
from prouter.model.frames import FAILURE, FOLLOWED_HEADER, FRAMES_HEADER, UNDERSTOOD
from prouter.model.http import RequestHead
from prouter.model.ids import JobUid
from prouter.model.jobs import JobRecord
from prouter.model.output import OutputPiece
from prouter.model.plugin import Call, ConfigSection, Route
from prouter.model.services import AgentHost
from prouter.model.services import JobOutput as Output
from prouter.plugins.job_output.view import MAX_DIGITS, EventStream, Framed, PlainText, View

if TYPE_CHECKING:
    from aiohttp import web

RETRY_SECONDS = 5
OFFSET_HEADER = "X-Output-Offset"
"""Where the answer begins; with `tail` only we know."""


class JobOutput:
    """Plugin `job_output` of the agent."""

    def __init__(self) -> None:
        self._agent: AgentHost | None = None
        self._followers: Counter[JobUid] = Counter()

    @hookimpl
    def prouter_config_sections(self) -> Sequence[ConfigSection]:
        return [
            ConfigSection(
                "output",
                {
                    "max_followers": {
                        "type": "integer",
                        "minimum": 1,
                        "default": 32,
                        "description": "Clients that follow the output of one job at the same time; beyond it the "
                        "answer is 429.",
                    }
                },
            )
        ]

    @hookimpl
    def prouter_startup(self, agent: AgentHost) -> None:
        self._agent = agent

    @hookimpl
    def prouter_agent_routes(self) -> Sequence[Route]:
        summary = "What a job wrote to its standard streams."
        return [Route(("GET", "HEAD"), "/jobs/{job}/output", "output.read", summary, self._output)]

    @property
    def agent(self) -> AgentHost:
        assert self._agent is not None
        return self._agent

    async def _output(self, call: Call) -> web.StreamResponse:
        view = View.of(call.head, call.query)
        job = call.job_ref().job
        output = self.agent.jobs.output(job)
        start = await _start(output, view)
        headers = {
            "Content-Type": "text/event-stream" if view.events else "application/octet-stream",
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            OFFSET_HEADER: str(start),
        }
        if call.head.method == "HEAD" or not view.follow:
            return await self._send(call, job, output, view, start, headers)
        if call.head.get(FRAMES_HEADER) is not None:
            headers[FRAMES_HEADER] = str(start)
            headers[FOLLOWED_HEADER] = _followed(call.head) or str(output.run)
        with self._follower(job):
            return await self._send(call, job, output, view, start, headers)

    async def _send(
        self, call: Call, job: JobUid, output: Output, view: View, start: int, headers: dict[str, str]
    ) -> web.StreamResponse:
        """Nothing is read ahead: writing waits for the client, and reading for the writing."""
        from aiohttp import web

        plain = EventStream() if view.events else PlainText()
        framed = FRAMES_HEADER in headers
        form = Framed(plain, start, tells_last=call.head.get(FRAMES_HEADER) == UNDERSTOOD) if framed else plain
        answer = web.StreamResponse(headers=headers)
        assert call.request is not None
        run = int(headers.get(FOLLOWED_HEADER, output.run))
        reading = output.read(view.stream, start, follow=view.follow, run=run)
        first: Sequence[OutputPiece] | None = None
        if not view.follow and call.head.method != "HEAD":
            first = await anext(reading, None)  # so that a failure is an error and no cut
        await answer.prepare(call.request)
        if call.head.method != "HEAD":
            if first:
                await answer.write(form.encode(first))
            try:
                async for pieces in reading:
                    if data := form.encode(pieces):
                        await answer.write(data)
            except (ProuterError, OSError):  # of the reading, or the client is gone, who gets nothing any more
                if framed:
                    await answer.write(FAILURE)
                raise
            if data := form.end(self._ended(job, output, run)):
                await answer.write(data)
        await answer.write_eof()
        return answer

    def _ended(self, job: JobUid, output: Output, run: int) -> JobRecord | None:
        """How that run ended. None: it was removed by now, or runs anew."""
        try:
            return self.agent.jobs.get(job) if output.run == run else None
        except JobNotFound:
            return None

    @contextmanager
    def _follower(self, job: JobUid) -> Iterator[None]:
        """Raises TooManyRequests when there are too many of this job."""
        most = self.agent.config.section("output")["max_followers"]
        if self._followers[job] >= most:
            raise TooManyRequests(
                f"{most} clients follow the output of job {job!r} already, which is the limit (output.max_followers)",
                headers={"Retry-After": str(RETRY_SECONDS)},
            )
        self._followers[job] += 1
        try:
            yield
        finally:
            self._followers[job] -= 1
            if not self._followers[job]:
                del self._followers[job]


def _followed(head: RequestHead) -> str | None:
    """The run that a follow which goes on was about; what is no number counts as none."""
    words = head.get(FOLLOWED_HEADER)
    return words if words is not None and words.isascii() and words.isdecimal() and len(words) <= MAX_DIGITS else None


async def _start(output: Output, view: View) -> int:
    """The offset to begin at. Raises RangeNotSatisfiable for one behind the end, unless it is waited for."""
    if view.tail is not None:
        return await output.tail(view.stream, view.tail)
    offset = view.offset or 0
    if offset and not view.follow and offset > (end := await output.end(view.stream)):
        raise RangeNotSatisfiable(f"the output has {end} bytes so far, offset {offset} is behind its end")
    return offset
