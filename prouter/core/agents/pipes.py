"""Where a link's pipes come from: dialed back by the agent with our tickets, or dialed by us with the agent's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from prouter.core.agents.link import AgentLink
from prouter.errors import LinkClosed, ProuterError, RemoteProtocolError
from prouter.pipe.asking import Place
from prouter.pipe.dialing import PipeDialer
from prouter.pipe.tickets import TicketBook


class Batch:
    """Pipes that one call asked for and that arrive at the agent endpoint; each is placed as it arrives."""

    def __init__(self, count: int, place: Place) -> None:
        self.arrived = False
        self.complete = asyncio.Event()
        self.over = False
        """Nobody waits for more of them: their tickets open nothing."""
        self._place = place
        self._missing = count

    def accept(self, transport: asyncio.Transport, leftover: bytes) -> None:
        """One arrived; reading is paused."""
        if self.over:
            transport.abort()
            return
        self.arrived = True
        self._missing -= 1
        if self._missing == 0:
            self.complete.set()
        self._place(transport, leftover)


class AskedBack:
    """PipeSource for an agent that dialed in: it dials again, with tickets that it gets over its link."""

    def __init__(self, link: AgentLink, book: TicketBook[Batch]) -> None:
        self._link = link
        self._book = book

    async def __call__(self, count: int, place: Place) -> None:
        batch = Batch(count, place)
        seconds = self._book.lifetime_seconds
        tickets = [self._book.issue(batch) for _ in range(count)]
        try:
            opened = await self._link.call("pipe_dial", tickets, timeout_seconds=seconds)
            if isinstance(opened, int):  # it has tried them all, and none is under way
                return
            async with asyncio.timeout(seconds):
                await batch.complete.wait()
        except TimeoutError:
            pass  # what has arrived by now is good
        except ProuterError as error:
            if not batch.arrived:
                raise LinkClosed(f"the agent could not be asked for pipes: {error.detail}") from error
        finally:
            batch.over = True
            self._book.forget(tickets)


class DialedOut:
    """PipeSource for an agent that we dialed: we dial again, with tickets of the agent's."""

    def __init__(self, link: AgentLink, host: str, port: int, seconds: float) -> None:
        self._link = link
        self._dialer = PipeDialer(host, port)
        self._seconds = seconds
        """From asking for tickets to the last pipe."""

    async def __call__(self, count: int, place: Place) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                await self._all(count, place)
        except TimeoutError:
            raise LinkClosed(f"they did not open within {self._seconds:g} s") from None  # those that did are placed

    async def _all(self, count: int, place: Place) -> None:
        tickets = await self._link.call("pipe_tickets", count, timeout_seconds=self._seconds)
        if not isinstance(tickets, Sequence) or not all(_is_ticket(ticket) for ticket in tickets):
            raise RemoteProtocolError("the agent sent tickets that are none")
        outcomes = await asyncio.gather(
            *(self._one(ticket, place) for ticket in list(tickets)[:count]), return_exceptions=True
        )
        failed = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if len(failed) == len(outcomes):
            raise LinkClosed(_why(failed))

    async def _one(self, ticket: str, place: Place) -> None:
        place(*await self._dialer.open(ticket))


def _why(failed: Sequence[BaseException]) -> str:
    details = [error.detail for error in failed if isinstance(error, ProuterError)]
    return details[0] if details else "the agent handed out no tickets"


def _is_ticket(value: object) -> bool:
    return isinstance(value, str) and len(value) == 32 and all(c in "0123456789abcdef" for c in value)
