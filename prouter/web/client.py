"""The client's connection as an exchange sees it: connection.py is one."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from typing import Any, Protocol

from prouter.model.http import RequestHead
from prouter.pipe.upstream import Upstream
from prouter.web.accounting import Accounted
from prouter.web.outcomes import Forward, Lasting


class Client(Protocol):
    """The connection, as an exchange sees it."""

    @property
    def body_complete(self) -> bool: ...

    @property
    def sent_trailers(self) -> bool:
        """Behind the request's body. aiohttp adds them to the headers of the next request of its connection (seen
        up to 3.14.5), which may be somebody else's: the connection to who got them is not used again."""

    def stays(self) -> bool:
        """Whether the connection may be kept, as far as the endpoint is concerned."""

    def may_keep_alive(self, head: RequestHead) -> bool: ...

    def write(self, data: bytes) -> None: ...

    def end_by_close(self) -> None: ...

    def pause_body(self, reason: str) -> None: ...

    def resume_body(self, reason: str) -> None: ...

    def become_tunnel(self, before: Accounted, upstream: Upstream, *, endless: bool, early: bytes) -> None:
        """The answer was a 101: what comes is opaque from now on (tunnel.py). `early` came with it, and is written."""

    def give_away(self) -> tuple[asyncio.Transport, bytes]: ...

    def exchange_over(self, *, keep_alive: bool, cut: bool) -> None: ...

    def cut(self) -> None: ...

    def learn(self, head: RequestHead, request: bytes, request_id: str, lasting: Lasting, outcome: Forward) -> None:
        """What was decided about this request holds for those like it."""

    def go_on(self, work: Coroutine[Any, Any, None], context: Context) -> asyncio.Task[None]:
        """The rest of some work that has to wait, as a task that ends with the endpoint."""

    def look_again(self, seconds: float) -> None:
        """Call `look` in so many seconds, whatever was asked for before."""
