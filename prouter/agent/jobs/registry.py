"""All jobs of this agent: the truth that routers mirror.

Belongs here: making, finding, forgetting and recovering jobs, and telling of changes. Does not: one job's life
(job.py), the RPC methods (methods.py).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from prouter.agent.files.asked import AskedFiles
from prouter.agent.files.sandbox import Sandbox
from prouter.agent.files.unpack import clean_staging
from prouter.agent.files.upload import clean_leftovers
from prouter.agent.jobs.admission import Admission
from prouter.agent.jobs.changed_output import output_of
from prouter.agent.jobs.detached import detached
from prouter.agent.jobs.ending import signal_number
from prouter.agent.jobs.hooks import JobHooks
from prouter.agent.jobs.job import Job
from prouter.agent.jobs.records import Records
from prouter.agent.jobs.recovering import UNTIL_LINK_ENDS, end_torn, recovered
from prouter.agent.jobs.removed import Removals
from prouter.agent.jobs.room import save_what_is_behind
from prouter.agent.jobs.set_aside import Aside
from prouter.agent.jobs.surroundings import Surroundings
from prouter.errors import Conflict, InvalidRequest, JobNotFound, ProuterError, TooManyRequests
from prouter.model.access import Refusal
from prouter.model.activity import Activity
from prouter.model.agent_services import JobOutput
from prouter.model.ids import JobUid, is_job_uid, new_uid
from prouter.model.jobs import JobRecord, JobState, Reason, Sender
from prouter.model.sandbox_files import SandboxFiles
from prouter.pluginkit import context

log = logging.getLogger(__name__)

FilesOf = Callable[[Path], AbstractAsyncContextManager[Sandbox]]
"""Opens a sandbox for the length of one request."""
SETTLE_SECONDS = 5.0
"""For a launch that is under way when the agent ends, and jobs go on."""
RECOVERED_AT_ONCE = 16
MAX_TEXT = 64 * 1024
"""Characters of a job's name and labels together."""


