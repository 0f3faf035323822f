"""Plugins that hold the event loop of a router or an agent when they are asked to."""

from __future__ import annotations

import time
from typing import Any

from prouter import hookimpl
from prouter.model.http import Reply
from prouter.model.plugin import Route, RpcKind, RpcMethod

SECONDS = 1.0


def hold_it_by_sleeping() -> None:
    time.sleep(SECONDS)


class Holds:
    """At a router."""

    @hookimpl
    def prouter_startup(self, router: Any) -> None:
        self.router = router

    @hookimpl
    def prouter_routes(self) -> Any:
        return [
            Route(("GET",), "/hold", "hold.read", "Hold the router's.", self.hold),
            Route(("GET",), "/agents/{agent}/hold", "hold.read", "Hold an agent's.", self.hold_agent),
        ]

    async def hold(self, call: Any) -> Reply:
        hold_it_by_sleeping()
        return Reply(200)

    async def hold_agent(self, call: Any) -> Reply:
        await self.router.agents.call(call.params["agent"], "hold_here", "")
        return Reply(200)


class HoldsToo:
    """At an agent."""

    @hookimpl
    def prouter_rpc_methods(self) -> Any:
        return [RpcMethod("hold_here", RpcKind.UNARY, self.hold)]

    async def hold(self, stream: Any, text: str) -> str:
        begun = time.thread_time()  # of work: on a busy machine most of a second may be others'
        while time.thread_time() - begun < SECONDS:
            sum(range(1000))
        return ""
