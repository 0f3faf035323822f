"""Authenticators whose credentials are good only once: their contract asks for fresh ones."""

from __future__ import annotations

from itertools import count

import pytest

from prouter import hookspecs, implements
from prouter.model.access import Guards, Peer, Principal, Refusal
from prouter.model.http import RequestHead
from prouter.testing import ContractBroken, assert_contract
from prouter.testing.contracts import samples


class Once:
    """Takes each ticket once."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    @implements(hookspecs.prouter_guards)
    def guards(self) -> Guards:
        return Guards(requests=True)

    @implements(hookspecs.prouter_authenticate_request)
    def prouter_authenticate_request(self, head: RequestHead, peer: Peer) -> Principal | Refusal | None:
        ticket = head.get("x-ticket")
        if ticket is None:
            return None
        if ticket in self._seen or not ticket.startswith("ticket-") or not ticket.endswith("-end"):
            return Refusal("this is no ticket, or it was used")
        if ticket.count("-") != 2:
            return Refusal("this is no ticket")
        self._seen.add(ticket)
        return Principal("lab", "once", used_headers=frozenset({"x-ticket"}))


async def test_a_function_makes_them() -> None:
    numbers = count()
    await assert_contract(
        Once(), "authenticator", right=[lambda: samples.a_head(x_ticket=f"ticket-{next(numbers)}-end")]
    )


async def test_a_head_says_that_a_function_may_be_needed() -> None:
    with pytest.raises(ContractBroken, match="if a head is good only once, name a function that makes one"):
        await assert_contract(Once(), "authenticator", right=[samples.a_head(x_ticket="ticket-1-end")])
