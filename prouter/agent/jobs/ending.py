"""How a process ends and is told to: signals by name, the reason, words for people, its last lines."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from prouter.errors import InvalidRequest, ProcessExited, ProuterError
from prouter.model.drivers import Running
from prouter.model.ids import JobUid
from prouter.model.jobs import Reason
from prouter.model.process import Exit

if TYPE_CHECKING:
    from prouter.agent.jobs.job import Job

log = logging.getLogger(__name__)

LAST_LINES = 20
"""Of output, told when a start fails."""
OUTPUT_SECONDS = 2.0
KILL_SECONDS = 30.0
"""For a whole tree to be gone; a process in the kernel's uninterruptible sleep can take for ever."""
ENDED_BY_US = {
    Reason.TIMEOUT.value: "was ended at its `timeout`",
}
"""What ended the process, where that was not the process itself."""


def signal_number(name: str) -> int:
    """Of "TERM" or "SIGTERM" on this machine. Raises InvalidRequest naming those that there are."""
    wanted = name.upper().removeprefix("SIG")
    known = {member.name.removeprefix("SIG"): int(member) for member in signal.Signals}
    if wanted not in known:
        raise InvalidRequest(f"Invalid request: no signal {name!r} here; there are {', '.join(sorted(known))}")
    return known[wanted]


def reason_of(ended: Exit, *, stopping: bool) -> Reason:
    """Why the job finished. `stopping`: it was told to, so that an end of its own counts as that."""
    try:
        reason = Reason(ended.reason)
    except ValueError:
        reason = Reason.SIGNALED if (ended.exit_code or 0) < 0 else Reason.EXITED
    return Reason.STOPPED if stopping and reason in (Reason.EXITED, Reason.SIGNALED) else reason


async def kill(job: JobUid, running: Running, reason: Reason) -> Exit | None:
    """End its tree. None: that takes too long, or can not be done."""
    try:
        async with asyncio.timeout(KILL_SECONDS):
            return await running.kill(reason.value)
    except (TimeoutError, ProuterError) as error:
        log.error("the tree of job %s could not be ended: %s", job, str(error) or "it takes too long")
        return None


async def is_cut(job: Job) -> bool:
    """Whether an end of stream that was seen just now is a cut: the job is being killed, or died of a signal.

    A job that is going down is waited for, until its exit code says which.
    """
    running = job.running
    if job.ending is not None:
        return True
    if running is None:
        return job.record.ended and (job.record.exit_code is None or job.record.exit_code < 0)
    if not await running.exiting():
        return False
    try:
        async with asyncio.timeout(KILL_SECONDS):
            ended = await running.wait()
    except TimeoutError:
        return True
    return ended.exit_code is None or ended.exit_code < 0


async def exits(running: Running) -> None:
    """Raises ProcessExited when the process has ended."""
    ended = await running.wait()
    raise ProcessExited(f"the program {how_it_ended(ended)} before it served its port")


def how_it_ended(ended: Exit) -> str:
    """For people."""
    if ended.detail:
        return f"was ended ({ended.detail})"
    if ended.reason in ENDED_BY_US:
        return ENDED_BY_US[ended.reason]
    if ended.exit_code is None:
        return "ended"
    if ended.exit_code >= 0:
        return f"exited with status {ended.exit_code}"
    try:
        return f"was killed by {signal.Signals(-ended.exit_code).name}"
    except ValueError:
        return f"was killed by signal {-ended.exit_code}"


async def last_lines(read: Callable[[int], Awaitable[str]]) -> str:
    """For the end of a message; `read` gives so many."""
    try:
        async with asyncio.timeout(OUTPUT_SECONDS):
            lines = await read(LAST_LINES)
    except (TimeoutError, ProuterError, OSError):
        return ""
    return f"; its last lines:\n{lines.rstrip()}" if lines.strip() else "; it wrote nothing"
