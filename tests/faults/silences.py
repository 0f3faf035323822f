"""How long a daemon heard nothing over its links: what a heartbeat that is late looks like before a link is given up.

Belongs here: the plugin that writes it down, and what a test reads of it. Does not: what silence
means (rpc/websocket.py).
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from prouter import hookimpl
from prouter.rpc.websocket import WebsocketChannel
from prouter.testing import Daemon

PLACE = "silences"
"""In the daemon's working directory: a line with the seconds of each silence that was the longest until then."""
JUST_NOW_SECONDS = 0.02
"""A time that is longer ago is none at which something came: a daemon that stood still excuses its peer with those."""


class _Heard:
    """In the place of the channel's note of when it heard something last."""

    def __init__(self) -> None:
        self._longest = 0.0

    def __get__(self, channel: Any, owner: type) -> float:
        noted: float = vars(channel)["heard"]
        return noted

    def __set__(self, channel: Any, noted: float) -> None:
        seen = vars(channel)
        seen["heard"] = noted
        if asyncio.get_running_loop().time() - noted > JUST_NOW_SECONDS:
            return
        silence = noted - seen.get("really heard", noted)
        seen["really heard"] = noted
        if silence > self._longest:
            self._longest = silence
            with Path(PLACE).open("a") as file:
                file.write(f"{silence}\n")


class RouterSilences:
    """For `fleet.router(plugins=[...])`."""

    @hookimpl
    def prouter_startup(self, router: Any) -> None:
        WebsocketChannel._heard_at = _Heard()  # type: ignore[assignment]


class AgentSilences:
    """For `fleet.agent(plugins=[...])`."""

    @hookimpl
    def prouter_startup(self, agent: Any) -> None:
        WebsocketChannel._heard_at = _Heard()  # type: ignore[assignment]


def longest_silence(daemon: Daemon) -> float:
    """Seconds in which nothing came over a link of its, at most."""
    return max(map(float, (daemon.place / PLACE).read_text().split()))
