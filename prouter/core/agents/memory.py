"""What the router keeps of its last run: agents' uids, and the agents that it dialed, with their tokens. File, 0600.

Nothing here is needed to be correct: without it, job paths of agents that are not back yet are 404 instead of 503,
and dialed agents are dialed again when a client names them.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prouter.model.access import Secret

log = logging.getLogger(__name__)

MAX_AGENTS = 10_000


@dataclass(frozen=True, slots=True)
class DialedAgent:
    """An agent that a client named by address."""

    address: str
    token: Secret | None
    """None: the client named none, so plugins are asked."""


@dataclass(frozen=True, slots=True)
class Remembered:
    uids: frozenset[str]
    dialed: tuple[DialedAgent, ...]


class AgentMemory:
    """The file. Writes are atomic; one that is torn or unreadable counts as empty."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._behind = False
        """What was to be written last is not on disk."""

    def read(self) -> Remembered:
        try:
            data = json.loads(self._path.read_text("utf-8"))
            uids = frozenset(str(uid) for uid in data["uids"])
            dialed = tuple(DialedAgent(str(d["address"]), _token(d["token"])) for d in data["dialed"])
        except FileNotFoundError:
            return Remembered(frozenset(), ())
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s can not be read and is left out: %s", self._path, type(error).__name__)
            return Remembered(frozenset(), ())
        return Remembered(uids, dialed)

    def write(self, uids: Iterable[str], dialed: Iterable[DialedAgent]) -> bool:
        """Whether it is on disk. Called off the event loop. Of failures one after another the first is logged."""
        data: Mapping[str, Any] = {
            "uids": sorted(uids)[:MAX_AGENTS],
            "dialed": [
                {"address": agent.address, "token": agent.token.reveal() if agent.token is not None else None}
                for agent in dialed
            ],
        }
        fresh = self._path.with_name(f"{self._path.name}.{os.getpid()}.new")
        try:
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
                json.dump(data, file)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
        except OSError as error:
            if not self._behind:
                log.warning("%s can not be written, it is tried again: %s", self._path, error.strerror)
            with contextlib.suppress(OSError):
                fresh.unlink()
            self._behind = True
        else:
            self._behind = False
        return not self._behind


def _token(kept: Any) -> Secret | None:
    return Secret(str(kept)) if kept is not None else None
