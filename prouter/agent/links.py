"""The agent's control links: one to each router, a newer one replaces an older one, each with its pipes.

Belongs here: a link's life from the handshake to the end, its number and its tickets. Does not: getting a link
(dialing.py, doors.py), what routers can call (methods.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

from prouter.agent.identity import Self
from prouter.agent.jobs.orphans import Orphans
from prouter.agent.turns import Turns
from prouter.errors import Incompatible, LinkClosed, LinkError, ProuterError
from prouter.model.agents import Hello
from prouter.model.jobs import Sender
from prouter.model.skew import why_apart
from prouter.pipe.agent_end import AgentPipe, PipeTimes, Targets
from prouter.pipe.bind import BindRefused
from prouter.pipe.dialing import PipeDialer
from prouter.pipe.outlived import Carried, Outlived
from prouter.pipe.tickets import LIFETIME_SECONDS, TicketBook
from prouter.pipe.websocket import over
from prouter.pluginkit import context
from prouter.pluginkit.descriptors import descriptors
from prouter.pluginkit.seldom import SeldomLog
from prouter.pluginkit.tasks import TaskOwner
from prouter.rpc.connection import Link
from prouter.rpc.machine import IdCounter

log = logging.getLogger(__name__)

MAX_TICKETS = 64
"""In one call; a router asks for no more."""
KEPT_BACK = 0.25
"""Of the process's descriptors, what pipes leave to links, guardians and files."""
MOST_KEPT_BACK = 256
"""Descriptors, however many there are."""


def kept_back() -> int:
    """Descriptors that pipes leave to others."""
    return min(MOST_KEPT_BACK, int(descriptors() * KEPT_BACK))


@dataclass(frozen=True, slots=True)
class Shared:
    """What all links share."""

    who: Self
    ids: IdCounter
    """One for all links, as the original's."""
    tasks: TaskOwner
    targets: Targets
    times: PipeTimes
    max_pipes: int
    orphans: Orphans
    tickets: TicketBook[RouterLink] = field(default_factory=TicketBook)


class RouterLink:
    """One control link. `direction` is ours: CLIENT when we dialed, SERVER when the router did."""

    def __init__(self, number: int, direction: str, address: str, shared: Shared, links: Links) -> None:
        self.number = number
        self.direction = direction
        self.address = address
        self.router = Hello("", "")
        self.rpc: Link | None = None
        self._shared = shared
        self._links = links
        self._dialer: PipeDialer | None = None
        self.pipes_over: str | None = None
        """What its newest pipe is (pipe.websocket.over)."""
        self.at_end: Callable[[], Coroutine[Any, Any, None]] | None = None
        """What is to be done once it has ended."""

    def sender(self) -> Sender:
        """Who jobs made over this link are from."""
        return Sender(self.direction, self.router.uid, self.router.name)

    @property
    def up(self) -> bool:
        return self.rpc is not None and not self.rpc.closed

    def dials_to(self, host: str, port: int) -> None:
        """Where pipes are dialed: to the address that the link was."""
        self._dialer = PipeDialer(host, port)

    async def dial_pipes(self, tickets: Sequence[str]) -> int:
        """How many are open, once each was tried; nobody needs to wait for that. Raises LinkError on a link that the
        router dialed."""
        if self._dialer is None:
            raise LinkError("this agent does not dial pipes over a link that it did not dial")
        tried = []
        for ticket in tickets[:MAX_TICKETS]:
            opened: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            tried.append(opened)
            self._shared.tasks.start(
                f"pipe of link {self.number}", self._dial_pipe(self._dialer, str(ticket), opened.set_result)
            )
        if tried:
            await asyncio.wait(tried)
        return sum(opened.result() for opened in tried)

    async def _dial_pipe(self, dialer: PipeDialer, ticket: str, tell: Callable[[bool], None]) -> None:
        opened = False
        try:
            async with asyncio.timeout(LIFETIME_SECONDS), self._links.turns_to_dial:
                transport, leftover = await dialer.open(ticket)
                self.take_pipe(transport, leftover)
            opened = True
        except TimeoutError:
            self._links.no_pipe.warn("no pipe for link %s: not within %g s", self.number, LIFETIME_SECONDS)
        except LinkError as error:
            self._links.no_pipe.warn("no pipe for link %s: %s", self.number, error.detail)
        finally:
            tell(opened)

    def issue_tickets(self, count: int) -> list[str]:
        """For a router that dialed us."""
        return [self._shared.tickets.issue(self) for _ in range(max(0, min(count, MAX_TICKETS)))]

    def take_pipe(self, transport: asyncio.Transport, leftover: bytes) -> None:
        """A pipe is open."""
        shared = self._shared
        self.pipes_over = over(transport)
        tasks, over_it = shared.tasks, self._links.pipe_over
        pipe = AgentPipe(transport, self.number, shared.targets, tasks, shared.times, over_it)
        if not self.up:
            pipe.close()
        elif len(self._links.pipes) + shared.targets.served >= shared.max_pipes:
            pipe.refuse(BindRefused(503, f"the agent has {shared.max_pipes} pipes, which is its limit"))
        elif not self._links.has_room(transport):
            pipe.refuse(BindRefused(503, "the agent has no more descriptors for pipes"))
        else:
            self._links.pipes[pipe] = self
            pipe.begin(leftover)  # at the end: it may be over at once, as far as we are concerned


