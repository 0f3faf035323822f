"""Exceptions that nobody expected: told, where they are caught and logged, to whoever listens in this context.

Belongs here: the one thing that the boundaries (hook calls, routes, RPC methods, background tasks) share. Does not: who
is told (`Hooks.hear_exceptions`), what is logged. Router and agent may live in one process, each with a listener that
everything begun in its context has; where nobody listens nothing is built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Hear = Callable[[BaseException, str], None]
"""(error, what it was about); neither blocks nor raises."""
listener: ContextVar[Hear | None] = ContextVar("unexpected", default=None)


def tell(error: BaseException, about: str) -> None:
    """From where it was caught and logged; `about` says for people where that is: "GET /jobs", a task's name."""
    hear = listener.get()
    if hear is not None:
        hear(error, about)


@contextmanager
def in_silence() -> Iterator[None]:
    """What goes wrong here, and in what is begun here, is not told: it is the listener's own."""
    token = listener.set(None)
    try:
        yield
    finally:
        listener.reset(token)
