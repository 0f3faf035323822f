"""Which way of holding process trees this system allows."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Protocol

from prouter.agent.guard.adoption import Survival
from prouter.errors import ConfigError
from prouter.model.agent_services import Guarded
from prouter.model.services import Tasks

UNHURRIED_SECONDS = 25.0
"""Who has so long for a call waits for keeper and guardian as long as their modules say; who has less, for a part."""


class Keeper(Guarded, Protocol):
    """A Guarded with a beginning and an end."""

    def enforced(self) -> Mapping[str, str]:
        """How each limit of a job is kept here, by its name; one that is not named can not be. Blocks."""

    async def start(self) -> None: ...

    async def close(self) -> None:
        """All trees are gone on return."""


def make_keeper(
    tasks: Tasks, *, cgroups: bool, survival: Survival | None = None, call_seconds: float = UNHURRIED_SECONDS
) -> Keeper:
    """Guardians on Linux; elsewhere what there is. `survival`: what guardians do without their agent; None: end.
    `call_seconds` is what a driver has for each of its calls: who hangs is given no longer than fits into that.

    Raises ConfigError for what this system can not do.
    """
    made: Keeper
    if sys.platform == "linux":
        from prouter.agent.guard.client import GuardKeeper

        patience = min(1.0, call_seconds / UNHURRIED_SECONDS)
        made = GuardKeeper(tasks, cgroups=cgroups, survival=survival, patience=patience)
    else:
        if survival is not None:
            raise ConfigError([f"jobs.survive_agent: no job can outlive its agent on {sys.platform}, only on Linux"])
        from prouter.agent.guard.fallback import PlainKeeper

        made = PlainKeeper()
    return made
