"""What a router or an agent under test is for a test, whether it is a process or lives in the test's own loop."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from prouter.client import Client, Job


class HasUid(Protocol):
    """Any of the kit's agents, fake ones too."""

    @property
    def uid(self) -> str: ...


class AnyAgent(HasUid, Protocol):
    """An agent under test that runs jobs."""

    token: str
    """One that it accepts from routers."""

    @property
    def log(self) -> str:
        """All that it said until now."""

    def address(self, endpoint: str) -> tuple[str, int]:
        """Where "control" or "server" listens."""

    def sandbox(self, job: Job) -> Path:
        """The directory that `job` sees as its own."""


class AnyRouter(Protocol):
    """A router under test."""

    agent_token: str
    """One that it accepts from agents."""

    @property
    def uid(self) -> str: ...

    @property
    def log(self) -> str:
        """All that it said until now."""

    def address(self, endpoint: str) -> tuple[str, int]:
        """Where "control" or "server" listens."""

    def url(self, endpoint: str = "control") -> str: ...

    def client(self, token: str | None = None) -> Client:
        """Of its API; to be used with `async with`."""

    async def agent_is_there(self, agent: HasUid, *, seconds: float = 20.0, token: str | None = None) -> None:
        """Until the agent is connected; `token` is what a client needs here. Raises AssertionError."""
