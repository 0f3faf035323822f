"""Dialing routers: one task for each address, again and again, with exponential back-off and jitter."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import replace

from prouter.agent.links import Links
from prouter.agent.methods import JobMethods
from prouter.agent.settings import Address, AgentSettings, ClientSettings
from prouter.errors import LinkClosed, ProuterError
from prouter.rpc import websocket
from prouter.rpc.connection import Link

log = logging.getLogger(__name__)

DIAL_SECONDS = 10.0
"""From the first packet to the websocket's handshake."""
FIRST_PAUSE_SECONDS = 0.1


class Dialing:
    """Keeps a link to one router's address."""

    def __init__(
        self,
        address: Address,
        settings: ClientSettings,
        links: Links,
        methods: JobMethods,
        *,
        ping_interval_seconds: float,
        handshake_seconds: float,
        gave_up: Callable[[], None],
    ) -> None:
        self._address = address
        self._settings = settings
        self._links = links
        self._methods = methods
        self._ping_interval_seconds = ping_interval_seconds
        self._handshake_seconds = handshake_seconds
        self._gave_up = gave_up
        self._came_up = False
        self._pause_seconds = self._first_pause_seconds = min(FIRST_PAUSE_SECONDS, settings.reconnect_seconds)

    def take_tokens(self, settings: AgentSettings) -> None:
        self._settings = replace(self._settings, token=settings.client.token)

    async def run(self) -> None:
        """Until the agent ends; with client.exit_on_fail until the first failure, which ends the agent.

        A cancellation alone is not enough: one that meets a TaskGroup that is ending already is lost in it.
        """
        told = ""
        loop = asyncio.get_running_loop()
        while True:
            begun, self._came_up = loop.time(), False
            try:
                await self._one_link()
            except ProuterError as error:
                if self._links.closed:
                    return
                if error.detail != told:
                    log.warning("no link to %s: %s", self._address, error.detail)
                told = error.detail
            if self._settings.exit_on_fail:
                log.error("ending, as client.exit_on_fail says")
                self._gave_up()
                return
            pause = self._pause_seconds * random.uniform(0.5, 1.0)  # noqa: S311 -- jitter, no secret
            if not self._came_up:  # the time in which nobody answered was a pause already
                pause = max(pause - (loop.time() - begun), self._first_pause_seconds)
            await asyncio.sleep(pause)
            self._pause_seconds = min(self._pause_seconds * 2, self._settings.reconnect_seconds)

    async def _one_link(self) -> None:
        """From dialing to the link's end, which is always an error."""
        host, port = self._address.host, self._address.port
        try:
            async with asyncio.timeout(DIAL_SECONDS):
                channel = await websocket.dial(host, port, ping_interval_seconds=self._ping_interval_seconds)
        except TimeoutError:
            raise LinkClosed(f"{self._address} does not answer") from None
        link = self._links.new("CLIENT", str(self._address))
        link.dials_to(host, port)
        who = self._links.shared.who
        rpc = await Link.connect(
            channel,
            user_data=who.hello(link.number, self._settings.token.reveal()).to_wire(),
            ids=self._links.shared.ids,
            methods=self._methods.of(link),
            handshake_timeout_seconds=self._handshake_seconds,
        )
        try:
            await self._links.serve(link, rpc, self._is_up)
        except ProuterError:
            await self._links.while_replaced(link)
            raise

    def _is_up(self) -> None:
        self._came_up = True
        self._pause_seconds = self._first_pause_seconds
