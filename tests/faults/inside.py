"""What a daemon has inside: tasks, and objects of ours by their type. A plugin that writes it down when it is asked to.

Belongs here: the plugin and how a test asks it. Does not: what /proc tells (sampling.py).
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

from prouter import hookimpl
from prouter.testing import Daemon, eventually

PLACE = "inside.json"
"""In the daemon's working directory."""


def _tell() -> None:
    gc.collect()
    ours = Counter(
        f"{kind.__module__}.{kind.__qualname__}"
        for kind in map(type, gc.get_objects())
        if str(kind.__module__).startswith("prouter.")  # it is not a text everywhere
    )
    fresh = Path(PLACE + ".new")
    fresh.write_text(json.dumps({"tasks": len(asyncio.all_tasks()), "objects": ours}))
    fresh.replace(PLACE)


class RouterInside:
    """For `fleet.router(plugins=[...])`."""

    @hookimpl
    def prouter_startup(self, router: Any) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, _tell)


class AgentInside:
    """For `fleet.agent(plugins=[...])`."""

    @hookimpl
    def prouter_startup(self, agent: Any) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, _tell)


async def inside(daemon: Daemon) -> dict[str, int]:
    """How many there are of each type, and "tasks"."""
    place = daemon.place / PLACE
    place.unlink(missing_ok=True)
    os.kill(daemon.pid, signal.SIGUSR2)
    await eventually(place.exists, what="a daemon's word of what is inside")
    told = json.loads(place.read_text())
    return {"tasks": told["tasks"], **told["objects"]}
