"""Stops jobs that do nothing: no traffic through their ports, no output, no CPU for `jobs.idle_timeout` seconds.

A connection that is open and carries nothing keeps no job alive; a websocket's pings do, since they are bytes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from prouter import hookimpl
from prouter.errors import ProuterError
from prouter.model.ids import JobUid
from prouter.model.jobs import JobRecord, JobState
from prouter.model.plugin import ConfigSection
from prouter.model.services import AgentHost

log = logging.getLogger(__name__)

LOOKS = 8
"""At a job within the timeout, so that it is stopped at most an eighth later than it could be."""
MAX_PAUSE_SECONDS = 10.0
BUSY_SHARE = 0.01
"""Of one CPU: an interpreter that sleeps, or a server that polls twice a second, uses less."""
BUSY_SECONDS = 0.02
"""Two ticks of the kernel's clock: a single one may be anybody's."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What was seen of one run of a job."""

    started_at: float | None
    moved: tuple[int, ...]
    """Counts that differ when something happened."""
    cpu_seconds: float | None
    at: float
    """Monotonic."""

    def shows_life_since(self, earlier: _Look) -> bool:
        """Where the CPU time can not be told, a job that computes silently must not be taken for an idle one."""
        if self.cpu_seconds is None or earlier.cpu_seconds is None:
            return True
        busy = max(BUSY_SECONDS, BUSY_SHARE * (self.at - earlier.at))
        same = (self.started_at, self.moved) == (earlier.started_at, earlier.moved)
        return not same or self.cpu_seconds - earlier.cpu_seconds > busy


class IdleCulling:
    """Plugin `idle_culling`."""

    def __init__(self) -> None:
        self._agent: AgentHost
        self._timeout_seconds = 0.0
        self._looks: dict[JobUid, tuple[_Look, float]] = {}
        """The last look at each running job, and when it showed life last (monotonic)."""
        self._stopping: set[JobUid] = set()
        self._kept: dict[JobUid, float] = {}
        """Idle jobs to whose end somebody objected, and when (monotonic): asked again a timeout later."""

    @hookimpl
    def prouter_config_sections(self) -> Sequence[ConfigSection]:
        timeout = {
            "type": ["number", "null"],
            "minimum": 0.1,
            "default": None,
            "description": "Seconds without traffic, output and CPU after which a job is stopped. None: never.",
        }
        return [ConfigSection("jobs", {"idle_timeout": timeout})]

    @hookimpl
    def prouter_startup(self, agent: AgentHost) -> None:
        self._agent = agent
        timeout = agent.config.section("jobs")["idle_timeout"]
        if timeout is not None:
            self._timeout_seconds = float(timeout)
            agent.tasks.start("idle culling", self._watch())

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(min(self._timeout_seconds / LOOKS, MAX_PAUSE_SECONDS))
            running = [record for record in self._agent.jobs.list() if record.state is JobState.RUNNING]
            uids = {record.uid for record in running}
            self._looks = {uid: look for uid, look in self._looks.items() if uid in uids}
            self._kept = {uid: at for uid, at in self._kept.items() if uid in uids}
            for record in running:
                if record.uid not in self._stopping:
                    await self._judge(record)

    async def _judge(self, record: JobRecord) -> None:
        try:
            look = await self._look(record)
        except ProuterError:
            return  # it is removed
        earlier, alive_at = self._looks.get(record.uid, (look, look.at))
        if look.shows_life_since(earlier):
            alive_at = look.at
            self._kept.pop(record.uid, None)
        self._looks[record.uid] = look, alive_at
        if look.at - self._kept.get(record.uid, alive_at) >= self._timeout_seconds:
            self._stopping.add(record.uid)
            self._agent.tasks.start(f"stop of idle job {record.uid}", self._stop(record.uid, look.at, alive_at))

    async def _look(self, record: JobRecord) -> _Look:
        """Raises JobNotFound."""
        jobs = self._agent.jobs
        cpu_seconds = await jobs.cpu_seconds(record.uid)
        output_bytes = await jobs.output(record.uid).end(None)
        traffic = jobs.activity(record.uid)
        moved = traffic.bytes_in, traffic.bytes_out, output_bytes
        return _Look(record.started_at, moved, cpu_seconds, time.monotonic())

    async def _stop(self, job: JobUid, now: float, alive_at: float) -> None:
        try:
            if await self._is_kept(job, now, alive_at):
                return
            log.info("job %s is stopped: idle for %.1f seconds", job, now - alive_at)
            self._looks.pop(job, None)
            await self._agent.jobs.stop(job)
        except ProuterError as error:
            log.warning("idle job %s could not be stopped: %s", job, error.detail)
        finally:
            self._stopping.discard(job)

    async def _is_kept(self, job: JobUid, now: float, alive_at: float) -> bool:
        """Whether somebody objects; whoever can not be asked may."""
        known = job in self._kept
        self._kept[job] = now
        refused = await self._agent.jobs.may_end_idle(job, now - alive_at)
        if refused is None:
            del self._kept[job]
            return False
        if not known:
            log.info("job %s goes on, idle for %.1f seconds: %s", job, now - alive_at, refused.reason)
        return True
