"""What the router does now and then: forget agents that are gone for good, and keep for its next run who it knows."""

from __future__ import annotations

import asyncio
import contextlib

from prouter.core.agents.dialer import Dialer
from prouter.core.agents.directory import AgentDirectory
from prouter.core.agents.memory import AgentMemory, DialedAgent

PERIOD_SECONDS = 1.0


class Housekeeping:
    """Writes the memory when who is known changed, at once; what was forgotten within the period."""

    def __init__(self, memory: AgentMemory, directory: AgentDirectory) -> None:
        self._memory = memory
        self._directory = directory
        self._dialer: Dialer | None = None
        self._changed = asyncio.Event()
        directory.on_registered = self.changed
        self._written: tuple[list[str], list[DialedAgent]] | None = None

    def watch(self, dialer: Dialer) -> None:
        self._dialer = dialer

    def changed(self) -> None:
        """An agent was dialed or dropped, or has a new link."""
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled; what is known then is written once more."""
        writing: asyncio.Future[bool] | None = None
        try:
            while True:
                self._changed.clear()  # first: of who comes while we write
                self._directory.forget_lost()
                known = self._known()
                if known != self._written:
                    writing = asyncio.get_running_loop().run_in_executor(None, self._memory.write, *known)
                    if await asyncio.shield(writing):
                        self._written = known
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PERIOD_SECONDS):
                        await self._changed.wait()
        finally:
            if writing is not None:  # it has one writer at a time
                await asyncio.wait((writing,))
            self._memory.write(*self._known())

    def _known(self) -> tuple[list[str], list[DialedAgent]]:
        return sorted(self._directory.uids()), self._dialer.dialed() if self._dialer is not None else []
