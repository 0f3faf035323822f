"""What the router keeps of its last run: agents' uids, and the agents that it dialed, with their tokens. File, 0600.

Nothing here is needed to be correct: without it, job paths of agents that are not back yet are 404 instead of 503,
and dialed agents are dialed again when a client names them.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prouter.model.access import Secret
from prouter.pluginkit.durable import TORN, replace_file, set_aside

log = logging.getLogger(__name__)

MAX_AGENTS = 10_000
MAX_BYTES = 64 * 1024 * 1024
"""Of the file; what is larger is none of ours."""


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
    """The file. Writes are atomic; one that is torn is set aside and counts as empty, as does what can not be read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._behind = False
        """What was to be written last is not on disk."""

    def read(self) -> Remembered:
        try:
            with self._path.open("rb") as file:
                return _remembered(file.read(MAX_BYTES + 1))
        except FileNotFoundError:
            pass
        except OSError as error:
            log.warning("%s can not be read and is left out: %s", self._path, error.strerror)
        except TORN as error:
            log.warning(
                "%s does not say which agents the router knew (%s): it waits for none, and dials those that clients "
                "name; the file is now %s",
                self._path,
                type(error).__name__,
                set_aside(self._path),
            )
        return Remembered(frozenset(), ())

    def write(self, uids: Iterable[str], dialed: Iterable[DialedAgent]) -> bool:
        """Whether it is on disk. Called off the event loop. Of failures one after another the first is logged."""
        data: Mapping[str, Any] = {
            "uids": sorted(uids)[:MAX_AGENTS],
            "dialed": [
                {"address": agent.address, "token": agent.token.reveal() if agent.token is not None else None}
                for agent in dialed
            ],
        }
        try:
            replace_file(self._path, json.dumps(data).encode("utf-8", "surrogateescape"))
        except OSError as error:
            if not self._behind:
                log.warning("%s can not be written, it is tried again: %s", self._path, error.strerror)
            self._behind = True
        else:
            self._behind = False
        return not self._behind


def _remembered(text: bytes) -> Remembered:
    """Raises one of TORN."""
    if len(text) > MAX_BYTES:
        raise ValueError(len(text))
    data = json.loads(text)
    if not isinstance(data["uids"], list):
        raise TypeError(type(data["uids"]))
    dialed = tuple(DialedAgent(_text(kept["address"]), _token(kept["token"])) for kept in data["dialed"])
    return Remembered(frozenset(map(_text, data["uids"])), dialed)


def _token(kept: Any) -> Secret | None:
    return Secret(_text(kept)) if kept is not None else None


def _text(kept: Any) -> str:
    """Raises TypeError."""
    if not isinstance(kept, str):
        raise TypeError(type(kept))
    return kept
