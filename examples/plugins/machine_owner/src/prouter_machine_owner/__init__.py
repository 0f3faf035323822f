"""What this machine has, as properties and counted resources of its agent, and which programs may run on it."""

from __future__ import annotations

import asyncio
import fnmatch
import logging
import os
import shutil
from collections.abc import Sequence
from typing import Any

from prouter import agent_hookspecs, implements
from prouter.model.access import Refusal
from prouter.model.agents import MachineFacts
from prouter.model.jobs import JobRecord, StartRequest
from prouter.model.plugin import ConfigSection
from prouter.model.services import AgentHost

log = logging.getLogger(__name__)

NAME = "machine_owner"
SECONDS = 10.0
"""For nvidia-smi to answer."""
SETTINGS: dict[str, dict[str, Any]] = {
    "programs": {
        "type": ["array", "null"],
        "items": {"type": "string", "minLength": 1},
        "default": None,
        "description": "Shell patterns of the programs that may run: of a job's first argument. None: any.",
    },
    "memory_name": {
        "type": ["string", "null"],
        "default": "memory_mib",
        "description": "Name of the counted resource that stands for the memory in MiB. None: it is not counted.",
    },
}


class MachineOwner:
    """Facts of the machine, a veto on starts."""

    prouter_api_version = 1

    def __init__(self) -> None:
        self._mistakes = 0

    @implements(agent_hookspecs.prouter_config_sections)
    def prouter_config_sections(self) -> Sequence[ConfigSection]:
        return [ConfigSection(NAME, SETTINGS)]

    @implements(agent_hookspecs.prouter_startup)
    def prouter_startup(self, agent: AgentHost) -> None:
        section = agent.config.section(NAME)
        self._programs: Sequence[str] | None = section["programs"]
        self._memory_name: str | None = section["memory_name"]

    @implements(agent_hookspecs.prouter_agent_properties)
    async def prouter_agent_properties(self) -> MachineFacts | None:
        memory, gpus = memory_mib(), await count_gpus()
        properties = {"cpus": str(os.cpu_count() or 1), "memory_mib": str(memory), "gpus": str(gpus)}
        capacity = {"gpu": gpus} if gpus else {}
        if self._memory_name is not None and memory:
            capacity[self._memory_name] = memory
        return MachineFacts(properties, capacity)

    @implements(agent_hookspecs.prouter_admit_start)
    def prouter_admit_start(self, record: JobRecord, request: StartRequest) -> Refusal | None:
        program = request.args[0]
        if self._programs is None or any(fnmatch.fnmatchcase(program, pattern) for pattern in self._programs):
            return None
        return Refusal(f"{program[:200]} may not run on this machine")

    @implements(agent_hookspecs.prouter_handle_exception)
    def prouter_handle_exception(self, error: BaseException, about: str) -> None:
        self._mistakes += 1

    @implements(agent_hookspecs.prouter_shutdown)
    def prouter_shutdown(self) -> None:
        if self._mistakes:
            log.warning("%d unexpected exceptions while this agent ran", self._mistakes)


def memory_mib() -> int:
    """Of the whole machine; 0 where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    except (AttributeError, ValueError, OSError):
        return 0


async def count_gpus() -> int:
    """As nvidia-smi lists them; 0 without it, and where it does not answer."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return 0
    process = await asyncio.create_subprocess_exec(program, "-L", stdout=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(SECONDS):
            told, _ = await process.communicate()
    except TimeoutError:
        return 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return told.count(b"GPU ") if process.returncode == 0 else 0