class JobRegistry:
    """Implements model.agent_services.AgentJobs."""

    def __init__(
        self,
        records: Records,
        files: FilesOf,
        admission: Admission,
        hooks: JobHooks,
        removals: Removals,
        *,
        max_jobs: int,
        stop_grace_seconds: float,
    ) -> None:
        self._records = records
        self.aside = Aside(records.root)
        self._admission = admission
        self._files = files
        self._hooks = hooks
        self.removals = removals
        removals.told = self.wake
        self._max_jobs = max_jobs
        self._stop_grace_seconds = stop_grace_seconds
        self._jobs: dict[JobUid, Job] = {}
        self._made: dict[JobUid, asyncio.Future[None]] = {}
        """Jobs whose directory is being made."""
        self._watches: set[Watch] = set()
        self._closing = False

    def __iter__(self) -> Iterator[Job]:
        return iter(list(self._jobs.values()))

    def find(self, job: str) -> Job:
        """Raises JobNotFound, also for what is no uid at all: a router may send anything."""
        if not isinstance(job, str):
            raise JobNotFound(str(job)[:100])
        found = self._jobs.get(JobUid(job))
        if found is None or JobUid(job) in self._made:
            raise JobNotFound(job)
        return found

    def is_made(self, job: JobUid) -> bool:
        """Whether anybody may see a job that there is."""
        return job not in self._made

    def get(self, job: JobUid) -> JobRecord:
        return self.find(job).record

    def files(self, job: JobUid) -> AbstractAsyncContextManager[SandboxFiles]:
        found = self.find(job)
        opened = self._files(found.directory.sandbox)
        return self._asked(found, opened) if self._hooks.guards_writes else opened

    @asynccontextmanager
    async def _asked(self, job: Job, opened: AbstractAsyncContextManager[Sandbox]) -> AsyncIterator[SandboxFiles]:
        """Plugins have a say in what is written."""
        async with opened as files:
            yield AskedFiles(files, lambda write: self._hooks.before_write(job.record, write))

    def output(self, job: JobUid) -> JobOutput:
        return output_of(self.find(job))

    def list(self) -> Sequence[JobRecord]:
        return [job.record for job in self]

    def activity(self, job: JobUid) -> Activity:
        return self.find(job).flows.now()

    async def cpu_seconds(self, job: JobUid) -> float | None:
        running = self.find(job).running
        return await running.cpu_seconds() if running is not None else None

    async def may_end_idle(self, job: JobUid, idle_seconds: float) -> Refusal | None:
        return await self._hooks.may_end_idle(self.find(job).record, idle_seconds)

    async def stop(self, job: JobUid) -> JobRecord:
        return await self.find(job).stop(signal_number("TERM"), self._stop_grace_seconds)

    def watch(self) -> Watch:
        """A watch that tells all records that there are and then every change."""
        return Watch(self._watches, [job.shown for job in self._jobs.values() if job.record.uid not in self._made])

    async def changes(self) -> AsyncIterator[JobRecord]:
        """Every change from now on, coalesced for each job."""
        watch = self.watch()
        watch.take_all()
        try:
            while True:
                for record in await watch.changed():
                    yield record
        finally:
            watch.close()

    def told(self, record: JobRecord) -> None:
        """From a job: it changed."""
        if record.state is JobState.CLOSED:
            self._jobs.pop(record.uid, None)
        for watch in self._watches:
            watch.tell(record)

    def wake(self) -> None:
        """Something else than a job changed that watchers may have to tell."""
        for watch in self._watches:
            watch.wake()

    def check_again(self, record: JobRecord) -> None:
        """Whether a job that has ended can take again what it held. Raises NoAgent."""
        self._admission.check_room(record.resources, (job.record for job in self._jobs.values()))

    async def create(
        self,
        uid: str | None,
        name: str,
        labels: Mapping[str, str],
        resources: Mapping[str, int],
        sender: Sender,
        around: Surroundings,
        asked: str = "",
        trail: str = "",
    ) -> JobRecord:
        """A new job, or the one that was made before with the same uid and arguments.

        `trail` is kept with it as it is.

        Raises InvalidRequest, Conflict, TooManyRequests, NoAgent (draining, or no room for what it asks for), NoRoom.
        """
        if uid is not None and not is_job_uid(uid):
            raise InvalidRequest("Invalid request: a job's uid is 32 lower-case hex digits")
        if len(name) + sum(len(key) + len(value) for key, value in labels.items()) > MAX_TEXT:
            raise InvalidRequest(f"Invalid request: name and labels of a job have at most {MAX_TEXT} characters")
        chosen = JobUid(uid or new_uid())
        if chosen in self._jobs:
            return await self._same(chosen, name, labels, resources, asked)
        if len(self._jobs) >= self._max_jobs or self._closing:
            raise TooManyRequests(
                f"this agent keeps {len(self._jobs)} jobs, which is its limit; remove some",
                headers={"Retry-After": "10"},
            )
        self._admission.check_new(resources, (job.record for job in self._jobs.values()))
        record = JobRecord(
            chosen,
            name,
            sender,
            labels=dict(labels),
            resources=dict(resources),
            created_at=time.time(),
            asked=asked,
            revision=1,
        )
        return await self._make(Job(record, self._records.directory(chosen), around), trail, around)

    async def remove(self, uid: str, key: str | None = None) -> JobRecord:
        """The record as it was before; the same `key` again is told the same. Raises JobNotFound, TimedOut."""
        before = self.removals.outcome(JobUid(uid), key) if key is not None and isinstance(uid, str) else None
        job = self._jobs.get(before.uid) if before is not None else self.find(uid)
        if before is not None and (job is None or job.record.created_at != before.created_at):
            return before
        assert job is not None
        return await job.remove(partial(self.removals.keep, key) if key is not None else None)

    async def recover(self, around: Surroundings) -> None:
        """Read what earlier runs left: ended jobs are there again, unfinished ones are lost or ended meanwhile,
        those that belong to a link are removed with it, and nothing goes on of one whose record is torn."""
        at_once = asyncio.Semaphore(RECOVERED_AT_ONCE)

        async def take(record: JobRecord, beside: Mapping[str, Any]) -> Job | None:
            async with at_once:
                return await self._taken(record, beside, around)

        found = await asyncio.to_thread(self._records.read_all)
        self.aside.drivers = around.drivers

        async def end(job: JobUid, directory: Path) -> None:
            async with at_once:
                await end_torn(job, directory, around.drivers)

        await asyncio.gather(*(end(job, directory) for job, directory in self._records.set_aside))
        failed: ProuterError | None = None
        try:
            async with asyncio.TaskGroup() as group:
                taken = [group.create_task(take(record, beside)) for record, beside in found]
        except* ProuterError as errors:
            failed = next(error for error in errors.exceptions if isinstance(error, ProuterError))
        if failed is not None:
            raise failed
        jobs = [job for task in taken if (job := task.result()) is not None]
        self._jobs |= {job.record.uid: job for job in jobs}

    async def end_all(self, reason: Reason) -> None:
        """End every job that has not ended, side by side."""
        await self._end_side_by_side(self._unfinished(), reason)

    async def _end_side_by_side(self, jobs: Sequence[Job], reason: Reason) -> None:
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(self._end(job, reason), name=f"end of {job.record.uid}")

    async def close(self) -> None:
        """The agent ends: so do all trees, and the sandboxes of what was unfinished go. What survives is left alone."""
        self._closing = True
        present = self._unfinished()
        left = await asyncio.gather(*(self._is_left(job) for job in present))
        unfinished = [job for job, goes_on in zip(present, left, strict=True) if not goes_on]
        await self._end_side_by_side(unfinished, Reason.AGENT_LOST)
        async with asyncio.TaskGroup() as group:
            for job in unfinished:
                group.create_task(job.clean_sandbox(), name=f"sandbox of {job.record.uid}")
        await save_what_is_behind(self)

    async def _is_left(self, job: Job) -> bool:
        """Whether a job goes on without us; one that is just being launched has a while to get there."""
        if not job.around.survive or job.record.asked == UNTIL_LINK_ENDS:
            return False
        job.leave()
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                await job.launched.wait()
        except TimeoutError:
            return False
        return True

    def _unfinished(self) -> Sequence[Job]:
        """One that is being made belongs to who makes it."""
        return [job for job in self if not job.record.ended and job.record.uid not in self._made]

    async def _end(self, job: Job, reason: Reason) -> None:
        try:
            await job.end(reason)
        except ProuterError as error:
            log.error("%s", error.detail)

    async def _same(
        self, uid: JobUid, name: str, labels: Mapping[str, str], resources: Mapping[str, int], asked: str
    ) -> JobRecord:
        making = self._made.get(uid)
        if making is not None:
            await asyncio.shield(making)
        record = self.find(uid).record
        renamed = record.state is not JobState.NEW
        same = dict(record.labels) == dict(labels) and (record.name == name or renamed)
        same = same and dict(record.resources) == dict(resources)
        if not (record.asked == asked if record.asked and asked else same):
            raise Conflict(f"a job {uid!r} was made before with other arguments")
        return record

    async def _make(self, job: Job, trail: str, around: Surroundings) -> JobRecord:
        """Its directory and record on disk first, and what plugins put into its sandbox; nobody sees the job before.
        It holds its resources at once. What fails, or is cancelled, leaves nothing."""
        uid = job.record.uid
        self._made[uid] = asyncio.get_running_loop().create_future()
        self._jobs[uid] = job
        prepared: list[str] = []

        def on_disk() -> None:
            job.directory.make()
            if trail:
                job.directory.keep_trail(trail)
            if self._hooks.prepares:
                job.directory.begin_making()
            try:
                job.directory.write(job.record)
            except ProuterError:
                job.directory.unmake()
                raise

        writing = asyncio.ensure_future(asyncio.to_thread(on_disk))
        try:
            await asyncio.shield(writing)
            await self._hooks.prepare(job.record, job.directory.sandbox, prepared)
            if self._hooks.prepares:
                await asyncio.to_thread(job.directory.end_making)
        except BaseException:
            await asyncio.shield(detached(around.tasks, f"undoing job {uid}", self._unmake(job, writing, prepared)))
            raise
        self._is_made(uid)
        with context.about(job=uid):
            log.info("job %s made for router %s", uid, job.record.sender.uid)
        self.told(job.record)
        return job.record

    async def _unmake(self, job: Job, writing: asyncio.Future[None], prepared: Sequence[str]) -> None:
        try:
            await asyncio.wait((writing,))
            if not writing.cancelled() and writing.exception() is None:
                await self._hooks.cleanup(job.record, job.directory.sandbox, only=prepared)
                await asyncio.to_thread(job.directory.delete)
        finally:
            del self._jobs[job.record.uid]
            self._is_made(job.record.uid)

    def _is_made(self, uid: JobUid) -> None:
        """Or given up."""
        self._made.pop(uid).set_result(None)

    async def _taken(self, record: JobRecord, beside: Mapping[str, Any], around: Surroundings) -> Job | None:
        """A job of an earlier run as it is now; None for one that is gone with its link."""
        job = Job(record, self._records.directory(record.uid), around, beside)
        if not record.ended:
            job = await recovered(job, around, beside)
        if record.asked == UNTIL_LINK_ENDS:
            await job.delete()
            return None
        await asyncio.to_thread(clean_leftovers, job.directory.sandbox)
        await asyncio.to_thread(clean_staging, job.directory.path)
        return job


class Watch:
    """One watcher's view: what it was not told yet, the newest of each job, so bounded by the number of jobs."""

    def __init__(self, watches: set[Watch], records: list[JobRecord]) -> None:
        self._untold = {record.uid: record for record in records}
        self._news = asyncio.Event()
        self._watches = watches
        watches.add(self)

    def tell(self, record: JobRecord) -> None:
        self._untold[record.uid] = record
        self._news.set()

    def wake(self) -> None:
        self._news.set()

    def take_all(self) -> list[JobRecord]:
        """What it was not told yet; at first, that is all there is."""
        untold, self._untold = self._untold, {}
        self._news.clear()
        return list(untold.values())

    async def changed(self) -> list[JobRecord]:
        """Waits until there is something; empty when it was woken for something else than a job."""
        await self._news.wait()
        return self.take_all()

    def close(self) -> None:
        self._watches.discard(self)
