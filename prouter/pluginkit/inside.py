"""What a daemon tells of its inside to whoever looks for a mistake (GET /debug/state): parts by name, asked when told.

Belongs here: the parts that a router and an agent have in common. Does not: their own (core/inside.py,
agent/inside.py), who may see it (a route's action), its size (model/inside.py).

No secrets: of settings only what is said below, of tasks names and counts, of sockets counts. No values of jobs'
environments, no arguments, no labels, no paths in sandboxes are in any part.
"""

from __future__ import annotations

import asyncio
import os
import platform
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from prouter import __version__
from prouter.model.inside import bounded
from prouter.model.traffic import LoopCount
from prouter.pluginkit.calling import Hooks
from prouter.pluginkit.config import Settings
from prouter.pluginkit.descriptors import descriptors
from prouter.pluginkit.host import PluginHost
from prouter.pluginkit.schema import Parameter

Part = Callable[[], Any]
TCP_STATES = (
    "established", "syn-sent", "syn-received", "fin-wait-1", "fin-wait-2", "time-wait", "close", "close-wait",
    "last-ack", "listen", "closing",
)  # fmt: skip
"""By the kernel's number, from 1 (include/net/tcp_states.h)."""
_NUMBERS = re.compile(r"[0-9a-f]{8,}(?:-[0-9a-f]+)*|\d+")
_OWN = re.compile(r"Task-\d+")


class Inside:
    """All parts of one app."""

    def __init__(self, settings: Settings, host: PluginHost, hooks: Hooks, loop: LoopCount) -> None:
        self._begun = time.monotonic()
        self._parts: dict[str, Part] = {
            "version": _version,
            "plugins": lambda: {plugin["name"]: plugin["state"] for plugin in host.describe()},
            "settings": lambda: settings_shown(settings),
            "process": lambda: {"pid": os.getpid(), "seconds": time.monotonic() - self._begun, **_memory()},
            "threads": lambda: Counter(thread.name for thread in threading.enumerate()),
            "loop": lambda: _loop(loop),
            "tasks": _tasks,
            "news_for_plugins": hooks.queues,
        }
        self._looking = asyncio.Lock()

    def add(self, name: str, part: Part) -> None:
        """`part` is called on the event loop, must be quick, and may fail."""
        self._parts[name] = part

    async def state(self, most_bytes: int) -> Mapping[str, Any]:
        """As it is now; one who asks at a time."""
        async with self._looking:
            told = {name: _asked(part) for name, part in self._parts.items()}
            told["descriptors"] = await asyncio.to_thread(_descriptors)
            return await asyncio.to_thread(bounded, told, most_bytes)


def _asked(part: Part) -> Any:
    try:
        return part()
    except Exception as error:  # noqa: BLE001 -- what can be told is told, of a daemon in whatever state
        return f"({type(error).__name__})"


# --- settings ---


def settings_shown(settings: Settings) -> Mapping[str, Any]:
    """By key. Numbers and switches as they are; texts and lists of prouter's own, but for those that hold secrets; of
    all else what kind it is. An object shows its numbers, and of its texts the names only."""
    return {parameter.key: _setting(parameter, settings) for parameter in settings.schema}


def _setting(parameter: Parameter, settings: Settings) -> Any:
    section, _, name = parameter.key.rpartition(".")
    value = settings.section(section)[name] if section else settings.section(name)
    if parameter.secret:
        return "***" if value else None
    own = not parameter.plugin or "enum" in parameter.schema
    if isinstance(value, Mapping):
        return {name: _kind(member) for name, member in value.items()}
    if isinstance(value, list):
        return value if own and all(isinstance(member, str) for member in value) else f"({len(value)} members)"
    return value if own else _kind(value)


def _kind(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float) else f"({type(value).__name__})"


# --- the process ---


def _version() -> Mapping[str, str]:
    return {"prouter": __version__, "python": platform.python_version(), "system": platform.platform()}


def _loop(count: LoopCount) -> Mapping[str, Any]:
    return {
        "kind": type(asyncio.get_running_loop()).__module__,
        "late_seconds": {"worst": count.worst_seconds, "mean": count.seconds / max(1, count.looks)},
        "slow_callbacks": count.slow,
    }


def _tasks() -> Mapping[str, int]:
    """How many by name, what numbers them left away."""
    return dict(Counter(map(_task_name, asyncio.all_tasks())).most_common())


def _task_name(task: asyncio.Task[Any]) -> str:
    name = task.get_name()
    if _OWN.fullmatch(name):
        return str(getattr(task.get_coro(), "__qualname__", "?"))
    return _NUMBERS.sub("*", name)


def _memory() -> Mapping[str, Any]:
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
    except OSError:
        return {}
    return {"memory_bytes": int(pages) * os.sysconf("SC_PAGE_SIZE")}


def _descriptors() -> Mapping[str, Any]:
    """How many there are of each kind, and TCP's by their state (Linux)."""
    kinds: Counter[str] = Counter()
    sockets = set()
    try:
        names = list(Path("/proc/self/fd").iterdir())
    except OSError:
        return {"limit": descriptors()}
    for name in names:
        try:
            target = str(name.readlink())
        except OSError:  # closed since
            continue
        kind, _, number = target.partition(":")
        kinds[kind if number else "file"] += 1
        if kind == "socket":
            sockets.add(number.strip("[]"))
    return {"open": len(names), "limit": descriptors(), "kinds": kinds, "tcp": _tcp_states(sockets)}


def _tcp_states(sockets: set[str]) -> Mapping[str, int]:
    states: Counter[str] = Counter()
    for table in ("tcp", "tcp6"):
        try:
            lines = Path("/proc/self/net", table).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            number = int(fields[3], 16)
            if fields[9] in sockets:
                states[TCP_STATES[number - 1] if number <= len(TCP_STATES) else str(number)] += 1
    return states
