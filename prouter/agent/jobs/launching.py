"""A run of a job from its record to its tree: what is on disk before, what its driver is asked, until its ports serve.

Belongs here: the order of these steps, and the same for a tree that outlived the agent. Does not: what becomes of a job
whose start fails, and of others (job.py), what a process is given (start.py), how ports are found (ports.py).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack
from typing import TYPE_CHECKING

from prouter.agent.jobs.changed_output import last_output
from prouter.agent.jobs.coming_up import Rise
from prouter.agent.jobs.ports import PortFinder
from prouter.agent.jobs.records import Launch
from prouter.agent.jobs.room import save_now_or_later
from prouter.agent.jobs.runs import Start
from prouter.agent.jobs.start import build_command
from prouter.errors import InvalidRequest, StartFailed
from prouter.model import job_machine
from prouter.model.drivers import LaunchRequest, Running
from prouter.model.jobs import JobState, Port, PortMode, StartRequest
from prouter.model.process import Command

if TYPE_CHECKING:
    from prouter.agent.jobs.job import Job


def go_on(job: Job, start: Start, held: AsyncExitStack) -> Running | None:
    """A tree that served its ports before the agent ended does so now, and they are its own, also while it does not
    listen on them. None: there is none."""
    if start.running is None or job.record.state is not JobState.RUNNING:
        return None
    ports = job.around.ports
    for port in start.request.ports:
        known = job.record.ports.get(port.name)
        if port.mode is PortMode.REPORT:
            held.enter_context(ports.reported(job.record.uid, start.running, known))
        elif port.mode is PortMode.ASSIGN and known is not None and known.number is not None:
            held.enter_context(ports.kept(known.number))
    return start.running


async def launched(job: Job, start: Start, held: AsyncExitStack) -> tuple[Running, Sequence[PortFinder]]:
    """Its tree, launched now or by an earlier run of the agent, and who looks for its ports.

    Raises StartFailed, NoRoom, Unavailable, and what plugins refuse.
    """
    if start.running is None:
        return await _launch(job, start, held)
    finders = [held.enter_context(finder) for finder in _finders(job, start.request, start.launch.ports)]
    if job.record.started_at is None:
        job.become(job_machine.process_runs(job.record, start.running.pid, time.time()))
    return start.running, finders


async def served(
    job: Job, running: Running, finders: Sequence[PortFinder], request: StartRequest
) -> Mapping[str, Port]:
    """Its ports by name, once it serves them. Raises StartFailed."""
    rise = Rise(
        running,
        job.around.hooks,
        lambda ports: job_machine.serves(job.record, ports),
        lambda lines: last_output(job, running, lines),
    )
    return await rise.served(finders, request.ports)


async def _launch(job: Job, start: Start, held: AsyncExitStack) -> tuple[Running, Sequence[PortFinder]]:
    around, request = job.around, start.request
    await asyncio.to_thread(job.directory.begin_run, request)
    job.run = await job.run.next(job.directory.path)
    job.kept.run = job.run.to_wire()
    await job.kept.save(job.record)
    finders = [held.enter_context(finder) for finder in _finders(job, request)]
    if around.survive:
        picked = {
            port.name: finder.number
            for port, finder in zip(request.ports, finders, strict=True)
            if finder.number is not None
        }
        await asyncio.to_thread(job.directory.keep_launch, Launch(picked, job.run.begins_at))
    command = await _command(job, request, finders)
    running = job.running = await start.driver.start(LaunchRequest(job.record.uid, str(job.directory.path), command))
    job.launched.set()
    job.become(job_machine.process_runs(job.record, running.pid, time.time()))
    if around.survive and finders:
        await save_now_or_later(job)
    return running, finders


async def _command(job: Job, request: StartRequest, finders: Sequence[PortFinder]) -> Command:
    around = job.around
    inherited = await around.environment(job.record, request)
    await around.ports.clear(request.ports, job.directory.sandbox)
    try:
        return await asyncio.to_thread(
            build_command,
            request,
            inherited,
            finders,
            job.directory.sandbox,
            around.limits,
            output_files=not around.hooks.changes_output,
        )
    except InvalidRequest as error:  # it was right when the start was accepted; the sandbox has changed since
        raise StartFailed(error.detail.removeprefix("Invalid request: ")) from error


def _finders(
    job: Job, request: StartRequest, picked: Mapping[str, int] | None = None
) -> Iterator[AbstractContextManager[PortFinder]]:
    sandbox, first = job.directory.sandbox, True
    for port in request.ports:
        number = (picked or {}).get(port.name)
        yield job.around.ports.finder(port, job.record.uid, sandbox, first=first, number=number)
        first = first and port.mode is not PortMode.ASSIGN
