"""One job's life on this agent: made, started, ended, removed.

Belongs here: the order of steps, and what happens when a start, an end and a removal race. Does not: which transitions
there are (model/job_machine.py), how a tree is launched and found serving (launching.py), which jobs there are
(registry.py).

A start and a removal run on their own, whatever becomes of the caller: a router that loses its link finds the job as
it is afterwards.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from typing import Any, TypeVar

from prouter.agent.jobs.detached import detached, refuse
from prouter.agent.jobs.ending import KILL_SECONDS, kill, reason_of
from prouter.agent.jobs.held import HeldDriver
from prouter.agent.jobs.kept import Kept
from prouter.agent.jobs.launching import go_on, launched, served
from prouter.agent.jobs.ports import check_ports
from prouter.agent.jobs.records import JobDirectory
from prouter.agent.jobs.room import check_room, save_now_or_later
from prouter.agent.jobs.runs import Run, Start
from prouter.agent.jobs.start import check_places, check_request
from prouter.agent.jobs.surroundings import Surroundings
from prouter.errors import (
    AgentAway,
    JobInvalidState,
    JobNotFound,
    PluginFailure,
    ProuterError,
    StartFailed,
    TimedOut,
)
from prouter.model import job_machine
from prouter.model.activity import Flows
from prouter.model.drivers import Running
from prouter.model.jobs import JobRecord, JobState, Reason, StartRequest
from prouter.model.process import Exit
from prouter.pluginkit import context

log = logging.getLogger(__name__)
T = TypeVar("T")
Keep = Callable[[JobRecord], Awaitable[None]]


class Job:
    """One job. `record` is what is known of it now.

    What is always true: only its life (one at a time) changes the record between the start and the end; what a record
    says of a launch was on disk before the launch was asked for.
    """

    def __init__(
        self, record: JobRecord, directory: JobDirectory, around: Surroundings, beside: Mapping[str, Any] | None = None
    ) -> None:
        self.record = self.shown = record
        """The latter is what who watches was told: an end only once it is on disk."""
        self.directory = directory
        self.flows = Flows()
        """What goes through its ports; the connections add to it."""
        self.running: Running | None = None
        """The tree, while there is one."""
        self.run = Run.from_wire((beside or {}).get("run"), begun=record.state is not JobState.NEW)
        self.ending: Reason | None = None
        """Why the tree is being killed, once it is: then an end of its streams is a cut."""
        self.kept = Kept(directory, beside or {})
        self.launched = asyncio.Event()
        """Not while a run has begun of which no process is known yet."""
        self.launched.set()
        self._left = False
        """The agent ends, and the next one takes it over."""
        self._stopping = False
        """It was told to stop, so that an end of its own counts as that."""
        self._around = around
        self._ended = asyncio.Event()
        self._starting: asyncio.Timeout | None = None
        self._removal: asyncio.Future[JobRecord] | None = None
        if record.ended:
            self._ended.set()

    @property
    def around(self) -> Surroundings:
        return self._around

    @property
    def removing(self) -> bool:
        """Whether a removal has begun: what it has on disk goes, bit by bit."""
        return self._removal is not None

    # --- across the agent's end ---

    def leave(self) -> None:
        """The agent ends, and the job goes on: nothing is begun any more, and nothing is undone."""
        self._left = True

    async def adopt(self, driver: HeldDriver, running: Running) -> None:
        """Its tree has outlived an earlier run of the agent: it goes on where it was, before anybody can ask for
        anything. Raises Conflict when nobody can tell how it was started."""
        request, launch = await asyncio.to_thread(self.directory.last_start_of_run)
        self.run.begins_at = launch.begins_at
        self.running = running
        started: asyncio.Future[JobRecord] = asyncio.get_running_loop().create_future()
        for asked in (["start", request.to_wire()], ["restart"]):
            self.kept.once.resume(asked, started)
        start = Start(driver, request, None, running, launch)
        self._around.tasks.start(f"job {self.record.uid}", self._live(start, started))
        if self.kept.stopping is not None:
            self._stopping = True
            stopped = self._detached(f"stop of {self.record.uid}", self._stop(*self.kept.stopping, None))
            self.kept.once.resume(["stop", *self.kept.stopping], stopped)

    # --- what callers ask for ---

    async def start(self, request: StartRequest, key: str | None = None) -> JobRecord:
        """Until the process runs and serves.

        Raises InvalidRequest, NotPossible, Forbidden, JobInvalidState, NoRoom, StartFailed. All but the last change
        nothing, unless the room goes meanwhile; then the job is FINISHED with the reason start-failed. The same `key`
        again starts nothing more (Conflict when it came with another request).
        """
        check_request(request, self._around.limits)
        check_ports(request.ports)
        await asyncio.to_thread(check_places, request, self.directory.sandbox)
        if self.record.state is JobState.NEW:
            await asyncio.to_thread(check_room, self.directory.path)
        await self._around.hooks.admit_start(self.record, request)

        def begin() -> asyncio.Future[JobRecord]:
            return self._begin_run(job_machine.begin_start(self.record, request.name), request, key)

        return await self.kept.once.do(key, ["start", request.to_wire()], begin, lambda: self.record)

    async def restart(self, key: str | None = None) -> JobRecord:
        """A finished job runs again as it was started. Raises JobInvalidState, Conflict, NoAgent (what it held is not
        free), and what `start` raises."""

        def begin() -> asyncio.Future[JobRecord]:
            return self._detached(f"restart of {self.record.uid}", self._restart(key))

        return await self.kept.once.do(key, ["restart"], begin, lambda: self.record)

    async def stop(self, number: int, grace_seconds: float, key: str | None = None) -> JobRecord:
        """Ask it to end by a signal; after the grace its tree is killed. A start that is under way is broken off.

        Raises JobInvalidState for a job that was never started, TimedOut when the tree can not be ended.
        """

        grace_seconds = float(grace_seconds)  # as it is kept

        def begin() -> asyncio.Future[JobRecord]:
            if self.record.state is JobState.NEW:
                raise JobInvalidState(f"job {self.record.uid!r} can not be stopped: it was not started")
            return self._detached(f"stop of {self.record.uid}", self._stop(number, grace_seconds, key))

        return await self.kept.once.do(key, ["stop", number, grace_seconds], begin, lambda: self.record)

    async def signal(self, number: int, key: str | None = None) -> JobRecord:
        """To the main process's group. Raises JobInvalidState when no process runs."""

        def begin() -> asyncio.Future[JobRecord]:
            if self.running is None:
                raise JobInvalidState(f"job {self.record.uid!r} runs no process: it is {self.record.state.value}")
            return self._detached(f"signal to {self.record.uid}", self._signal(self.running, number, key))

        return await self.kept.once.do(key, ["signal", number], begin, lambda: self.record)

    async def wait_ended(self) -> JobRecord:
        """When it has ended; a job that is removed before it was started counts as ended."""
        await self._ended.wait()
        return self.record

    async def end(self, reason: Reason) -> None:
        """Kill the tree, if there is one; on return the job has ended. Nothing happens to one that has.

        Raises TimedOut when the tree can not be ended.
        """
        if self.record.ended:
            await self._until_told()
            return
        if self.record.state is JobState.NEW:
            await self._finish(job_machine.ended(self.record, None, reason, time.time()))
            return
        first, self.ending = self.ending is None, self.ending or reason
        if self._starting is not None:
            if first:
                self._starting.reschedule(asyncio.get_running_loop().time())
        elif self.running is not None and await kill(self.record.uid, self.running, self.ending) is None:
            raise TimedOut(self._not_ended())
        await self._until_told()

    async def _until_told(self) -> None:
        """That it has ended, or that it ended: a moment after its tree is gone. Raises TimedOut."""
        try:
            async with asyncio.timeout(KILL_SECONDS):
                await self._ended.wait()
        except TimeoutError:
            raise TimedOut(self._not_ended()) from None

    def _not_ended(self) -> str:
        return f"the processes of job {self.record.uid!r} could not be ended yet"

    async def remove(self, keep: Keep | None = None) -> JobRecord:
        """Kill the tree, delete everything; the record as it was before, which `keep` gets before anything goes.

        Several callers get the same answer, and the `keep` of each is called.
        """
        removal = self._removal
        if removal is None:
            removal = self._removal = self._detached(f"removal of {self.record.uid}", self._remove(keep))
        elif keep is not None:
            await keep(self.record)
        return await asyncio.shield(removal)

    async def delete(self) -> None:
        """All that is on disk. For a job without a tree, of which nobody is told any more."""
        await self._around.hooks.cleanup(self.record, self.directory.sandbox)
        await self._destroy()
        await asyncio.to_thread(self.directory.delete)

    async def _destroy(self) -> None:
        """What its last driver still has of it."""
        driver = self._around.drivers.of(self.record.driver) if self.record.driver else None
        if driver is not None:
            await driver.destroy(self.record.uid, str(self.directory.path))

    async def clean_sandbox(self) -> None:
        """Its sandbox only: it was lost, and stays known."""
        await self._around.hooks.cleanup(self.record, self.directory.sandbox)
        await asyncio.to_thread(self.directory.clean_sandbox)

    # --- its life ---

    def _begin_run(self, fresh: JobRecord, request: StartRequest, key: str | None) -> asyncio.Future[JobRecord]:
        """`fresh` is the record of a start that was accepted. Done once it serves; goes on whoever waits."""
        if self._removal is not None:
            raise JobNotFound(self.record.uid)
        if self._left:
            raise AgentAway("the agent is just ending; the next one starts the job")
        driver = self._around.drivers.chosen()
        self.ending, self._stopping = None, False
        self.kept.begin_run()
        self._ended.clear()
        self.launched.clear()
        self.become(replace(fresh, driver=driver.name))
        started: asyncio.Future[JobRecord] = asyncio.get_running_loop().create_future()
        self._around.tasks.start(f"job {self.record.uid}", self._live(Start(driver, request, key), started))
        return started

    async def _restart(self, key: str | None) -> JobRecord:
        job_machine.begin_restart(self.record)
        await self._until_told()
        request = await asyncio.to_thread(self.directory.last_start)
        await asyncio.to_thread(check_room, self.directory.path)
        await self._around.hooks.admit_start(self.record, request)
        if self.record.driver != self._around.drivers.chosen().name:
            await self._destroy()
        fresh = job_machine.begin_restart(self.record)
        if not self._ended.is_set():  # it ran and ended once more meanwhile
            raise JobInvalidState(f"job {self.record.uid!r} can not be restarted: its end is just being written")
        self._around.check_again(self.record)
        return await self._begin_run(fresh, request, key)

    async def _stop(self, number: int, grace_seconds: float, key: str | None) -> JobRecord:
        self.kept.stopping = number, grace_seconds
        if key is not None or self._around.survive:
            await self.kept.remember(self.record)
        running = self.running
        try:
            if running is not None and self.record.state is JobState.RUNNING and grace_seconds > 0:
                self._stopping = True
                await running.signal(number)
                with suppress(TimeoutError):
                    async with asyncio.timeout(grace_seconds):
                        await self._ended.wait()
            if self.running is running:  # it may run anew by now
                await self.end(Reason.STOPPED)
        except ProuterError:  # its caller knows, and may ask again: the next run of the agent does not go on with it
            self.kept.stopping = None
            if self._around.survive:
                await self.kept.remember(self.record)
            raise
        self.kept.stopping = None
        return self.record

    async def _signal(self, running: Running, number: int, key: str | None) -> JobRecord:
        if key is not None:
            await self.kept.remember(self.record)
        await running.signal(number)
        return self.record

    async def _live(self, start: Start, started: asyncio.Future[JobRecord]) -> None:
        context.job_id.set(self.record.uid)
        async with AsyncExitStack() as held:
            try:
                running = go_on(self, start, held) or await self._begin(start, held)
            except ProuterError as error:
                refuse(started, error)
                return
            except BaseException:
                refuse(started, StartFailed("the start failed for a reason that is in the agent's log"))
                raise
            if not started.done():
                started.set_result(self.record)
            log.info("job %s runs (pid %s)", self.record.uid, running.pid)
            if self.ending is not None and not self._left:  # told so in the very moment in which the start was complete
                await kill(self.record.uid, running, self.ending)
            await self._follow(running)

    async def _begin(self, start: Start, held: AsyncExitStack) -> Running:
        """Until it serves. When that fails, for whatever reason, the tree is gone and the job has ended."""
        try:
            try:
                async with asyncio.timeout(None) as self._starting:
                    if self.ending is not None:
                        raise TimeoutError
                    running, finders = await launched(self, start, held)
                    self.become(job_machine.serves(self.record, await served(self, running, finders, start.request)))
                    await save_now_or_later(self)
            finally:
                self._starting = None
        except BaseException as error:
            if self._left and isinstance(error, asyncio.CancelledError):
                raise
            failed = error
            if isinstance(error, TimeoutError) and self.ending is not None:
                failed = StartFailed(f"the job was ended ({self.ending}) while it was being started")
            self.kept.once.note_failure(start.key, failed)
            ended = await self._undo(self.ending or Reason.START_FAILED, failed)
            code = ended.exit_code if ended else None
            await self._finish(job_machine.ended(self.record, code, self.ending or Reason.START_FAILED, time.time()))
            if failed is not error:
                raise failed from error
            raise
        return running

    async def _follow(self, running: Running) -> None:
        """From serving to the end."""
        ended = await running.wait()
        self.running = None
        reason = self.ending or reason_of(ended, stopping=self._stopping)
        await self._finish(job_machine.ended(self.record, ended.exit_code, reason, ended.finished_at), ended.detail)

    async def _undo(self, reason: Reason, failed: BaseException) -> Exit | None:
        """On return nothing of it runs, if its driver can do anything about that."""
        running, self.running = self.running, None
        ended = await kill(self.record.uid, running, reason) if running is not None else None
        if ended is None and (running is not None or isinstance(failed, PluginFailure)):
            await self._destroy()
        return ended

    async def _finish(self, record: JobRecord, detail: str = "") -> None:
        """The tree is gone. Told once it is on disk, so that a restart never takes it back; `detail` is for the log."""
        before, self.record = self.record, record
        await save_now_or_later(self)
        why = f": {detail}" if detail else ""
        log.info("job %s ended: %s, exit code %s%s", record.uid, record.reason, record.exit_code, why)
        self._tell(record)
        self._ended.set()
        self.launched.set()
        if before.state is not JobState.NEW:
            self._around.over(record)

    async def _remove(self, keep: Keep | None) -> JobRecord:
        before = self.record
        try:
            if keep is not None:
                await keep(before)
            if before.state is not JobState.NEW:
                await self.end(Reason.STOPPED)
            await self.delete()
        except BaseException:
            self._removal = None
            raise
        self._ended.set()
        self.become(job_machine.closed(self.record))
        with context.about(job=before.uid):
            log.info("job %s removed", before.uid)
        return before

    # --- its parts ---

    def become(self, record: JobRecord) -> None:
        """What is known of it now, told to who watches; by its own life only."""
        self.record = record
        self._tell(record)

    def _tell(self, record: JobRecord) -> None:
        self.shown = record
        self._around.told(record)

    def _detached(self, name: str, work: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
        return detached(self._around.tasks, name, work)
