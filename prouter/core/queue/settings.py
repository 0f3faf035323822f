"""The queue's part of the router's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prouter.model.plugin import ConfigSection

SECTION = ConfigSection(
    "queue",
    {
        "max_jobs": {
            "type": "integer",
            "minimum": 0,
            "maximum": 100000,
            "default": 1000,
            "description": "Jobs that may wait for an agent with room; beyond it the answer is 503. 0: none waits.",
        },
        "max_wait": {
            "type": "number",
            "exclusiveMinimum": 0,
            "default": 86400,
            "description": "Seconds for which a job may wait at most, whatever its client asks for.",
        },
        "kept": {
            "type": "number",
            "minimum": 0,
            "default": 600,
            "description": "Seconds for which it is still told of a job why it was given up, at most queue.max_jobs of "
            "them.",
        },
    },
)


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """Seconds as named."""

    most: int
    max_wait_seconds: float
    kept_seconds: float

    @classmethod
    def read(cls, section: Mapping[str, Any]) -> QueueSettings:
        """From a validated section."""
        return cls(section["max_jobs"], section["max_wait"], section["kept"])
