"""Which way of holding process trees this system allows."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Protocol

from prouter.agent.guard.adoption import Survival
from prouter.errors import ConfigError
from prouter.model.services import Guarded, Tasks


class Keeper(Guarded, Protocol):
    """A Guarded with a beginning and an end."""

    def enforced(self) -> Mapping[str, str]:
        """How each limit of a job is kept here, by its name; one that is not named can not be. Blocks."""

    async def start(self) -> None: ...

    async def close(self) -> None:
        """All trees are gone on return."""


def make_keeper(tasks: Tasks, *, cgroups: bool, survival: Survival | None = None) -> Keeper:
    """Guardians on Linux; elsewhere what there is. `survival`: what guardians do without their agent; None: end.

    Raises ConfigError for what this system can not do.
    """
    made: Keeper
    if sys.platform == "linux":
        from prouter.agent.guard.client import GuardKeeper

        made = GuardKeeper(tasks, cgroups=cgroups, survival=survival)
    else:
        if survival is not None:
            raise ConfigError([f"jobs.survive_agent: no job can outlive its agent on {sys.platform}, only on Linux"])
        from prouter.agent.guard.fallback import PlainKeeper

        made = PlainKeeper()
    return made
