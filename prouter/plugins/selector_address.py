"""The locator {"type": "address", "address": "HOST:PORT", "token": TOKEN}: the router dials that agent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prouter import hookimpl
from prouter.model.ids import AgentUid
from prouter.model.plugin import Candidate, Selector
from prouter.model.services import Router


class AddressSelector:
    """Plugin `selector_address`, and its one selector."""

    name = "address"
    schema: Mapping[str, Any] = {
        "type": "object",
        "properties": {
            "type": {"const": "address"},
            "address": {"type": "string", "minLength": 3, "description": "HOST:PORT of the agent's endpoint."},
            "token": {"type": "string", "writeOnly": True, "description": "A token that the agent accepts."},
        },
        "required": ["type", "address", "token"],
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
        assert self._router is not None
        return await self._router.agents.dial(locator["address"], locator["token"])
