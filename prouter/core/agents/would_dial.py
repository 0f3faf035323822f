"""Agents are chosen and nothing may be dialed: in dry runs, and in looks at the queue, in which all wait for each.

Belongs here: how that is said to whoever would dial, and what it raises then. Does not: dialing (dialer.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from prouter.errors import ProuterError

_only_linked: ContextVar[bool] = ContextVar("only_linked", default=False)


class WouldDial(ProuterError):
    """It came to the point at which an agent has to be dialed. Never leaves the core."""

    code = "would-dial"

    def __init__(self, address: str) -> None:
        super().__init__(f"{address} would be dialed")


@contextmanager
def only_linked() -> Iterator[None]:
    """In it, only agents that have a link can be had by their address; for others WouldDial is raised."""
    token = _only_linked.set(True)
    try:
        yield
    finally:
        _only_linked.reset(token)


def may_dial() -> bool:
    return not _only_linked.get()
