"""Ways to agents that the router dials: what an address is, where plugins say to connect to instead, with which token.

Belongs here: asking the plugins, and reading what they say. Does not: dialing, and when to try again (dialer.py).
"""

from __future__ import annotations

import re

from prouter.errors import InvalidRequest, PluginFailure
from prouter.model.access import Secret
from prouter.pluginkit.calling import Hooks

WAY_SECONDS = 30.0
"""For plugins to open a way, longer than which nobody waits for a first link."""
_HOST = re.compile(r"[^\s:/@?#\[\]\x00-\x20\x7f]+")
_IPV6 = re.compile(r"[0-9a-fA-F:.]+(%[A-Za-z0-9_.\-]+)?")
_PORT = re.compile(r"[0-9]{1,5}")


class Ways:
    """Asks the plugins of one router. Where none implements a hook, addresses are as clients write them."""

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks

    @property
    def seconds(self) -> float:
        """How much longer than a plain connection a first link may take."""
        return WAY_SECONDS if self._hooks.implemented("prouter_connect_agent") else 0.0

    async def place(self, address: str) -> tuple[str, int]:
        """Host and port to connect to. Raises what a plugin raises, PluginFailure, InvalidRequest."""
        if not self._hooks.implemented("prouter_connect_agent"):
            return split_address(address)
        found = await self._hooks.first("prouter_connect_agent", address=address)
        if found is None:
            return split_address(address)
        plugin, place = found
        try:
            return split_address(place)
        except (InvalidRequest, TypeError, AttributeError):
            raise PluginFailure(plugin, "prouter_connect_agent", "it answered something that is no HOST:PORT") from None

    async def token(self, address: str) -> Secret:
        """For an agent of which a client named no token; empty where no plugin knows one. Raises as `place` does."""
        if not self._hooks.implemented("prouter_agent_token"):
            return Secret("")
        found = await self._hooks.first("prouter_agent_token", address=address)
        if found is None:
            return Secret("")
        plugin, token = found
        if not isinstance(token, Secret):
            raise PluginFailure(plugin, "prouter_agent_token", "it answered something that is no Secret")
        return token


def split_address(address: str) -> tuple[str, int]:
    """HOST:PORT, an IPv6 address in brackets. Raises InvalidRequest."""
    bracketed, _, port = address.rpartition(":")
    host = bracketed.removeprefix("[").removesuffix("]")
    ipv6 = bracketed != host and _IPV6.fullmatch(host)
    if not (ipv6 or _HOST.fullmatch(bracketed)) or not _PORT.fullmatch(port) or not 0 < int(port) < 65536:
        raise InvalidRequest(f"Invalid request: {address!r} is no HOST:PORT")
    return host, int(port)
