"""What the agent asks plugins about its jobs: each question with the words in which its refusal or failure is told.

Belongs here: which hook is asked with what, and what an answer means. Does not: when it is asked (registry.py, job.py,
output.py, files/). Where nobody implements a hook nothing is built or awaited.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from pathlib import Path

from prouter.errors import Forbidden, PluginFailure, ProuterError
from prouter.model.access import Refusal
from prouter.model.jobs import JobRecord, StartRequest
from prouter.model.output import OutputStream
from prouter.model.writes import FileWrite
from prouter.pluginkit.calling import Hooks

log = logging.getLogger(__name__)

PREPARE, CLEANUP = "prouter_prepare_sandbox", "prouter_cleanup_sandbox"
WRITE = "prouter_before_file_write"
READY = "prouter_job_ready"
OUTPUT = "prouter_job_output"
IDLE = "prouter_job_idle"
START = "prouter_admit_start"


class JobHooks:
    """The questions."""

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks

    # --- sandboxes ---

    @property
    def prepares(self) -> bool:
        """Whether anybody puts something into new sandboxes."""
        return self._hooks.implemented(PREPARE)

    async def prepare(self, record: JobRecord, sandbox: Path, done: list[str]) -> None:
        """Each in its order. `done` gets who did it, for `cleanup`. Raises what one failed with, its name in it."""
        for plugin in self._hooks.plugins(PREPARE):
            await self._one(PREPARE, plugin, "prepare the sandbox", record=record, sandbox=sandbox)
            done.append(plugin)

    async def cleanup(self, record: JobRecord, sandbox: Path, only: Collection[str] | None = None) -> None:
        """In the reverse order, all of them or only those; one that fails is logged. Nothing where no sandbox is."""
        if not self._hooks.implemented(CLEANUP) or not await asyncio.to_thread(sandbox.is_dir):
            return
        for plugin in self._hooks.plugins(CLEANUP):
            if only is None or plugin in only:
                try:
                    await self._hooks.first(CLEANUP, only=(plugin,), record=record, sandbox=sandbox)
                except ProuterError as error:
                    log.error("plugin %s did not clean up after job %s: %s", plugin, record.uid, error.detail)

    # --- files ---

    @property
    def guards_writes(self) -> bool:
        """Whether anybody has a say in what is written."""
        return self._hooks.implemented(WRITE)

    async def before_write(self, record: JobRecord, write: FileWrite) -> None:
        """Raises Forbidden with the plugin's reason."""
        refused = await self._hooks.veto(WRITE, record=record, write=write)
        if refused is not None:
            raise Forbidden(f"{write.path!r} is not taken: {refused[1].reason}")

    # --- a run ---

    async def admit_start(self, record: JobRecord, request: StartRequest) -> None:
        """Raises Forbidden with the plugin's reason."""
        if not self._hooks.implemented(START):
            return
        refused = await self._hooks.veto(START, record=record, request=request)
        if refused is not None:
            raise Forbidden(f"the start is not admitted: {refused[1].reason}")

    @property
    def ready_asked(self) -> list[str]:
        """The plugins that have a say in whether a job is ready, in their order."""
        return self._hooks.plugins(READY)

    async def ready(self, record: JobRecord, plugin: str) -> None:
        """When that plugin finds the job ready. Raises what it failed with, its name in it."""
        await self._one(READY, plugin, "find the job ready", record=record)

    @property
    def changes_output(self) -> bool:
        """Whether anybody changes what clients see of output."""
        return self._hooks.implemented(OUTPUT)

    async def output(self, data: bytes, record: JobRecord, stream: OutputStream | None) -> bytes:
        """What clients see instead, as many bytes. Raises what a plugin failed with."""
        for plugin in self._hooks.plugins(OUTPUT):
            found = await self._hooks.first(OUTPUT, only=(plugin,), data=data, record=record, stream=stream)
            if found is not None:
                changed = found[1]
                if not isinstance(changed, bytes) or len(changed) != len(data):
                    shown = f"{len(changed)} bytes" if isinstance(changed, bytes) else type(changed).__name__
                    raise PluginFailure(
                        plugin, OUTPUT, f"it made {shown} of {len(data)} bytes, which must stay as many"
                    )
                data = changed
        return data

    async def may_end_idle(self, record: JobRecord, idle_seconds: float) -> Refusal | None:
        """Why the job is to be kept, or None. Raises what a plugin failed with."""
        if not self._hooks.implemented(IDLE):
            return None
        refused = await self._hooks.veto(IDLE, record=record, idle_seconds=idle_seconds)
        return Refusal(f"{refused[1].reason} ({refused[0]})") if refused is not None else None

    # --- its parts ---

    async def _one(self, hook: str, plugin: str, what: str, **arguments: object) -> None:
        """An error that the plugin raised on purpose is told with its name, of the same kind."""
        try:
            await self._hooks.first(hook, only=(plugin,), **arguments)
        except PluginFailure:
            raise
        except ProuterError as error:
            before = f"plugin {plugin!r} could not {what}: "
            error.detail = before + error.detail.removeprefix(before)
            raise
