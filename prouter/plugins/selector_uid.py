"""The locator {"type": "uid", "uid": UID}: exactly that agent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prouter import hookimpl
from prouter.errors import AgentNotFound, AgentNotHere
from prouter.model.ids import AgentUid
from prouter.model.plugin import Candidate, Selector
from prouter.model.selection import is_connected, no_agent
from prouter.model.services import Router


class UidSelector:
    """Plugin `selector_uid`, and its one selector."""

    name = "uid"
    schema: Mapping[str, Any] = {
        "type": "object",
        "properties": {
            "type": {"const": "uid"},
            "uid": {"type": "string", "minLength": 1, "description": "The agent's uid."},
        },
        "required": ["type", "uid"],
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
        uid = AgentUid(locator["uid"])
        if any(candidate.uid == uid for candidate in candidates):
            return uid
        assert self._router is not None
        connected = is_connected(self._router.agents, uid)
        if connected:
            raise no_agent({uid: "it may not take this job"})
        raise AgentNotFound(uid) if connected is None else AgentNotHere(uid)
