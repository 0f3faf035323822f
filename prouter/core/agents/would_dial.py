"""Agents are chosen and nothing may be dialed: in dry runs, and in looks at the queue, in which all wait for each.

Belongs here: how that is said to whoever would dial, what it raises then, and what a dry run comes to. Does not:
dialing (dialer.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from prouter.errors import InvalidRequest, ProuterError
from prouter.model.telling import refusal
from prouter.model.trail import Trail, recorded

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


async def dry_run(trail: Trail, choose: Callable[[], Awaitable[str]]) -> dict[str, Any]:
    """What a choice of an agent would come to, as POST /jobs/explain shows it. Raises InvalidRequest."""
    with recorded(trail):
        trail.dry = True
        try:
            trail.chosen = await choose()
        except InvalidRequest:
            raise
        except WouldDial:
            pass
        except ProuterError as error:
            trail.refused = refusal(error)
        explained = trail.shown()
        trail.close()
    return explained
