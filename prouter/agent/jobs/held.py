"""A plugin's driver held to its promises: each call has a deadline, its answer is looked at, its mistakes are named.

Belongs here: what stands between the life of a job and foreign code that starts, watches and ends its process. Does
not: which drivers there are (drivers.py). Calls run as tasks of their own, so that one which takes no cancellation is
left behind with a line in the log, and holds up neither the job nor the end of the agent.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from prouter.errors import PluginFailure, ProuterError
from prouter.model import unexpected
from prouter.model.drivers import Driver, LaunchRequest, Running
from prouter.model.ids import JobUid
from prouter.model.jobs import Reason
from prouter.model.process import Exit
from prouter.model.services import Tasks

log = logging.getLogger(__name__)

ASK_SECONDS = 10.0
"""For an answer about a tree: its ports, its CPU time, whether it is going down; for a signal."""
KILL_SECONDS = 25.0
"""For a whole tree to be gone; a bit less than a job waits for that (job.py), so that the driver is named."""
LEAVE_SECONDS = 10.0
"""For a call that was cancelled to undo what it had begun."""


class HeldDriver:
    """Implements Driver on a plugin's. `seconds` is for each of its calls; some have less, and `wait` has all time."""

    def __init__(self, driver: Driver, plugin: str, tasks: Tasks, seconds: float) -> None:
        self._driver: Any = driver
        self._calls = _Calls(plugin, driver.name, tasks, seconds)
        self._seconds = seconds
        self.name = driver.name
        self.plugin = plugin

    async def start(self, request: LaunchRequest) -> HeldRunning:
        """Raises StartFailed, PluginFailure. What comes too late is ended."""
        found = await self._calls.make("start", lambda: self._driver.start(request), self._seconds, late=self._end)
        return self._held(found)

    async def recover(self, job: JobUid, job_directory: str) -> HeldRunning | Exit | None:
        """Raises PluginFailure."""
        found = await self._calls.make("recover", lambda: self._driver.recover(job, job_directory), self._seconds)
        return found if found is None or isinstance(found, Exit) else self._held(found)

    async def destroy(self, job: JobUid, job_directory: str) -> None:
        """A failure is in the log: the job is deleted anyway."""
        destroy = getattr(self._driver, "destroy", None)  # of drivers older than it there is none
        if destroy is not None:
            try:
                await self._calls.make("destroy", lambda: destroy(job, job_directory), self._seconds)
            except ProuterError as error:
                log.error("what is left of job %s may not be gone: %s", job, error.detail)

    def _held(self, found: Any) -> HeldRunning:
        pid = getattr(found, "pid", None)
        if not isinstance(pid, int):
            raise self._calls.failure("start", f"it answered {type(found).__name__} instead of a Running")
        return HeldRunning(found, pid, self._calls)

    async def _end(self, found: Any) -> None:
        await self._held(found).kill(Reason.START_FAILED.value)


class HeldRunning:
    """Implements Running on a driver's. It is over when its `wait` says so, when its `kill` says so, and when `wait`
    fails and it was killed: as lost, since nobody knows more."""

    def __init__(self, running: Running, pid: int, calls: _Calls) -> None:
        self._running = running
        self._pid = pid
        self._calls = calls
        self._over: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        calls.tasks.start(f"end of process {pid} of driver {calls.driver}", self._watch())

    @property
    def pid(self) -> int:
        return self._pid

    async def signal(self, number: int) -> None:
        await self._calls.make("signal", lambda: self._running.signal(number), ASK_SECONDS)

    async def kill(self, reason: str) -> Exit:
        """Raises PluginFailure, after KILL_SECONDS at the latest; then its processes may still be there."""
        if not self._over.done():
            kill = self._exit("kill", lambda: self._running.kill(reason), KILL_SECONDS, until=self._over)
            self._is_over(await kill)
        return self._over.result()

    async def wait(self) -> Exit:
        return await asyncio.shield(self._over)

    async def ports(self, only: int | None = None) -> Mapping[int, Sequence[str]]:
        found = await self._calls.make("ports", lambda: self._running.ports(only), ASK_SECONDS, (dict,))
        return {int(number): tuple(map(str, hosts)) for number, hosts in found.items()}

    async def cpu_seconds(self) -> float | None:
        kinds = (int, float, type(None))
        found: float | None = await self._calls.make("cpu_seconds", self._running.cpu_seconds, ASK_SECONDS, kinds)
        return found

    async def last_output(self, lines: int) -> str:
        return str(await self._calls.make("last_output", lambda: self._running.last_output(lines), ASK_SECONDS, (str,)))

    async def exiting(self) -> bool:
        return bool(await self._calls.make("exiting", self._running.exiting, ASK_SECONDS))

    async def _watch(self) -> None:
        try:
            self._is_over(await self._exit("wait", self._running.wait, None, until=self._over))
        except ProuterError as error:
            if not self._over.done():
                await self._lost(error)

    async def _lost(self, error: ProuterError) -> None:
        log.error("the end of process %d can not be waited for, so it is ended: %s", self._pid, error.detail)
        code = None
        try:
            code = (await self._exit("kill", lambda: self._running.kill("agent-lost"), KILL_SECONDS)).exit_code
        except ProuterError as failed:
            log.error("process %d may still be there: %s", self._pid, failed.detail)
        self._is_over(Exit(code, Reason.AGENT_LOST.value, time.time(), error.detail))

    async def _exit(
        self,
        what: str,
        ask: Callable[[], Awaitable[Exit]],
        seconds: float | None,
        until: asyncio.Future[Exit] | None = None,
    ) -> Exit:
        found: Exit = await self._calls.make(what, ask, seconds, (Exit,), until=until)
        return found

    def _is_over(self, how: Exit) -> None:
        """The first account counts."""
        if not self._over.done():
            self._over.set_result(how)


