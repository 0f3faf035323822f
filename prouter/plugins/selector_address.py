"""The locator {"type": "address", "address": "HOST:PORT", "token": TOKEN}: the router dials that agent.

The section `dialing` knows addresses: where else to connect to for one, and its token, so that clients need none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prouter import hookimpl
from prouter.errors import AgentNotFound
from prouter.model.access import Secret
from prouter.model.ids import AgentUid
from prouter.model.plugin import Candidate, ConfigSection, Selector
from prouter.model.services import Router

KNOWN: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": {
        "type": "object",
        "properties": {
            "connect": {"type": "string", "pattern": "^\\S+:[0-9]{1,5}$"},
            "token_file": {"type": "string", "minLength": 1},
        },
        "additionalProperties": False,
    },
    "default": {},
    "description": "By an address that clients name (HOST:PORT): `connect`, the HOST:PORT to connect to instead, the "
    "near end of a tunnel for one; `token_file`, whose token the agent accepts, for clients that name none.",
}


class AddressSelector:
    """Plugin `selector_address`, and its one selector."""

    name = "address"
    schema: Mapping[str, Any] = {
        "type": "object",
        "properties": {
            "type": {"const": "address"},
            "address": {"type": "string", "minLength": 3, "description": "HOST:PORT of the agent's endpoint."},
            "token": {
                "type": "string",
                "writeOnly": True,
                "description": "A token that the agent accepts; without it the plugins are asked for one.",
            },
        },
        "required": ["type", "address"],
        "additionalProperties": False,
    }

    def __init__(self) -> None:
        self._router: Router | None = None
        self._known: Mapping[str, Mapping[str, str]] = {}

    @hookimpl
    def prouter_config_sections(self) -> Sequence[ConfigSection]:
        return [ConfigSection("dialing", {"known": KNOWN})]

    @hookimpl
    def prouter_startup(self, router: Router) -> None:
        self._router = router
        self._known = router.config.section("dialing")["known"]

    @hookimpl
    def prouter_connect_agent(self, address: str) -> str | None:
        return self._known.get(address, {}).get("connect")

    @hookimpl
    async def prouter_agent_token(self, address: str) -> Secret | None:
        """Read anew each time, so that a token can change while the router runs."""
        path = self._known.get(address, {}).get("token_file")
        if path is None:
            return None
        try:
            return Secret((await asyncio.to_thread(Path(path).read_text)).strip())
        except (OSError, ValueError) as error:
            raise AgentNotFound(
                address, f"agent connection not found at {address}: its token can not be read"
            ) from error

    @hookimpl
    def prouter_selectors(self) -> Sequence[Selector]:
        return [self]

    async def choose(self, locator: Mapping[str, Any], candidates: Sequence[Candidate]) -> AgentUid:
        assert self._router is not None
        return await self._router.agents.dial(locator["address"], locator.get("token"))
