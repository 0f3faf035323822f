"""What a job may use on this agent: defaults, ceilings, and how each limit is kept. Nothing is watched here."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from prouter.errors import InvalidRequest, NotPossible
from prouter.model.plugin import ConfigSection

log = logging.getLogger(__name__)

WHAT = {
    "memory_bytes": "Bytes of memory of one job's processes together",
    "processes": "Processes of one job",
    "cpu_seconds": "Seconds of CPU time of one job's processes together",
    "file_bytes": "Bytes to which one job's process may let a file grow",
    "output_bytes": "Bytes of a job's output that are kept, the newest; its files .pagent.stdout and .pagent.stderr are"
    " limited in the same way",
    "sandbox_bytes": "Bytes on disk of one job's sandbox",
}
DEFAULTS = {"processes": 512, "output_bytes": 256 * 1024 * 1024}
LEAST = {"output_bytes": 4096}
MAX = 1 << 53
"""What every JSON parser can say exactly."""


def _limit(name: str, words: str, default: int | None) -> Mapping[str, Any]:
    kind: Any = "integer" if default is not None else ["integer", "null"]
    return {
        "type": kind,
        "minimum": LEAST.get(name, 1),
        "maximum": MAX,
        "default": default,
        "description": f"{WHAT[name]}{words}",
    }


SECTIONS = (
    ConfigSection(
        "jobs.limits",
        {
            name: _limit(
                name,
                ". A start can name a lower limit."
                if name == "output_bytes"
                else ", unless its start names another limit." + ("" if name in DEFAULTS else " None: not limited."),
                DEFAULTS.get(name),
            )
            for name in WHAT
        },
    ),
    ConfigSection(
        "jobs.limits.max",
        {
            name: _limit(name, ": the most that a start can name, and that holds for all others too. None: any.", None)
            for name in WHAT
            if name != "output_bytes"
        },
    ),
)


@dataclass(frozen=True, slots=True)
class JobLimits:
    """By name of the limit, in its unit. What is not named is not limited."""

    defaults: Mapping[str, int]
    ceilings: Mapping[str, int]
    enforced: Mapping[str, str] = field(default_factory=dict)
    """How each is kept here; a limit that is not named can not be."""

    @classmethod
    def read(cls, defaults: Mapping[str, Any], ceilings: Mapping[str, Any], enforced: Mapping[str, str]) -> JobLimits:
        """From validated sections. Output has one number for both. What nobody would keep is told to the log."""
        given = {name: limit for name, limit in defaults.items() if limit is not None}
        most = {name: limit for name, limit in ceilings.items() if limit is not None}
        for name in (given | most).keys() - enforced.keys() - DEFAULTS.keys():
            log.warning("jobs.limits: this system has no way to limit %s of a job", name)
        return cls(given, most | {"output_bytes": given["output_bytes"]}, enforced)

    def check(self, asked: Mapping[str, int]) -> None:
        """Raises InvalidRequest for more than a ceiling, NotPossible for a limit that nobody would keep."""
        for name, limit in asked.items():
            most = self.ceilings.get(name, limit)
            if limit > most and name == "output_bytes":
                raise InvalidRequest(f"Invalid request: this agent keeps at most {most} output_bytes of a job")
            if limit > most:
                raise InvalidRequest(f"Invalid request: this agent allows a job at most {most} {name}, not {limit}")
            if name not in self.enforced:
                raise NotPossible(f"this agent's system has no way to limit {name} of a job")

    def of(self, asked: Mapping[str, int]) -> dict[str, int]:
        """What holds for a start that asked so, within the ceilings of now (a restart may have asked for more)."""
        wanted = dict(self.ceilings) | dict(self.defaults) | dict(asked)
        return {name: min(limit, self.ceilings.get(name, limit)) for name, limit in wanted.items()}
