"""GET /info: the one route that the core itself answers, so that a router without any plugin can say what it is."""

from __future__ import annotations

from collections.abc import Sequence

from prouter.core.services import Description
from prouter.model.agents import Identity, this_platform
from prouter.model.http import Reply
from prouter.model.plugin import Call, Route


def info_routes(identity: Identity, version: str, description: Description) -> Sequence[Route]:
    async def info(call: Call) -> Reply:
        return Reply.json(
            {
                "auth": identity.to_wire(),
                "platform": this_platform(),
                "version": version,
                "plugins": list(description.overview()),
            }
        )

    return [Route(("GET", "HEAD"), "/info", "router.read", "What this router is and what it has loaded.", info)]
