"""GET /debug/state and /agents/UID/debug/state: what a router or an agent is like inside, for support.

Both halves only pass on what the daemon itself tells. There are no secrets in it, and still much that is nobody's
business: it has an action of its own, which is not one of reading.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prouter import hookimpl
from prouter.errors import MethodNotFound, NotPossible, UpstreamFailed
from prouter.model.http import Reply
from prouter.model.ids import AgentUid
from prouter.model.inside import MOST_BYTES, bounded
from prouter.model.plugin import Call, ConfigSection, Route, RpcKind, RpcMethod
from prouter.model.services import AgentHost, Router

ACTION = "debug.state"
METHOD = "debug_state"
SECTION = ConfigSection(
    "debug",
    {
        "state_bytes": {
            "type": "integer",
            "minimum": 1024,
            "maximum": 2 * 1024 * 1024,
            "default": MOST_BYTES,
            "description": "Bytes of what GET /debug/state tells; of more the largest parts are left out.",
        }
    },
)


class DebugState:
    """Plugin `debug_state` of the router."""

    def __init__(self) -> None:
        self._router: Router | None = None

    @hookimpl
    def prouter_config_sections(self) -> Sequence[ConfigSection]:
        return [SECTION]

    @hookimpl
    def prouter_startup(self, router: Router) -> None:
        self._router = router

    @hookimpl
    def prouter_routes(self) -> Sequence[Route]:
        read, agent = ("GET", "HEAD"), "/agents/{agent}/debug/state"
        return [
            Route(read, "/debug/state", ACTION, "What this router is like inside, for support.", self._own),
            Route(read, agent, ACTION, "What an agent is like inside, for support.", self._of_agent),
        ]

    @property
    def router(self) -> Router:
        assert self._router is not None
        return self._router

    @property
    def most_bytes(self) -> int:
        return int(self.router.config.section("debug")["state_bytes"])

    async def _own(self, call: Call) -> Reply:
        return Reply.json(await self.router.describe.state(self.most_bytes))

    async def _of_agent(self, call: Call) -> Reply:
        uid = AgentUid(call.params["agent"])
        try:
            told = await self.router.agents.call(uid, METHOD)
        except MethodNotFound:
            raise NotPossible(f"agent {uid!r} does not tell its state: it is older, or has no debug_state") from None
        if not isinstance(told, Mapping):
            raise UpstreamFailed(f"agent {uid!r} told of a state that is none")
        return Reply.json(bounded(told, self.most_bytes))


class AgentDebugState:
    """Plugin `debug_state` of the agent."""

    def __init__(self) -> None:
        self._agent: AgentHost | None = None

    @hookimpl
    def prouter_config_sections(self) -> Sequence[ConfigSection]:
        return [SECTION]

    @hookimpl
    def prouter_startup(self, agent: AgentHost) -> None:
        self._agent = agent

    @hookimpl
    def prouter_rpc_methods(self) -> Sequence[RpcMethod]:
        return [RpcMethod(METHOD, RpcKind.UNARY, self._state)]

    async def _state(self, stream: Any) -> Mapping[str, Any]:
        assert self._agent is not None
        return await self._agent.state(int(self._agent.config.section("debug")["state_bytes"]))
