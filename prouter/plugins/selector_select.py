"""The locator {"type": "select", "uids": [UID, ...]}: the least loaded of these agents that are connected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prouter import hookimpl
from prouter.errors import AgentNotFound, AgentNotHere
from prouter.model.ids import AgentUid
from prouter.model.plugin import Candidate, Selector
from prouter.model.selection import AWAY, considered, is_connected, least_loaded
from prouter.model.services import Router

MAX_UIDS = 1000


class SelectSelector:
    """Plugin `selector_select`, and its one selector."""

    name = "select"
    schema: Mapping[str, Any] = {
        "type": "object",
        "properties": {
            "type": {"const": "select"},
            "uids": {
                "type": "array",
                "items": {"type": "string", "minLength": 1},
                "minItems": 1,
                "maxItems": MAX_UIDS,
                "description": "The agents to choose from.",
            },
        },
        "required": ["type", "uids"],
        "additionalProperties": False,
    }

    def __init__(self) -> None:
        self._router: Router | None = None

    @hookimpl
    def prouter_startup(self, router: Router) -> None:
        self._router = router

    @hookimpl
    def prouter_selectors(self) -> Sequence[Selector]:
        return [self]

    async def choose(self, locator: Mapping[str, Any], candidates: Sequence[Candidate]) -> AgentUid:
        wanted = [AgentUid(uid) for uid in dict.fromkeys(locator["uids"])]
        assert self._router is not None
        connected = {uid: is_connected(self._router.agents, uid) for uid in wanted}
        offered = {candidate.uid: candidate for candidate in candidates}
        not_taken = {uid: _why_not(connected[uid]) for uid in wanted if uid not in offered}
        if not any(connected.values()):
            away = [uid for uid in wanted if connected[uid] is not None]
            found = AgentNotHere if away else AgentNotFound
            detail = f"agent connection not found: none of {wanted[:20]} is connected"
            raise found((away or wanted)[0], detail, extra=considered(not_taken))
        return least_loaded([offered[uid] for uid in wanted if uid in offered], not_taken)


def _why_not(connected: bool | None) -> str:
    if connected is None:
        return "it is not connected"
    return "it may not take this job" if connected else AWAY
