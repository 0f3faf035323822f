"""Pipes to an agent that the router dialed: all of them within the time that is set, or none is waited for."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, cast

import pytest

from prouter.core.agents.link import AgentLink
from prouter.core.agents.pipes import DialedOut
from prouter.errors import LinkClosed


class Issuing:
    """Of a link: what hands out tickets."""

    async def call(self, method: str, count: int, timeout_seconds: float) -> list[str]:
        assert method == "pipe_tickets"
        return ["0" * 32] * count


async def test_an_agent_whose_pipes_do_not_open_is_not_waited_for() -> None:
    def placed(*_: Any) -> None:
        raise AssertionError("none opened")

    with socket.create_server(("127.0.0.1", 0)) as silent:
        source = DialedOut(cast("AgentLink", Issuing()), *silent.getsockname(), seconds=0.2)
        async with asyncio.timeout(2.5):  # by itself the dialer gives each way 3 s
            with pytest.raises(LinkClosed, match=r"within 0\.2 s"):
                await source(3, placed)
