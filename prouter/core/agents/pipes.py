"""Where a link's pipes come from: dialed back by the agent with our tickets, or dialed by us with the agent's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from prouter.core.agents.link import AgentLink
from prouter.errors import LinkClosed, ProuterError, RemoteProtocolError
from prouter.pipe.opening import open_pipe
from prouter.pipe.pool import Opened
from prouter.pipe.tickets import LIFETIME_SECONDS, TicketBook

MAX_AT_ONCE = 64
"""Pipes asked for in one call."""


class Batch:
    """Pipes that one call asked for and that arrive at the agent endpoint."""

    def __init__(self, count: int) -> None:
        self.arrived: list[Opened] = []
        self.complete = asyncio.Event()
        self._missing = count
        self._over = False

    def accept(self, transport: asyncio.Transport, leftover: bytes) -> None:
        """One arrived; reading is paused."""
        if self._over:
            transport.abort()
            return
        self.arrived.append((transport, leftover))
        self._missing -= 1
        if self._missing == 0:
            self.complete.set()

    def take(self) -> list[Opened]:
        self._over = True
        arrived, self.arrived = self.arrived, []
        return arrived


class AskedBack:
    """PipeSource for an agent that dialed in: it dials again, with tickets that it gets over its link."""

    def __init__(self, link: AgentLink, book: TicketBook[Batch]) -> None:
        self._link = link
        self._book = book

    async def __call__(self, count: int) -> Sequence[Opened]:
        count = min(count, MAX_AT_ONCE)
        batch = Batch(count)
        tickets = [self._book.issue(batch) for _ in range(count)]
        try:
            await self._link.call("pipe_dial", tickets, timeout_seconds=LIFETIME_SECONDS)
            async with asyncio.timeout(LIFETIME_SECONDS):
                await batch.complete.wait()
        except TimeoutError:
            pass  # what has arrived by now is good
        except ProuterError as error:
            if not batch.arrived:
                raise LinkClosed(f"the agent could not be asked for pipes: {error.detail}") from error
        except BaseException:
            for transport, _ in batch.take():
                transport.abort()
            raise
        return batch.take()


class DialedOut:
    """PipeSource for an agent that we dialed: we dial again, with tickets of the agent's."""

    def __init__(self, link: AgentLink, host: str, port: int) -> None:
        self._link = link
        self._host = host
        self._port = port

    async def __call__(self, count: int) -> Sequence[Opened]:
        count = min(count, MAX_AT_ONCE)
        tickets = await self._link.call("pipe_tickets", count, timeout_seconds=LIFETIME_SECONDS)
        if not isinstance(tickets, Sequence) or not all(_is_ticket(ticket) for ticket in tickets):
            raise RemoteProtocolError("the agent sent tickets that are none")
        opened = await asyncio.gather(
            *(open_pipe(self._host, self._port, ticket) for ticket in list(tickets)[:count]), return_exceptions=True
        )
        good = [pipe for pipe in opened if not isinstance(pipe, BaseException)]
        if not good:
            raise LinkClosed(f"no pipe could be opened to {self._host}:{self._port}")
        return good


def _is_ticket(value: object) -> bool:
    return isinstance(value, str) and len(value) == 32 and all(c in "0123456789abcdef" for c in value)