class Links:
    """All links of the agent."""

    def __init__(self, shared: Shared, takeover_seconds: float) -> None:
        self.shared = shared
        self.pipes: dict[AgentPipe, RouterLink] = {}
        """Every pipe that is unbound or bound to a job; bound ones outlive their link."""
        self._takeover_seconds = takeover_seconds
        self._numbers = IdCounter()
        self._by_router: dict[str, RouterLink] = {}
        self._all: set[RouterLink] = set()
        self._registering: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """One for each router: who is asked whether its old link lives holds nobody else up."""
        self.no_pipe = SeldomLog(log)
        self._watched: list[asyncio.Transport] = []
        """Pipes to the agent's service that are looked after since some link ended: whose they are is not known."""
        self.turns_to_dial = Turns(lambda: max(1, kept_back() // 4))
        """What is dialed takes descriptors of those kept back until its number is looked at: a quarter at most."""
        self.closed = False
        """The agent is ending."""

    def __iter__(self) -> Iterator[RouterLink]:
        return iter(list(self._by_router.values()))

    def has_room(self, pipe: asyncio.Transport) -> bool:
        """Whether its descriptor, the lowest that was free, leaves enough for links, guardians and records."""
        number: int = pipe.get_extra_info("socket").fileno()
        most = descriptors() - kept_back()
        return 2 * number < most or number + sum(not there.joined for there in self.pipes) < most

    def new(self, direction: str, address: str) -> RouterLink:
        """A link that is about to shake hands."""
        return RouterLink(self._numbers.take(), direction, address, self.shared, self)

    def pipe_over(self, pipe: AgentPipe) -> None:
        """A pipe closed, or was given to the agent's service."""
        self.pipes.pop(pipe, None)

    async def serve(self, link: RouterLink, rpc: Link, up: Callable[[], None] | None = None) -> None:
        """Until the link ends. Raises LinkError when it may not replace the one that its router has."""
        link.rpc, link.router = rpc, Hello.from_wire(rpc.peer)
        context.request_id.set("")  # what the link carries is not about the request that began it
        try:
            self.check_skew(link.router)
        except Incompatible:
            await rpc.close()
            raise
        self._all.add(link)
        failed: ProuterError | None = None
        try:
            async with asyncio.TaskGroup() as group:
                running = group.create_task(rpc.run(), name=f"link {link.number}")
                try:
                    await self._register(link)
                    self.shared.orphans.linked()
                    try:
                        if up is not None:
                            up()
                        await asyncio.wait((running,))
                    finally:
                        self.shared.orphans.unlinked()
                finally:
                    running.cancel()
        except* ProuterError as errors:
            failed = next(error for error in errors.exceptions if isinstance(error, ProuterError))
        finally:
            self._unregister(link)
            if link.at_end is not None:
                self.shared.tasks.start(f"after link {link.number}", link.at_end())
            await rpc.close()  # a refusal may come before the link has run, and only running it would close it
        if failed is not None:  # raised within except*, it would come as a group before Python 3.11.4
            raise failed from None
        raise LinkClosed(rpc.end_reason or "the link ended")

    def check_skew(self, router: Hello) -> None:
        """Raises Incompatible for a router of ours that is too old or too new."""
        apart = why_apart(self.shared.who.hello(0), router)
        if apart is not None:
            raise Incompatible(apart)

    async def while_replaced(self, link: RouterLink) -> None:
        """As long as its router is reached by another link: two would replace each other for ever."""
        while (other := self._by_router.get(link.router.uid)) not in (None, link):
            assert other is not None
            assert other.rpc is not None
            await other.rpc.wait_closed()
            await asyncio.sleep(0.05)

    def connections(self) -> list[Mapping[str, Any]]:
        """As the control API shows them; no tokens."""
        owners = list(self.pipes.values())
        return [
            {
                "uid": link.rpc.connection_id if link.rpc is not None else "",
                "mode": link.direction,
                "peer": {
                    "auth": {"uid": link.router.uid, "name": link.router.name},
                    "platform": dict(link.router.platform),
                    "properties": dict(link.router.properties),
                },
                "address": link.address,
                "pipes": {"open": owners.count(link), "over": link.pipes_over},
            }
            for link in self
        ]

    async def close(self) -> None:
        """The agent ends: all links close in order, pipes are cut."""
        self.closed = True
        links = [link.rpc for link in self._all if link.rpc is not None]
        await asyncio.gather(*(rpc.close() for rpc in links), return_exceptions=True)
        for pipe in list(self.pipes):
            pipe.abort()

    async def _register(self, link: RouterLink) -> None:
        async with self._registering.setdefault(link.router.uid, asyncio.Lock()):
            old = self._by_router.get(link.router.uid)
            if self.closed:
                raise LinkClosed("the agent is ending")
            if old is not None and old.router.boot != link.router.boot and await self._answers(old):
                raise LinkClosed(f"router {link.router.uid!r} is connected already from {old.address}, and alive")
            self._by_router[link.router.uid] = link
        log.info("linked to router %s at %s (link %s)", link.router.uid, link.address, link.number)
        if old is not None and old.rpc is not None:
            await old.rpc.close()

    async def _answers(self, link: RouterLink) -> bool:
        """Whether the router at the other end is alive: even "no such method" is an answer."""
        if link.rpc is None or link.rpc.closed:
            return False
        try:
            await link.rpc.call("prouter_ping", timeout_seconds=self._takeover_seconds)
        except LinkClosed:
            return False
        except ProuterError as error:
            return error.code != "timeout"
        return True

    def _unregister(self, link: RouterLink) -> None:
        for pipe in [pipe for pipe, owner in self.pipes.items() if owner is link and not pipe.bound]:
            pipe.close()
        carried = [pipe.carried() for pipe, owner in self.pipes.items() if owner is link]
        self._watched = [there for there in self._watched if not there.is_closing()]
        serving = [there for there in self.shared.targets.serving() if there not in self._watched]
        self._watched += serving
        Outlived(
            [*carried, *map(Carried, serving)],
            self.shared.times.silent_seconds,
            lambda: True,
            f"router {link.router.uid}",
            silent=False,
        )
        if self._by_router.get(link.router.uid) is link:
            del self._by_router[link.router.uid]
            log.info("link %s to router %s ended", link.number, link.router.uid)
        self._all.discard(link)
