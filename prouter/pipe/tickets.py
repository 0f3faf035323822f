"""Tickets: who may open a pipe. 128 random bits, good for one use and a short time, bound to what the issuer says."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from typing import Generic, TypeVar

LIFETIME_SECONDS = 10.0
MAX_OUTSTANDING = 4096

Scope = TypeVar("Scope")


class TicketBook(Generic[Scope]):
    """The issuer's side. `Scope` is what a ticket is bound to (an agent's link); it comes back when it is redeemed.

    What is always true: at most MAX_OUTSTANDING tickets are kept, in the order in which they were issued, and only
    their digests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, lifetime_seconds: float = LIFETIME_SECONDS) -> None:
        self._clock = clock
        self.lifetime_seconds = lifetime_seconds
        self._outstanding: dict[bytes, tuple[float, Scope]] = {}

    def issue(self, scope: Scope) -> str:
        """A new ticket, 32 hex digits. The oldest is forgotten when too many are outstanding."""
        now = self._clock()
        self._forget_late(now)
        while len(self._outstanding) >= MAX_OUTSTANDING:
            del self._outstanding[next(iter(self._outstanding))]
        ticket = secrets.token_hex(16)
        self._outstanding[_digest(ticket)] = (now + self.lifetime_seconds, scope)
        return ticket

    def redeem(self, ticket: str) -> Scope | None:
        """What the ticket is bound to; None for one that is unknown, used or late. Looked up by digest: time tells
        nothing of the ticket."""
        self._forget_late(self._clock())
        found = self._outstanding.pop(_digest(ticket), None)
        return found[1] if found else None

    def _forget_late(self, now: float) -> None:
        late = []
        for digest, (until, _) in self._outstanding.items():
            if until > now:
                break
            late.append(digest)
        for digest in late:
            del self._outstanding[digest]


def _digest(ticket: str) -> bytes:
    return hashlib.sha256(ticket.encode("utf-8", "replace")).digest()
