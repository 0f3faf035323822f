"""GET /healthz (the process answers) and GET /readyz (it takes work), without credentials, for load balancers."""

from __future__ import annotations

from collections.abc import Sequence

from prouter import hookimpl
from prouter.model.http import Reply
from prouter.model.plugin import Call, Route
from prouter.model.query import SWITCH, switch
from prouter.model.services import Router

ASKED = {
    "agents": SWITCH
    | {
        "description": "1: nor does it before the agents of its last run are back, or ten seconds have passed; for "
        "whatever balances the load of several routers."
    }
}


class Health:
    """Plugin `health`."""

    def __init__(self) -> None:
        self._router: Router | None = None

    @hookimpl
    def prouter_startup(self, router: Router) -> None:
        self._router = router

    @hookimpl
    def prouter_routes(self) -> Sequence[Route]:
        read = ("GET", "HEAD")
        return [
            Route(read, "/healthz", "health.read", "Whether the router answers.", self._alive, public=True),
            Route(
                read, "/readyz", "health.read", "Whether the router takes work.", self._ready, public=True, query=ASKED
            ),
        ]

    async def _alive(self, call: Call) -> Reply:
        return Reply.json({"status": "ok"})

    async def _ready(self, call: Call) -> Reply:
        assert self._router is not None
        checks = await self._router.describe.health()
        ready = self._router.describe.ready() and all(check.ok for check in checks)
        if switch(call.query, "agents") and self._router.agents.returning():
            ready = False
        listed = [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in checks]
        return Reply.json({"status": "ok" if ready else "not ready", "checks": listed}, 200 if ready else 503)
