"""A driver that runs jobs in bubblewrap: a read-only machine, a home of their own, a loopback of their own."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from prouter import agent_hookspecs, implements
from prouter.errors import ConfigError, ProgramMissing, StartFailed
from prouter.model.access import Refusal
from prouter.model.ids import JobUid
from prouter.model.jobs import JobRecord, PortMode, StartRequest
from prouter.model.plugin import ConfigSection, Driver, LaunchRequest, Running
from prouter.model.process import Command, Exit
from prouter.model.services import AgentHost

NAME = "bubblewrap"
PROBE_SECONDS = 10.0
PATHS: dict[str, Any] = {"type": "array", "items": {"type": "string", "pattern": "^/"}}
SETTINGS: dict[str, dict[str, Any]] = {
    "command": {"type": "string", "default": "bwrap", "description": "Name or path of the program bubblewrap."},
    "hide": PATHS
    | {"default": ["/home", "/root", "/run", "/mnt", "/media"], "description": "Absolute paths that jobs find empty."},
    "show": PATHS | {"default": [], "description": "Absolute paths below hidden ones that jobs may read."},
}
# bubblewrap passes no signal on and would die of it, and the job with it: it ignores them, the job does not.
DEAF = ("env", "--ignore-signal=HUP,INT,QUIT,TERM,USR1,USR2")
HEARS_AGAIN = ("env", "--default-signal")


class BubblewrapDriver:
    """The plugin, and its one driver. The guardian holds the tree: all of it ends with bubblewrap, and that with it."""

    prouter_api_version = 1
    name = NAME

    def __init__(self) -> None:
        self._works = False

    @implements(agent_hookspecs.prouter_config_sections)
    def prouter_config_sections(self) -> Sequence[ConfigSection]:
        return [ConfigSection(NAME, SETTINGS)]

    @implements(agent_hookspecs.prouter_startup)
    async def prouter_startup(self, agent: AgentHost) -> None:
        self._guarded = agent.guarded
        section = agent.config.section(NAME)
        self._program: str = section["command"]
        self._hidden: Sequence[str] = section["hide"]
        self._shown: Sequence[str] = section["show"]
        self._chosen = agent.config.section("jobs")["driver"] == NAME
        if self._chosen and (why := await self._unusable()):
            raise ConfigError([f"jobs.driver: {why}"])

    @implements(agent_hookspecs.prouter_drivers)
    def prouter_drivers(self) -> Sequence[Driver]:
        return [self]

    @implements(agent_hookspecs.prouter_admit_start)
    def prouter_admit_start(self, record: JobRecord, request: StartRequest) -> Refusal | None:
        wrong = [port.name for port in request.ports if port.mode is not PortMode.UNIX] if self._chosen else []
        if not wrong:
            return None
        return Refusal(f"a job here has a loopback of its own: ask for port {wrong[0]!r} with the mode unix")

    async def start(self, request: LaunchRequest) -> Running:
        if not self._works and (why := await self._unusable()):
            raise StartFailed(why)
        command = request.command
        if not await asyncio.to_thread(_is_program, command):
            raise ProgramMissing(f"there is no program {command.args[0]!r} that could be executed")
        sandbox = Path(request.job_directory, "sandbox")
        mounts = await asyncio.to_thread(mount_options, sandbox, self._hidden, self._shown)
        wrapped = replace(
            command,
            args=(*DEAF, *self._options(), *mounts, "--chdir", command.cwd, "--", *HEARS_AGAIN, "--", *command.args),
            env={**command.env, "HOME": str(sandbox)},
        )
        return await self._guarded.launch(replace(request, command=wrapped))

    async def recover(self, job: JobUid, job_directory: str) -> Running | Exit | None:
        return await self._guarded.recover(job, job_directory)

    async def destroy(self, job: JobUid, job_directory: str) -> None:
        await self._guarded.destroy(job, job_directory)

    def _options(self) -> Sequence[str]:
        return (self._program, "--unshare-all", "--die-with-parent", "--cap-drop", "ALL")

    async def _unusable(self) -> str:
        """Why nothing can be run here; empty when it can."""
        if not shutil.which(self._program):
            return f"there is no {self._program!r} here: install bubblewrap, or choose another driver (process)"
        words = (*self._options(), "--ro-bind", "/", "/", "--", "true")
        process = await asyncio.create_subprocess_exec(*words, stdout=-3, stdin=-3, stderr=-1)
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                _, said = await process.communicate()
        except TimeoutError:
            process.kill()
            said = b"it did not end"
        self._works = await process.wait() == 0
        return "" if self._works else f"bubblewrap does not work here: {said.decode(errors='replace').strip()[:500]}"


def mount_options(sandbox: Path, hidden: Sequence[str], shown: Sequence[str]) -> list[str]:
    """What a job sees: all read-only, nothing of other jobs, and its sandbox at its own path. Blocks."""
    options = ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--perms", "1777", "--tmpfs", "/tmp"]
    for path in (*hidden, str(sandbox.parents[1])):
        if Path(path).is_dir():
            options += ["--tmpfs", path]
        elif Path(path).exists():
            options += ["--ro-bind", "/dev/null", path]
    for path in shown:
        options += ["--ro-bind-try", path, path]
    return [*options, "--bind", str(sandbox), str(sandbox)]


def _is_program(command: Command) -> bool:
    name = command.args[0]
    place = str(Path(command.cwd, name)) if "/" in name else name
    return shutil.which(place, path=command.env.get("PATH")) is not None
