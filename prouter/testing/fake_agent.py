"""An agent that speaks the protocol of a link and runs nothing: a hundred of them cost less than one process.

For what a plugin decides about agents (selectors, authenticators, filters), and for what no real agent does.
Belongs here: the agent's side of a link. Does not: lines that break (network.py).
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Self

from prouter.errors import JobNotFound, LinkClosed, NoAgent
from prouter.model import job_machine
from prouter.model.agents import PRODUCT_CAPABILITIES, Drain, Hello
from prouter.model.ids import JobUid, new_uid
from prouter.model.jobs import JobRecord, JobState, Port, Reason, Sender
from prouter.rpc import websocket
from prouter.rpc.calls import CallContext
from prouter.rpc.connection import Link
from prouter.rpc.messages import CallType
from prouter.rpc.methods import Methods
from prouter.testing.talking import AnyRouter

PING_SECONDS = 5.0
JOIN_SECONDS = 20.0
OFFERED = ("prouter_", "pipe_", "job_")
"""How the names of methods begin that routers call."""


@asynccontextmanager
async def linked(
    address: tuple[str, int], hello: Hello | Mapping[str, Any], methods: Methods | None = None
) -> AsyncIterator[Link]:
    """A link to the endpoint at `address`, running; `hello` is what is said in its handshake. Raises LinkError."""
    channel = await websocket.dial(*address, ping_interval_seconds=PING_SECONDS)
    said = hello.to_wire() if isinstance(hello, Hello) else hello
    rpc = await Link.connect(channel, user_data=said, methods=methods)
    running = asyncio.create_task(rpc.run())
    try:
        yield rpc
    finally:
        await rpc.close()
        await running


class FakeAgent:
    """Connected while it is used as an async context manager; entering it raises LinkError when it is refused.

    What routers call are methods of the calls' names (prouter_start, ...), to be replaced in a subclass. Jobs change
    their states as a real agent's would, and nothing runs: `jobs` are their records.
    """

    def __init__(
        self,
        router: AnyRouter | tuple[str, int],
        uid: str | None = None,
        *,
        name: str = "",
        token: str | None = None,
        properties: Mapping[str, str] | None = None,
        capacity: Mapping[str, int] | None = None,
        running: int = 0,
        waiting: int = 0,
        draining: bool = False,
        boot: str = "",
        link: int = 1,
        capabilities: Iterable[str] = PRODUCT_CAPABILITIES,
        methods: Mapping[str, Callable[..., Awaitable[Any]]] | None = None,
    ) -> None:
        """`router` may be an address. `running` and `waiting` are counts of jobs that it has from the beginning.

        `methods` are what a plugin offers there (`Agents.call`), by name: `async def answer(stream, *args)`.
        """
        self._router = router
        self._uid = uid or new_uid()
        at_hand = "" if isinstance(router, tuple) else router.agent_token
        self.hello = Hello(
            self.uid,
            name or self.uid,
            at_hand if token is None else token,
            properties=dict(properties or {}),
            version="1",
            boot=boot or new_uid(),
            link=link,
            capabilities=frozenset(capabilities),
            capacity=dict(capacity or {}),
            drain=Drain(draining, int(draining)),
        )
        self._offered = dict(methods or {})
        self.jobs: dict[JobUid, JobRecord] = {}
        self.called: list[str] = []
        """What the router called until now, by name."""
        self.watched = asyncio.Event()
        """The router has been told of all jobs, and will be told what changes."""
        self.rpc: Link | None = None
        self._watches: list[CallContext] = []
        self._cleanup = AsyncExitStack()
        for state, count in ((JobState.RUNNING, running), (JobState.NEW, waiting)):
            for _ in range(count):
                record = JobRecord(JobUid(new_uid()), "", Sender("CLIENT", "", ""), state, created_at=time.time())
                self.jobs[record.uid] = record

    async def __aenter__(self) -> Self:
        """Until the router knows it and its jobs."""
        router = self._router
        address = router if isinstance(router, tuple) else router.address("server")
        self.rpc = await self._cleanup.enter_async_context(linked(address, self.hello, self._methods()))
        try:
            await self._until_watched(self.rpc)
        except BaseException:
            await self._cleanup.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._cleanup.aclose()

    async def _until_watched(self, rpc: Link) -> None:
        waits = [asyncio.ensure_future(self.watched.wait()), asyncio.ensure_future(rpc.wait_closed())]
        try:
            await asyncio.wait(waits, timeout=JOIN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if not self.watched.is_set():
            raise LinkClosed(rpc.end_reason or "the router does not ask for jobs")

    @property
    def uid(self) -> str:
        return self._uid

    @property
    def connected(self) -> bool:
        return self.rpc is not None and not self.rpc.closed

    async def tell(self, record: JobRecord | Mapping[str, Any]) -> None:
        """A job is as `record` says: news for the router; a mapping goes as it is, whatever it says."""
        if isinstance(record, JobRecord):
            self.jobs[record.uid] = record
            if record.state is JobState.CLOSED:
                del self.jobs[record.uid]
        wire = record.to_wire() if isinstance(record, JobRecord) else dict(record)
        for watch in list(self._watches):
            await watch.send({"job": wire})

    async def ends(self, job: JobUid, exit_code: int = 0) -> None:
        """A job's program ends."""
        await self.tell(job_machine.ended(self._job(job), exit_code, Reason.EXITED, time.time()))

    # --- what routers call ---

    async def prouter_watch(self, context: CallContext) -> None:
        self._watches.append(context)
        try:
            await context.send({"jobs": [record.to_wire() for record in self.jobs.values()], "more": False})
            self.watched.set()
            await asyncio.Event().wait()
        finally:
            self._watches.remove(context)

    async def prouter_create(
        self,
        context: CallContext,
        uid: str | None,
        name: str,
        labels: Mapping[str, str],
        asked: str = "",
        resources: Mapping[str, int] | None = None,
        trail: str = "",
    ) -> Any:
        sender = Sender("CLIENT", "", "")
        job = JobUid(uid or new_uid())
        record = JobRecord(
            job, name, sender, labels=labels, created_at=time.time(), resources=resources or {}, asked=asked
        )
        return await self._changed(self.jobs.get(job) or record)

    async def prouter_start(self, context: CallContext, uid: str, request: Any, key: Any = None) -> Any:
        pending = job_machine.begin_start(self._job(uid), request.get("name"))
        return await self._run(pending, [str(port.get("name") or "http") for port in request.get("ports") or ()])

    async def prouter_restart(self, context: CallContext, uid: str, key: Any = None, begins: Any = True) -> Any:
        if not begins:
            raise NoAgent("a fake agent remembers no keys")
        return await self._run(job_machine.begin_restart(self._job(uid)), [])

    async def prouter_stop(
        self, context: CallContext, uid: str, signal: Any, grace_seconds: Any = None, key: Any = None
    ) -> Any:
        return await self._changed(job_machine.ended(self._job(uid), -15, Reason.STOPPED, time.time()))

    async def prouter_signal(self, context: CallContext, uid: str, signal: Any, key: Any = None) -> Any:
        return self._job(uid).to_wire()

    async def prouter_remove(self, context: CallContext, uid: str, key: Any = None) -> Any:
        record = self._job(uid)
        await self.tell(job_machine.closed(record))
        return record.to_wire()

    async def prouter_drain(self, context: CallContext, on: bool) -> Any:
        return Drain(on, 1 + self.called.count("prouter_drain")).to_wire()

    async def prouter_explain(self, context: CallContext, uid: Any = None) -> Any:
        return {"trail": None, "driver": None}

    async def pipe_dial(self, context: CallContext, tickets: Sequence[str]) -> None:
        """No pipe comes: there is nothing behind it."""

    async def job_count_current_connection(self, context: CallContext) -> int:
        return len(self.jobs)

    async def _run(self, pending: JobRecord, ports: Sequence[str]) -> Any:
        running = job_machine.process_runs(pending, 1, time.time())
        return await self._changed(job_machine.serves(running, {name: Port(name, 9) for name in ports}))

    async def _changed(self, record: JobRecord) -> Any:
        await self.tell(record)
        return record.to_wire()

    def _job(self, uid: str) -> JobRecord:
        record = self.jobs.get(JobUid(uid))
        if record is None:
            raise JobNotFound(uid)
        return record

    def _methods(self) -> Methods:
        methods = Methods()
        for name in dir(self):
            if name.startswith(OFFERED):
                kind = CallType.ISTREAM if name == "prouter_watch" else CallType.UNARY
                methods.add(name, self._noting(name, getattr(self, name)), kind)
        for name, method in self._offered.items():
            methods.add(name, self._noting(name, method), CallType.UNARY)
        return methods

    def _noting(self, name: str, method: Any) -> Any:
        @functools.wraps(method)
        async def called(context: CallContext, *args: Any, **kwargs: Any) -> Any:
            self.called.append(name)
            return await method(context, *args, **kwargs)

        return called


@asynccontextmanager
async def crowd(agents: Iterable[FakeAgent]) -> AsyncIterator[list[FakeAgent]]:
    """All connected at once; all that connected are closed, also when one is refused."""
    waiting = list(agents)
    async with AsyncExitStack() as connected:
        entered = [asyncio.ensure_future(agent.__aenter__()) for agent in waiting]
        outcomes = await asyncio.gather(*entered, return_exceptions=True)
        for agent, outcome in zip(waiting, outcomes, strict=True):
            if not isinstance(outcome, BaseException):
                connected.push_async_exit(agent)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        yield waiting
