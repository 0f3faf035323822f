"""What a job inherits of the agent's environment: everything but what looks like a secret (`jobs.environment.*`)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import translate

from prouter import hookimpl
from prouter.model.plugin import ConfigSection
from prouter.model.services import AgentHost

DROP = (
    "*TOKEN*",
    "*SECRET*",
    "*PASSWORD*",
    "*PASSWD*",
    "*CREDENTIAL*",
    "*PRIVATE_KEY*",
    "*API_KEY*",
    "*APIKEY*",
    "*ACCESS_KEY*",
    "SSH_AUTH_SOCK",
    "GPG_AGENT_INFO",
    "*_AUTH",
    "*COOKIE*",
)
"""Names in which machines and CI systems keep secrets."""


class JobEnvironment:
    """Plugin `job_environment`."""

    def __init__(self) -> None:
        self._drop = _one_of(DROP)
        self._keep = _one_of(())

    @hookimpl
    def prouter_config_sections(self) -> Sequence[ConfigSection]:
        globs = {"type": "array", "items": {"type": "string", "minLength": 1}}
        return [
            ConfigSection(
                "jobs.environment",
                {
                    "drop": globs
                    | {
                        "default": list(DROP),
                        "description": "Names (globs, any case) of the agent's environment that jobs do not get.",
                    },
                    "keep": globs
                    | {"default": [], "description": "Names (globs, any case) that jobs get although they match drop."},
                },
            )
        ]

    @hookimpl
    def prouter_startup(self, agent: AgentHost) -> None:
        section = agent.config.section("jobs.environment")
        self._drop, self._keep = _one_of(section["drop"]), _one_of(section["keep"])

    @hookimpl
    def prouter_job_environment(self, env: Mapping[str, str]) -> Mapping[str, str]:
        keep, drop = self._keep.match, self._drop.match
        return {name: value for name, value in env.items() if keep(upper := name.upper()) or not drop(upper)}


def _one_of(globs: Sequence[str]) -> re.Pattern[str]:
    """For names in capitals, any of them; one expression, since each start asks of each name."""
    return re.compile("|".join(translate(pattern.upper()) for pattern in globs) or r"(?!)")
