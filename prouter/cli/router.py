"""`prouter`: the router's daemon."""

from __future__ import annotations

from collections.abc import Sequence

from prouter import hookspecs
from prouter.cli import options, serving
from prouter.core.settings import SECTIONS

KIND = options.Kind(
    "router",
    "pRouter - aggregate multiple pAgents.",
    "PROUTER",
    "prouter.plugins",
    hookspecs,
    SECTIONS,
    "Commands: prouter agent (runs jobs on this machine), prouter up (a router and one local agent), prouter top "
    "(agents, jobs and what goes through them), prouter drain and "
    "undrain (an agent takes no new jobs, or takes them again), prouter explain (which plugin decided what, and why), "
    "prouter plugins (which plugins are there, and what is wrong with them); each has --help.",
)


def run(words: Sequence[str]) -> int:
    return serving.run(KIND, "prouter.core.app", words)
