"""Tickets: who may open a pipe. 128 random bits, good for one use and a short time, bound to what the issuer says."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

LIFETIME_SECONDS = 10.0
MAX_OUTSTANDING = 4096
"""Tickets of one scope."""

Scope = TypeVar("Scope", bound=Hashable)


class TicketBook(Generic[Scope]):
    """The issuer's side. `Scope` is what a ticket is bound to (an agent's link); it comes back when it is redeemed.

    What is always true: at most MAX_OUTSTANDING tickets of a scope are kept, however many another one asks for, in the
    order in which they were issued, and only their digests. How many scopes there are is the issuer's to bound.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, lifetime_seconds: float = LIFETIME_SECONDS) -> None:
        self._clock = clock
        self.lifetime_seconds = lifetime_seconds
        self._outstanding: dict[bytes, tuple[float, Scope]] = {}
        self._of_scope: dict[Scope, dict[bytes, None]] = {}

    def issue(self, scope: Scope) -> str:
        """A new ticket, 32 hex digits. The scope's oldest is forgotten when too many are outstanding."""
        now = self._clock()
        self._forget_late(now)
        ticket = secrets.token_hex(16)
        digest = _digest(ticket)
        self._outstanding[digest] = (now + self.lifetime_seconds, scope)
        of_scope = self._of_scope.setdefault(scope, {})
        of_scope[digest] = None
        if len(of_scope) > MAX_OUTSTANDING:
            self._take(next(iter(of_scope)))
        return ticket

    def redeem(self, ticket: str) -> Scope | None:
        """What the ticket is bound to; None for one that is unknown, used or late. Looked up by digest: time tells
        nothing of the ticket."""
        self._forget_late(self._clock())
        return self._take(_digest(ticket))

    def forget(self, tickets: Iterable[str]) -> None:
        """These open nothing any more, whether they were used or not."""
        for ticket in tickets:
            self._take(_digest(ticket))

    def _take(self, digest: bytes) -> Scope | None:
        found = self._outstanding.pop(digest, None)
        if found is None:
            return None
        scope = found[1]
        of_scope = self._of_scope[scope]
        del of_scope[digest]
        if not of_scope:
            del self._of_scope[scope]
        return scope

    def _forget_late(self, now: float) -> None:
        late = []
        for digest, (until, _) in self._outstanding.items():
            if until > now:
                break
            late.append(digest)
        for digest in late:
            self._take(digest)


def _digest(ticket: str) -> bytes:
    return hashlib.sha256(ticket.encode("utf-8", "replace")).digest()
