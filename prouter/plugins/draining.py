"""POST /agents/UID/drain and /undrain: an agent takes no new jobs while those that it has go on, or takes them again.

The agent keeps the switch and enforces it; what is asked here is passed on, and what it says is shown.
"""

from __future__ import annotations

from collections.abc import Sequence

from prouter import hookimpl
from prouter.model.http import Reply
from prouter.model.ids import AgentUid
from prouter.model.plugin import Call, Route
from prouter.model.schemas import AGENT
from prouter.model.services import Router


class Draining:
    """Plugin `draining`."""

    def __init__(self) -> None:
        self._router: Router | None = None

    @hookimpl
    def prouter_startup(self, router: Router) -> None:
        self._router = router

    @hookimpl
    def prouter_routes(self) -> Sequence[Route]:
        post, agent = ("POST",), "/agents/{agent}"
        drain = "An agent takes no new jobs; those that it has go on."
        undrain = "A draining agent takes new jobs again."
        return [
            Route(post, f"{agent}/drain", "agents.drain", drain, self._drain, answer=AGENT),
            Route(post, f"{agent}/undrain", "agents.drain", undrain, self._undrain, answer=AGENT),
        ]

    async def _drain(self, call: Call) -> Reply:
        return await self._turn(call, on=True)

    async def _undrain(self, call: Call) -> Reply:
        return await self._turn(call, on=False)

    async def _turn(self, call: Call, *, on: bool) -> Reply:
        assert self._router is not None
        agent = await self._router.agents.drain(AgentUid(call.params["agent"]), on=on)
        return Reply.json(agent.shown())
