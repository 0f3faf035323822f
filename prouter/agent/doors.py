"""The agent's three listeners: for routers that dial in, for people (control), for jobs that report a port."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from prouter import __version__
from prouter.agent.identity import Self
from prouter.agent.jobs.feedback import PortFeedback
from prouter.agent.jobs.registry import JobRegistry
from prouter.agent.links import Links
from prouter.agent.methods import JobMethods
from prouter.agent.settings import AgentSettings
from prouter.errors import (
    Incompatible,
    InvalidRequest,
    LinkError,
    Misdirected,
    ProuterError,
    RouteNotFound,
    Unauthorized,
)
from prouter.model.access import Peer, Secret, any_matches
from prouter.model.agents import Hello
from prouter.model.http import Reply
from prouter.model.inside import MOST_BYTES
from prouter.model.jobs import job_info
from prouter.model.plugin import Call, Route
from prouter.pipe.steps import in_a_task
from prouter.pluginkit.inside import Inside
from prouter.pluginkit.seldom import SeldomLog
from prouter.rpc.connection import Link
from prouter.rpc.websocket import AcceptedChannel
from prouter.web.browser import guard_change, host_is_ours
from prouter.web.link_door import Accept, LinkDoor
from prouter.web.outcomes import Incoming, Outcome
from prouter.web.routes import RouteTable
from prouter.web.serve import BodyLimits, serve_route

log = logging.getLogger(__name__)

REPORT_PATH = "/job_started"
REFUSED_AT_ONCE = 20
"""Lines about routers that were refused: those who can not come in are named, and nobody can fill the log with them."""


class RouterDoor:
    """Routers that dial this agent."""

    def __init__(
        self, links: Links, methods: JobMethods, tokens: Sequence[Secret], ping_seconds: float, handshake_seconds: float
    ) -> None:
        self._links = links
        self._methods = methods
        self._tokens = tokens
        self._ping_seconds = ping_seconds
        self._handshake_seconds = handshake_seconds
        self._refusals = SeldomLog(log, REFUSED_AT_ONCE)

    def take_tokens(self, settings: AgentSettings) -> None:
        self._tokens = settings.accept_tokens

    def door(self) -> LinkDoor:
        return LinkDoor(self._redeem, self._serve, self._ping_seconds)

    def _redeem(self, ticket: str) -> Accept | None:
        link = self._links.shared.tickets.redeem(ticket)
        return link.take_pipe if link is not None and link.up else None

    async def _serve(self, channel: AcceptedChannel, peer: Peer) -> None:
        link = self._links.new("SERVER", f"{peer.host}:{peer.port}")

        async def authenticate(data: Mapping[str, Any]) -> Mapping[str, Any]:
            try:
                hello = Hello.from_wire(data)
            except ValueError as error:
                raise LinkError(str(error)) from error
            if not any_matches(self._tokens, hello.token):
                raise Unauthorized("the token is not one of server.accept_tokens")
            self._links.check_skew(hello)
            return self._links.shared.who.hello(link.number).to_wire()

        try:
            rpc = await Link.accept(
                channel,
                authenticate=authenticate,
                ids=self._links.shared.ids,
                methods=self._methods.of(link),
                handshake_timeout_seconds=self._handshake_seconds,
            )
            await self._links.serve(link, rpc)
        except Incompatible as error:
            log.warning("the router at %s can not be served: %s", link.address, error.detail)
        except ProuterError as error:
            if link.rpc is None:
                self._refusals.warn("a router at %s was refused: %s", link.address, error.detail)
            else:
                log.info("link of a router at %s: %s", link.address, error.detail)


class ControlDoor:
    """GET /info, /connections, /jobs, /debug/state, POST /shutdown. A Dispatcher."""

    def __init__(
        self,
        who: Self,
        links: Links,
        jobs: JobRegistry,
        interface: str,
        stop: Callable[[], None],
        inside: Inside,
    ) -> None:
        self._who = who
        self._links = links
        self._jobs = jobs
        self._interface = interface.lower()
        self._stop = stop
        self._inside = inside
        self._routes = RouteTable()
        read = ("GET", "HEAD")
        self._routes.add(
            "prouter",
            [
                Route(read, "/info", "agent.read", "What this agent is.", self._info),
                Route(read, "/connections", "agent.read", "Links with routers.", self._connections),
                Route(read, "/jobs", "agent.read", "Jobs of this agent.", self._list),
                Route(read, "/debug/state", "debug.state", "What this agent is like inside.", self._state),
                Route(("POST",), "/shutdown", "agent.shutdown", "End the agent gracefully.", self._shutdown),
            ],
        )

    async def dispatch(self, incoming: Incoming) -> Outcome:
        await in_a_task()
        head = incoming.head
        host = head.get("host") or ""
        wildcard = self._interface in ("0.0.0.0", "::")  # noqa: S104 -- compared, not bound
        if not host_is_ours(host, (self._interface,), wildcard=wildcard):
            raise Misdirected("this host is not a name of this agent")
        match = self._routes.match(head.method, head.path)
        if head.method not in ("GET", "HEAD"):
            guard_change(head, (f"http://{host}".lower(),))
        call = Call(head, match.params, match.raw, {}, incoming.peer, incoming.request_id)
        return serve_route(match.route, call, BodyLimits(), match.owner)

    async def _info(self, call: Call) -> Reply:
        who = self._who
        return Reply.json(
            {
                "auth": who.identity.to_wire(),
                "platform": dict(who.platform),
                "properties": dict(who.properties),
                "version": __version__,
            }
        )

    async def _connections(self, call: Call) -> Reply:
        return Reply.json({"connections": self._links.connections()})

    async def _list(self, call: Call) -> Reply:
        agent = {
            **self._who.identity.to_wire(),
            "platform": dict(self._who.platform),
            "properties": dict(self._who.properties),
            "connected": True,
        }
        return Reply.json({"jobs": [job_info(job.record, agent, job.flows.now()) for job in self._jobs]})

    async def _state(self, call: Call) -> Reply:
        return Reply.json(await self._inside.state(MOST_BYTES))

    async def _shutdown(self, call: Call) -> Reply:
        self._stop()
        return Reply()


class ReportDoor:
    """GET /job_started?job_id=ID&port=PORT, for jobs. A Dispatcher."""

    def __init__(self, feedback: PortFeedback) -> None:
        self._feedback = feedback

    async def dispatch(self, incoming: Incoming) -> Outcome:
        await in_a_task()
        head = incoming.head
        if head.path != REPORT_PATH or head.method not in ("GET", "HEAD"):
            raise RouteNotFound("jobs report their port here, nothing else")
        pairs = parse_qsl(head.query, keep_blank_values=True)
        query = dict(pairs)
        if len(pairs) != 2 or set(query) != {"job_id", "port"}:
            raise InvalidRequest("Invalid request: exactly job_id and port are wanted")
        try:
            await self._feedback.report(query["job_id"], query["port"])
        except InvalidRequest as error:
            return Reply.text(error.detail, 400)
        return Reply.text("OK")
