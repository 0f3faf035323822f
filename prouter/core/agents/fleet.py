"""A link's life in the router: handshake done, jobs learned, registered, watched until its end.

Called by the agent endpoint for agents that dial in, and by the dialer for those that we dial.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from prouter.core.agents.directory import AgentDirectory, AgentEntry
from prouter.core.agents.link import AgentLink
from prouter.core.agents.originals.gateway import Gateway
from prouter.core.agents.originals.jobs import OriginalJobs
from prouter.core.agents.originals.spill import SpillLimits
from prouter.core.agents.pipes import Batch
from prouter.core.jobs.calls import OurJobs
from prouter.core.settings import RouterSettings
from prouter.errors import Incompatible, ProuterError, RemoteProtocolError
from prouter.model.agents import PRODUCT_CAPABILITIES, Drain, Hello, Identity, LoopDelay, this_platform
from prouter.model.ids import AgentUid, new_uid
from prouter.model.jobs import JobRecord
from prouter.model.skew import NEEDED, why_apart
from prouter.pipe.asking import PipeSource
from prouter.pipe.pool import PipePool, PoolLimits
from prouter.pipe.tickets import TicketBook
from prouter.pipe.total import PipeTotal
from prouter.pluginkit import context
from prouter.pluginkit.tasks import TaskOwner
from prouter.rpc.connection import Link

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Fleet:
    """What every link of this router shares."""

    identity: Identity
    version: str
    settings: RouterSettings
    directory: AgentDirectory
    tickets: TicketBook[Batch]
    tasks: TaskOwner
    pool_limits: PoolLimits
    pipes: PipeTotal
    spill_limits: SpillLimits
    boot: str

    @classmethod
    def make(
        cls,
        identity: Identity,
        version: str,
        settings: RouterSettings,
        directory: AgentDirectory,
        tasks: TaskOwner,
        pool_limits: PoolLimits,
        spill_limits: SpillLimits,
    ) -> Fleet:
        tickets: TicketBook[Batch] = TicketBook(lifetime_seconds=pool_limits.ticket_seconds)
        total = PipeTotal(pool_limits.total)
        return cls(identity, version, settings, directory, tickets, tasks, pool_limits, total, spill_limits, new_uid())

    def hello(self, token: str = "") -> Hello:
        """What we say of ourselves in a handshake."""
        return Hello(
            uid=self.identity.uid,
            name=self.identity.name,
            token=token,
            platform=this_platform(),
            version=self.version,
            boot=self.boot,
            capabilities=frozenset(PRODUCT_CAPABILITIES),
            needs=NEEDED,
        )

    def check_skew(self, hello: Hello) -> None:
        """Raises Incompatible for an agent of ours that is too old or too new."""
        apart = why_apart(self.hello(), hello)
        if apart is not None:
            raise Incompatible(apart)

    async def serve(
        self,
        rpc: Link,
        mode: str,
        address: str,
        source: Callable[[AgentLink], PipeSource],
        registered: Callable[[AgentEntry], None] | None = None,
    ) -> None:
        """Until the link ends; `rpc` has done its handshake. Never raises for what the agent or the line did."""
        hello = Hello.from_wire(rpc.peer)
        context.request_id.set("")  # what the link carries is not about the request that began it
        context.agent_id.set(hello.uid)
        link = AgentLink(rpc, hello, mode, address, self.settings.call_seconds)
        link.mirrored_bytes = self.settings.mirrored_bytes
        gateway = self._equip(link, source)
        why = "the link ended"
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._run(rpc), name=f"link of {hello.uid}")
                await self._follow(link, registered)
        except* _Ended:
            pass
        except* ProuterError as errors:
            why = "; ".join(_details(errors))
            log.info("the link of agent %s ends: %s", link.name, why)
            if any(isinstance(error, RemoteProtocolError) for error in errors.exceptions):
                log.warning("agent %s broke the protocol: %s", link.name, why)
        finally:
            self.directory.unregister(link, link.cut_why or why)
            with contextlib.suppress(ProuterError):
                await link.close()
            if gateway is not None:
                await gateway.close()

    def _equip(self, link: AgentLink, source: Callable[[AgentLink], PipeSource]) -> Gateway | None:
        """Give the link what its agent speaks; an original's pipes end in our gateway, which the caller closes."""
        uid = AgentUid(link.hello.uid)
        if not link.hello.original:

            def is_back() -> bool:
                newer = self.directory.linked(uid)
                return newer is not None and newer.boot == link.hello.boot

            link.equip(PipePool(source(link), self.tasks, self.pool_limits, uid, self.pipes, is_back), OurJobs(link))
            return None
        gateway = Gateway(link, self.spill_limits)
        jobs = OriginalJobs(link, lambda: self.directory.entry(uid).mirror, self.tasks)
        unwarmed = replace(self.pool_limits, warm=0, warm_most=0)
        link.equip(PipePool(gateway, self.tasks, unwarmed, uid, self.pipes), jobs)
        return gateway

    async def _run(self, rpc: Link) -> None:
        await rpc.run()
        raise _Ended

    async def _follow(self, link: AgentLink, registered: Callable[[AgentEntry], None] | None) -> None:
        if link.hello.original:
            # One that dialed loses a call that comes in the same packet as the answer to its handshake.
            await link.rpc.round_trip(self.settings.call_seconds)
            entry = await self.directory.register(link, ())
            if registered is not None:
                registered(entry)
            await link.rpc.wait_closed()
            return
        known: AgentEntry | None = None
        async for news in link.watch():
            if isinstance(news, JobRecord):
                if known is not None and known.link is link:
                    known.mirror.apply(news)
                continue
            if isinstance(news, Drain):
                if known is not None and known.link is link:
                    known.note_drain(news)
                continue
            if isinstance(news, LoopDelay):
                if known is not None and known.link is link:
                    known.loop = news
                continue
            if isinstance(news, Mapping):
                if known is not None and known.link is link:
                    known.note_activity(news)
                continue
            known = await self.directory.register(link, news)
            if registered is not None:
                registered(known)


class _Ended(Exception):
    """The link's reader is done; ends the task group."""


def _details(errors: BaseExceptionGroup[ProuterError]) -> list[str]:
    found: list[str] = []
    for error in errors.exceptions:
        found.extend(_details(error) if isinstance(error, BaseExceptionGroup) else [error.detail])
    return found
