"""From a launch to a job that is up: its ports served, and found ready by plugins.

Belongs here: what is waited for together, and what is said when it does not come. Does not: how a port is found
(port_modes.py), what happens to the job then (job.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from prouter.agent.jobs.ending import exits, last_lines
from prouter.agent.jobs.hooks import JobHooks
from prouter.agent.jobs.ports import PortFinder
from prouter.errors import PortNotServed, ProuterError, StartFailed
from prouter.model.drivers import Running
from prouter.model.jobs import JobRecord, Port, PortRequest


class Rise:
    """Of one start. `serving` makes the record that the job has with those ports, `last_output` gives so many lines."""

    def __init__(
        self,
        running: Running,
        hooks: JobHooks,
        serving: Callable[[Mapping[str, Port]], JobRecord],
        last_output: Callable[[int], Awaitable[str]],
    ) -> None:
        self._running = running
        self._hooks = hooks
        self._serving = serving
        self._last_output = last_output

    async def served(self, finders: Sequence[PortFinder], requests: Sequence[PortRequest]) -> Mapping[str, Port]:
        """All ports. Raises PortNotServed, ProcessExited, with the last lines of output; what a plugin fails with."""
        if not finders:
            return {}
        failed: ProuterError | None = None
        try:
            async with asyncio.TaskGroup() as group:
                exited = group.create_task(exits(self._running), name=f"exit of process {self._running.pid}")
                until = max(request.ready_timeout_seconds for request in requests)
                ports = await self._ready(group, finders, until)
                exited.cancel()
        except* ProuterError as errors:
            failed = next(error for error in errors.exceptions if isinstance(error, ProuterError))
        if isinstance(failed, StartFailed):  # raised within except*, it would come as a group before Python 3.11.4
            raise type(failed)(failed.detail + await last_lines(self._last_output)) from failed
        if failed is not None:
            raise failed
        return ports

    async def _ready(
        self, group: asyncio.TaskGroup, finders: Sequence[PortFinder], seconds: float
    ) -> Mapping[str, Port]:
        until = asyncio.get_running_loop().time() + seconds
        serving = [group.create_task(finder.served(self._running), name="port") for finder in finders]
        found = [await task for task in serving]
        ports = {port.name: port for port in found}
        for plugin in self._hooks.ready_asked:
            try:
                async with asyncio.timeout_at(until):
                    await self._hooks.ready(self._serving(ports), plugin)
            except TimeoutError:
                raise PortNotServed(f"plugin {plugin!r} did not find the job ready within {seconds:g} s") from None
        return ports
