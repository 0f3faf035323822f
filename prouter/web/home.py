"""What an endpoint (acceptor.py) and its clients' connections (connection.py, tunnel.py) know of each other."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from typing import TYPE_CHECKING, Any, Protocol

from prouter.model.traffic import Traffic
from prouter.web.again import Alike
from prouter.web.limits import WebLimits
from prouter.web.outcomes import Dispatcher

if TYPE_CHECKING:
    from prouter.web.connection import ClientConnection
    from prouter.web.tunnel import Tunnel


class Connected(Protocol):
    """A client's end, as the acceptor sees it."""

    late_at: float
    """When `overdue` is to be called, by the loop's clock."""

    def overdue(self) -> None: ...

    def drain(self) -> bool:
        """The endpoint ends, and waits for this one if it says so: an answer goes on, and is the last one."""

    def go_away(self) -> bool:
        """Tunnels had their time: whether it is one, and goes."""

    def hang_up(self) -> None:
        """Whatever still comes."""

    def abort(self) -> None: ...


class ConnectionHome(Protocol):
    """The acceptor."""

    limits: WebLimits
    dispatcher: Dispatcher
    traffic: Traffic
    alike: Alike
    draining: bool

    def admit(self, connection: ClientConnection, descriptor: int) -> bool:
        """Whether there is room for one more."""

    def turn_away(self, connection: ClientConnection) -> None:
        """One that was not admitted is told why, for as long as there are not too many of these."""

    def go_on(self, work: Coroutine[Any, Any, None], context: Context) -> asyncio.Task[None]:
        """Run what is left of an exchange's work as a task of the acceptor."""

    def replaced(self, connection: ClientConnection, tunnel: Tunnel) -> None:
        """From now on that is the client's end."""

    def lost(self, connection: Connected) -> None: ...
