"""How far output that plugins change is looked at around what is read. Import light, for settings.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prouter.model.plugin import ConfigSection

SECTION = ConfigSection(
    "output",
    {
        "line_wait": {
            "type": "number",
            "minimum": 0,
            "maximum": 10,
            "default": 0.5,
            "description": "Seconds that who reads output waits for the end of a line, where a plugin changes output.",
        },
        "line_bytes": {
            "type": "integer",
            "minimum": 64,
            "maximum": 1048576,
            "default": 8192,
            "description": "Bytes of a line, before and behind what is read, that a plugin is shown which changes "
            "output; what it is to find in a longer line must be shorter.",
        },
    },
)


@dataclass(frozen=True, slots=True)
class LineLimits:
    """How much is waited for the end of a line that is not there yet."""

    wait_seconds: float
    bytes: int
    """Of a line on each side of what is read; of longer ones a plugin sees so much."""

    @classmethod
    def read(cls, section: Mapping[str, Any]) -> LineLimits:
        """From the section `output`."""
        return cls(section["line_wait"], section["line_bytes"])
