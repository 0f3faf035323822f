"""`prouter agent`: the agent's daemon."""

from __future__ import annotations

from collections.abc import Sequence

from prouter import agent_hookspecs
from prouter.agent.sections import SECTIONS
from prouter.cli import options, serving

KIND = options.Kind(
    "agent",
    "pAgent - run jobs on this machine for routers that it dials or that dial it.",
    "PAGENT",
    "prouter.agent_plugins",
    agent_hookspecs,
    SECTIONS,
)


def run(words: Sequence[str]) -> int:
    return serving.run(KIND, "prouter.agent.app", words)
