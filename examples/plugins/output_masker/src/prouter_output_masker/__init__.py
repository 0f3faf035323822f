"""Secrets that a job was given, or that look like ones, are stars in what clients read of its output."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from prouter import agent_hookspecs, implements
from prouter.errors import ConfigError
from prouter.model.ids import JobUid
from prouter.model.jobs import JobRecord, StartRequest
from prouter.model.output import OutputStream
from prouter.model.plugin import ConfigSection
from prouter.model.services import AgentHost

NAME = "output_masker"
LINES = re.compile(r"[\r\n]+")
TEXTS: dict[str, Any] = {"type": "array", "items": {"type": "string", "minLength": 1}}
SETTINGS: dict[str, dict[str, Any]] = {
    "variables": TEXTS
    | {
        "default": ["*TOKEN*", "*SECRET*", "*PASSWORD*", "*PRIVATE_KEY*", "*API_KEY*"],
        "description": "Names (globs, any case) of a job's environment variables whose values are masked.",
    },
    "patterns": TEXTS
    | {
        "default": [],
        "description": "Regular expressions (Python's, of bytes) that are masked; of one with a group the first group.",
    },
    "least_characters": {
        "type": "integer",
        "minimum": 1,
        "default": 6,
        "description": "Characters of a value, or of one of its lines, below which it is not masked.",
    },
}


class OutputMasker:
    """Learns the values at each start and masks them at each reading; what is on disk stays as the job wrote it."""

    prouter_api_version = 1

    def __init__(self) -> None:
        self._secrets: dict[JobUid, frozenset[str]] = {}
        self._masks: dict[JobUid, re.Pattern[bytes]] = {}

    @implements(agent_hookspecs.prouter_config_sections)
    def prouter_config_sections(self) -> Sequence[ConfigSection]:
        return [ConfigSection(NAME, SETTINGS)]

    @implements(agent_hookspecs.prouter_startup)
    async def prouter_startup(self, agent: AgentHost) -> None:
        section = agent.config.section(NAME)
        self._variables = [glob.upper() for glob in section["variables"]]
        self._least: int = section["least_characters"]
        self._place = agent.state_directory
        try:
            self._patterns = [re.compile(pattern.encode()) for pattern in section["patterns"]]
        except re.error as error:
            raise ConfigError([f"{NAME}.patterns: {error} in {error.pattern!r}"]) from None
        for job, secrets in (await asyncio.to_thread(_kept, self._place)).items():
            self._learn(job, secrets)

    @implements(agent_hookspecs.prouter_job_environment)
    async def prouter_job_environment(
        self, env: Mapping[str, str], record: JobRecord, request: StartRequest
    ) -> Mapping[str, str] | None:
        values = [value for name, value in {**env, **request.env}.items() if self._is_secret(name)]
        lines = {line.strip() for value in values for line in LINES.split(value)}
        fresh = {line for line in lines if len(line) >= self._least}
        known = self._secrets.get(record.uid, frozenset())
        if not fresh <= known:  # those of an earlier start stay: its output is still there
            self._learn(record.uid, fresh | known)
            await asyncio.to_thread(_keep, self._place, record.uid, fresh | known)
        return None

    @implements(agent_hookspecs.prouter_job_output)
    def prouter_job_output(self, data: bytes, record: JobRecord, stream: OutputStream | None) -> bytes | None:
        mask = self._masks.get(record.uid)
        masked = mask.sub(_stars, data) if mask is not None else data
        for pattern in self._patterns:
            masked = pattern.sub(_stars, masked)
        return masked

    @implements(agent_hookspecs.prouter_cleanup_sandbox)
    async def prouter_cleanup_sandbox(self, record: JobRecord, sandbox: Path) -> None:
        self._secrets.pop(record.uid, None)
        self._masks.pop(record.uid, None)
        await asyncio.to_thread((self._place / record.uid).unlink, missing_ok=True)

    def _is_secret(self, name: str) -> bool:
        return any(fnmatchcase(name.upper(), glob) for glob in self._variables)

    def _learn(self, job: JobUid, secrets: Iterable[str]) -> None:
        self._secrets[job] = frozenset(secrets)
        longest_first = sorted((os.fsencode(secret) for secret in secrets), key=len, reverse=True)
        self._masks[job] = re.compile(b"|".join(map(re.escape, longest_first)))


def _stars(found: re.Match[bytes]) -> bytes:
    """As many bytes as there were: clients go on by offset."""
    whole, (begin, end) = found[0], found.span()
    if found.re.groups and found.start(1) >= 0:
        first, last = found.start(1) - begin, found.end(1) - begin
        return whole[:first] + b"*" * (last - first) + whole[last:]
    return b"*" * (end - begin)


def _keep(place: Path, job: JobUid, secrets: Iterable[str]) -> None:
    """For the agent's next run. Blocks."""
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = place / f".{job}"
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(sorted(secrets), file)
    fresh.replace(place / job)


def _kept(place: Path) -> dict[JobUid, list[str]]:
    """Of the agent's earlier runs. Blocks."""
    if not place.is_dir():
        return {}
    return {
        JobUid(file.name): json.loads(file.read_text()) for file in place.iterdir() if not file.name.startswith(".")
    }
