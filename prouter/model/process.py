"""A program to start and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Command:
    """A program with everything resolved."""

    args: tuple[str, ...]
    env: Mapping[str, str]
    """The whole environment; names and values may hold surrogate escapes."""
    cwd: str
    """Absolute."""
    timeout_seconds: float | None = None
    limits: Mapping[str, int] = field(default_factory=dict)
    forward_stdout: bool = False
    """Its output goes to the agent's own, too, instead of into files in the sandbox."""
    output_files: bool = True
    """Whether copies of its output are made in the sandbox, `.pagent.stdout` and `.pagent.stderr`."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process tree ended."""

    exit_code: int | None
    """Negative: minus the signal's number; None when nobody knows."""
    reason: str
    finished_at: float
    """Seconds since the epoch."""
    detail: str = ""
    """What the job did to be ended, for people: "it used more memory than its limit of 64 MiB"; or nothing."""