class _Calls:
    """Calls of one driver."""

    def __init__(self, plugin: str, driver: str, tasks: Tasks, seconds: float) -> None:
        self.plugin = plugin
        self.driver = driver
        self.tasks = tasks
        self.seconds = seconds

    def failure(self, what: str, why: str) -> PluginFailure:
        return PluginFailure(self.plugin, f"{what} of its driver {self.driver!r}", why)

    async def make(
        self,
        what: str,
        ask: Callable[[], Any],
        seconds: float | None,
        kinds: tuple[type, ...] | None = None,
        *,
        late: Callable[[Any], Awaitable[None]] | None = None,
        until: asyncio.Future[Any] | None = None,
    ) -> Any:
        """The answer, one of `kinds`. Raises PluginFailure, and what the driver raises on purpose.

        `late` gets an answer for which nobody waits any more. When `until` is done, its result is the answer.
        """
        call = _Call(ask, late, min(LEAVE_SECONDS, self.seconds))
        seconds = min(seconds, self.seconds) if seconds is not None else None
        self.tasks.start(f"{what} of driver {self.driver} of plugin {self.plugin}", call.run())
        try:
            await asyncio.wait(
                [call.outcome, *([until] if until is not None else [])],
                timeout=seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
        except asyncio.CancelledError:
            await call.give_up()
            raise
        if not call.outcome.done():
            await call.give_up()
            if until is not None and until.done():
                return until.result()
            raise self.failure(what, f"it did not answer within {seconds:g} s")
        answer, error = call.outcome.result()
        if isinstance(error, ProuterError):
            raise error
        if error is not None:
            log.error("plugin %s failed in %s of its driver %s", self.plugin, what, self.driver, exc_info=error)
            unexpected.tell(error, f"{what} of driver {self.driver} of plugin {self.plugin}")
            raise self.failure(what, type(error).__name__) from error
        if kinds is not None and not isinstance(answer, kinds):
            raise self.failure(what, f"it answered {type(answer).__name__}")
        return answer


class _Call:
    """One call, in a task of its own."""

    def __init__(
        self, ask: Callable[[], Any], late: Callable[[Any], Awaitable[None]] | None, leave_seconds: float
    ) -> None:
        self.outcome: asyncio.Future[tuple[Any, BaseException | None]] = asyncio.get_running_loop().create_future()
        self._ask = ask
        self._late = late
        self._leave_seconds = leave_seconds
        self._task: asyncio.Task[Any] | None = None
        self._given_up = asyncio.Event()

    async def run(self) -> None:
        self._task = asyncio.current_task()
        try:
            if self._given_up.is_set():
                raise asyncio.CancelledError
            answer = self._ask()
            if inspect.isawaitable(answer):
                answer = await answer
        except (Exception, SystemExit, KeyboardInterrupt, asyncio.CancelledError) as error:  # noqa: BLE001 -- foreign code
            self.outcome.set_result((None, error))
            return
        if self._given_up.is_set() and self._late is not None:
            await self._late(answer)
        self.outcome.set_result((answer, None))

    async def give_up(self) -> None:
        """Nobody waits for the answer any more; what was begun has a while to be undone."""
        self._given_up.set()
        if self._task is not None:
            self._task.cancel()
        await asyncio.wait((self.outcome,), timeout=self._leave_seconds)
