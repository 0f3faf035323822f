"""GET /connections, GET /agents, POST /shutdown: the router and its agents as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prouter import hookimpl
from prouter.errors import ConfigError, Conflict
from prouter.model.http import Reply
from prouter.model.paging import QUERY, fits, page, pairs
from prouter.model.plugin import Call, Route
from prouter.model.schemas import AGENTS, CONNECTIONS, PLUGINS
from prouter.model.services import Router

AGENTS_QUERY: Mapping[str, Mapping[str, Any]] = {
    **QUERY,
    "connected": {"enum": ["0", "1"], "description": "1: those with a link now; 0: those that are away."},
    "property": {
        "type": "array",
        "items": {"type": "string", "pattern": ":"},
        "description": "KEY:VALUE; all that are given must fit.",
    },
}


class AdminApi:
    """Plugin `admin_api`."""

    def __init__(self) -> None:
        self._router: Router | None = None

    @hookimpl
    def prouter_startup(self, router: Router) -> None:
        self._router = router

    @hookimpl
    def prouter_routes(self) -> Sequence[Route]:
        read = ("GET", "HEAD")
        return [
            Route(read, "/connections", "agents.read", "Links with agents.", self._connections, answer=CONNECTIONS),
            Route(
                read,
                "/agents",
                "agents.read",
                "Agents that are connected or away.",
                self._agents,
                query=AGENTS_QUERY,
                answer=AGENTS,
            ),
            Route(
                read,
                "/plugins",
                "router.read",
                "Plugins: what is loaded, and which hooks.",
                self._plugins,
                answer=PLUGINS,
            ),
            Route(
                ("POST",),
                "/reload",
                "router.reload",
                "Read the configuration again and take over what can change while running.",
                self._reload,
            ),
            Route(
                ("POST",), "/shutdown", "router.shutdown", "End the router gracefully.", self._shutdown, media_type=""
            ),
        ]

    @property
    def router(self) -> Router:
        assert self._router is not None
        return self._router

    async def _connections(self, call: Call) -> Reply:
        return Reply.json({"connections": list(self.router.agents.connections())})

    async def _agents(self, call: Call) -> Reply:
        properties, connected = pairs(call.head.query, "property"), call.query.get("connected")
        found = [
            agent
            for agent in self.router.agents.list()
            if connected in (None, str(int(agent.connected))) and fits(properties, agent.properties)
        ]
        shown, following = page(found, lambda agent: (agent.uid,), call.query)
        return Reply.json({"agents": [agent.shown() for agent in shown], "next": following})

    async def _plugins(self, call: Call) -> Reply:
        return Reply.json({"plugins": list(self.router.describe.plugins())})

    async def _reload(self, call: Call) -> Reply:
        try:
            return Reply.json(await self.router.describe.reload())
        except ConfigError as error:
            raise Conflict(f"the configuration is wrong, all stays as it is: {error.detail}") from error

    async def _shutdown(self, call: Call) -> Reply:
        self.router.describe.request_shutdown()
        return Reply(200)
