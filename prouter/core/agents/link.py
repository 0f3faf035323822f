"""One control link to one agent, from its handshake to its end, with the pipes that belong to it."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from prouter.core.jobs.mirror import check_size, size_bytes
from prouter.errors import LinkClosed, ProuterError, RemoteProtocolError
from prouter.model.activity import Activity
from prouter.model.agents import Drain, Hello, LoopDelay
from prouter.model.ids import JobUid
from prouter.model.jobs import JobRecord
from prouter.pipe.pool import PipePool
from prouter.rpc.connection import Link
from prouter.rpc.messages import CallType

if TYPE_CHECKING:
    from prouter.core.jobs.calls import JobCalls

log = logging.getLogger(__name__)
MAX_KEY_CHARACTERS = 255
MAX_REMOVED = 1024
"""Removals with a key that an agent may tell of; ours keep fewer."""
_serials = itertools.count(1)

Activities = Mapping[JobUid, Activity]


class AgentLink:
    """An agent's control link. `mode` is ours: SERVER when the agent dialed, CLIENT when we did."""

    def __init__(self, rpc: Link, hello: Hello, mode: str, address: str, call_seconds: float) -> None:
        self.rpc = rpc
        self.hello = hello
        self.mode = mode
        self.address = address
        self.serial = next(_serials)
        self.cut_why = ""
        """Why we ended it on purpose; empty while we did not."""
        self.removed: dict[tuple[JobUid, str], JobRecord] = {}
        """Jobs as they were that requests with an Idempotency-Key removed, as the agent remembers; oldest first."""
        self.mirrored_bytes = math.inf
        """What the records of its jobs may take together."""
        self._pool: PipePool | None = None
        self._jobs: JobCalls | None = None
        self._call_seconds = call_seconds

    def equip(self, pool: PipePool, jobs: JobCalls) -> None:
        """What this agent speaks: how its jobs are asked about, and where its data goes. Once, before anything else."""
        self._pool = pool
        self._jobs = jobs

    @property
    def pool(self) -> PipePool:
        assert self._pool is not None
        return self._pool

    @property
    def jobs(self) -> JobCalls:
        assert self._jobs is not None
        return self._jobs

    @property
    def name(self) -> str:
        """For the log."""
        return f"{self.hello.uid} (link {self.hello.link}, {self.address})"

    @property
    def call_seconds(self) -> float:
        """How long an answer is waited for, unless who asks says otherwise."""
        return self._call_seconds

    async def call(self, method: str, *args: Any, timeout_seconds: float | None = None) -> Any:
        """Raises LinkClosed, TimedOut, MethodNotFound, or what the agent's method raised."""
        return await self.rpc.call(method, *args, timeout_seconds=timeout_seconds or self._call_seconds)

    async def answers(self, timeout_seconds: float) -> bool:
        """Whether the agent answers a ping; a call that originals know, too."""
        try:
            await self.rpc.call("job_count_current_connection", timeout_seconds=timeout_seconds)
        except ProuterError:
            return False
        return True

    async def watch(self) -> AsyncIterator[Sequence[JobRecord] | JobRecord | Activities | Drain | LoopDelay]:
        """First all records that the agent has, then each that changes, what goes through ports, whether it drains.

        Ends with LinkClosed. News of another kind, of a newer agent, are passed over.
        Raises RemoteProtocolError for what is no record: an agent is not trusted to be well-formed.
        """
        snapshot: list[JobRecord] = []
        taken = 0
        async with self.rpc.open(CallType.ISTREAM, "prouter_watch") as call, aclosing(call.values()) as news:
            complete = False
            async for item in news:
                try:
                    if "removed" in item:
                        self._learn_removals(item["removed"])
                        continue
                    if complete:
                        told = _news(item)
                        if told is not None:
                            yield told
                        continue
                    for told_of in item["jobs"]:
                        record = JobRecord.from_wire(told_of)
                        taken += size_bytes(record)
                        check_size(record, taken, self.mirrored_bytes)
                        snapshot.append(record)
                    complete = not item["more"]
                except (KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
                    raise RemoteProtocolError(f"agent {self.hello.uid!r} sent a job record that is none") from error
                if complete:
                    yield snapshot
        raise LinkClosed(f"agent {self.hello.uid!r} ended its watch")

    def _learn_removals(self, told: Iterable[Mapping[str, Any]]) -> None:
        for removal in told:
            before = JobRecord.from_wire(removal["job"])
            self.removed[before.uid, str(removal["key"])[:MAX_KEY_CHARACTERS]] = before
        while len(self.removed) > MAX_REMOVED:
            del self.removed[next(iter(self.removed))]
        total = sum(map(size_bytes, self.removed.values()))
        for before in self.removed.values():
            check_size(before, total, self.mirrored_bytes)

    async def cut(self, why: str) -> None:
        """End it although it works, and all that goes through its pipes."""
        self.cut_why = why
        self.pool.abort()
        await self.close()

    async def close(self, code: int = 1000) -> None:
        if self._pool is not None:
            self._pool.close(silent=self.rpc.fell_silent)
        await self.rpc.close(code)


def _news(item: Mapping[str, Any]) -> JobRecord | Activities | Drain | LoopDelay | None:
    if "job" in item:
        return JobRecord.from_wire(item["job"])
    if "activity" in item:
        return {JobUid(str(job)): Activity.from_wire(told) for job, told in item["activity"].items()}
    if "drain" in item:
        return Drain.from_wire(item["drain"])
    if "loop" in item:
        return LoopDelay.from_wire(item["loop"])
    return None
