"""Which way of holding process trees this system allows."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Protocol

from prouter.model.services import Guarded, Tasks


class Keeper(Guarded, Protocol):
    """A Guarded with a beginning and an end."""

    def enforced(self) -> Mapping[str, str]:
        """How each limit of a job is kept here, by its name; one that is not named can not be. Blocks."""

    async def start(self) -> None: ...

    async def close(self) -> None:
        """All trees are gone on return."""


def make_keeper(tasks: Tasks, *, cgroups: bool) -> Keeper:
    """Guardians on Linux; elsewhere what there is."""
    made: Keeper
    if sys.platform == "linux":
        from prouter.agent.guard.client import GuardKeeper

        made = GuardKeeper(tasks, cgroups=cgroups)
    else:
        from prouter.agent.guard.fallback import PlainKeeper

        made = PlainKeeper()
    return made
