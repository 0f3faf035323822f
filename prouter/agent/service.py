"""The agent's own HTTP service, which listens nowhere: routers reach it through pipes, aiohttp gets the pipe whole."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from prouter.errors import InvalidRequest, JobNotFound, ProuterError, RouteNotFound
from prouter.http1.request import HeadLimits
from prouter.model import query
from prouter.model.access import Peer
from prouter.model.agent_services import AgentJobs
from prouter.model.http import RequestHead
from prouter.model.ids import AgentUid, JobUid, new_uid
from prouter.model.jobs import JobRef
from prouter.model.plugin import Call
from prouter.pluginkit import context
from prouter.web.problem import problem
from prouter.web.routes import RouteTable
from prouter.web.serve import BodyLimits, answer, response

log = logging.getLogger(__name__)

BODY_LIMITS = BodyLimits(size_bytes=1024 * 1024)
IDLE_SECONDS = 300.0
"""A router keeps an idle pipe for less; this is for one that is gone."""
READ_BYTES = 1024 * 1024
"""Of a body that a handler has not taken yet."""


def _about_us(record: logging.LogRecord) -> bool:
    """Whether it is about something else than bytes that are no HTTP, which are answered 400 and are their sender's."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


class Service:
    """Routes of the agent's plugins, served on pipes."""

    def __init__(
        self, agent: AgentUid, routes: RouteTable, jobs: AgentJobs, missing: Callable[[], str] = lambda: ""
    ) -> None:
        self._agent = agent
        self._routes = routes
        self._jobs = jobs
        self._missing = missing
        limit = HeadLimits().head_bytes * 2
        serving = log.getChild("aiohttp")
        serving.addFilter(_about_us)
        self._server = web.Server(
            self._handle,
            handler_cancellation=True,
            access_log=None,
            logger=serving,
            auto_decompress=False,
            keepalive_timeout=IDLE_SECONDS,
            read_bufsize=READ_BYTES,
            max_line_size=limit,
            max_field_size=limit,
            max_headers=limit,  # the router bounds them
        )

    def take(self, transport: asyncio.Transport, leftover: bytes) -> None:
        """A pipe that is bound to the service."""
        protocol = self._server()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if not transport.is_reading():
            transport.resume_reading()
        if leftover:
            protocol.data_received(leftover)

    @property
    def pipes(self) -> int:
        """That are bound to it."""
        return len(self._server.connections)

    def open_pipes(self) -> list[asyncio.Transport]:
        """They themselves."""
        return [handler.transport for handler in self._server.connections if handler.transport is not None]

    async def close(self, deadline_seconds: float) -> None:
        await self._server.shutdown(deadline_seconds)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        head = RequestHead(request.method, request.raw_path, _headers(request))
        request_id = request.headers.get("X-Request-Id") or new_uid()
        context.request_id.set(request_id)
        try:
            match = self._routes.match(head.method, head.path)
            call = Call(
                head=head,
                params=match.params,
                raw=match.raw,
                query=query.read(head.query, match.route.query),
                peer=Peer("", 0),
                request_id=request_id,
                job=self._job(match.job),
            )
        except RouteNotFound as error:
            return response(problem(RouteNotFound(f"{error.detail} on this agent{self._missing()}"), request_id))
        except ProuterError as error:
            return response(problem(error, request_id))
        return await answer(match.route, call, request, BODY_LIMITS, match.owner)

    def _job(self, uid: str | None) -> JobRef | None:
        if uid is None:
            return None
        try:
            self._jobs.get(JobUid(uid))
        except JobNotFound:
            raise
        except ProuterError as error:
            raise InvalidRequest(error.detail) from error
        return JobRef(self._agent, JobUid(uid))


def _headers(request: web.BaseRequest) -> tuple[tuple[str, str], ...]:
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers)
