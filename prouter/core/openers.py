"""How a relay gets a pipe: from the agent's newest link at that moment, a kept one where it may have that.

Belongs here: which link, for how long one is waited for, and how long a kept pipe may have been idle. Does not: pools
(pipe/pool.py), how long an agent may be away (agents/returning.py), what holds of all that for later requests
(alike.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from prouter.core.agents.directory import AgentDirectory
from prouter.core.agents.link import AgentLink
from prouter.core.agents.returning import Returning
from prouter.errors import Unavailable
from prouter.http1.framing import NO_BODY, request_framing
from prouter.model.http import RequestHead
from prouter.model.ids import AgentUid
from prouter.pipe.bind import AgentBinding, Binding, JobBinding, job_line
from prouter.pipe.upstream import UpstreamPipe
from prouter.web.again import REPEATABLE

KEPT_IDLE_SECONDS = 60.0
UNREPEATABLE_IDLE_SECONDS = 1.0
"""A kept pipe that was idle for longer is not used for a request that could not be sent again (pipe-v1.md 4)."""

Opener = Callable[[bool], Awaitable[UpstreamPipe]]
"""Opens a pipe; True asks for a fresh one, never used before. Raises ProuterError."""


class Openers:
    """Of one router."""

    def __init__(self, directory: AgentDirectory, returning: Returning) -> None:
        self._directory = directory
        self._returning = returning

    def opener(self, agent: str, binding: Binding, head: RequestHead, *, waits: bool = False) -> Opener:
        """For a request with this head. `waits`: for a link, too."""
        young = young_seconds(head)
        idle = KEPT_IDLE_SECONDS if young is None else young

        def kept() -> UpstreamPipe | None:
            """One that is there just now, as most requests find it: what the long way would take first."""
            entry = self._directory.known(AgentUid(agent))
            if entry is None or entry.link is None:
                return None
            return entry.link.pool.take_kept(_line(binding, entry.link), max_idle_seconds=idle)

        async def take(fresh: bool) -> UpstreamPipe:
            if not fresh and (pipe := kept()) is not None:
                return pipe
            patience = self._returning.patience() if waits else None
            while True:
                link = None
                try:
                    link = self._directory.connected(agent)
                    return await link.pool.take(_line(binding, link), max_idle_seconds=-1.0 if fresh else idle)
                except Unavailable as error:
                    if patience is None or not self._directory.comes_back(agent, link):
                        raise
                    if not self._directory.has_newer(agent, link):
                        await patience.until_news(error)

        return take


def young_seconds(head: RequestHead) -> float | None:
    """For how long a kept pipe may have been idle: what is not sent once more must not meet one that was just closed.
    None: for as long as it is kept."""
    repeatable = head.method in REPEATABLE and request_framing(head) is NO_BODY
    return None if repeatable else UNREPEATABLE_IDLE_SECONDS


def _line(binding: Binding, link: AgentLink) -> bytes:
    """What binds a pipe of that link; the number in `binding` counts for nothing."""
    if isinstance(binding, JobBinding):
        return job_line(binding.job, binding.port, link.hello.link)
    return AgentBinding(link.hello.link).line()
