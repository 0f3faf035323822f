"""Whether limits.md says what the program does: all limits that there are, with their defaults.

Belongs here: reading the page's tables, what is compared with what. Does not: other pages (check.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from prouter.agent.guard.held.controllers import TASKS_MORE
from prouter.agent.guard.held.grown import ENTRIES, MORE_SECONDS, SECONDS, WAITING
from prouter.agent.guard.held.measure import MAX_DEPTH
from prouter.agent.guard.held.outlet import DRAIN_SECONDS
from prouter.agent.jobs.clean_up import MAX_SHOWN
from prouter.agent.jobs.finished import PATIENCE_SECONDS
from prouter.agent.jobs.records import MAX_TORN
from prouter.agent.links import KEPT_BACK
from prouter.agent.sections import SECTIONS as OF_AGENT
from prouter.core.app import END_SECONDS, TAKEN_SECONDS
from prouter.core.jobs.unheard import ASK_SECONDS, MOST_A_SECOND
from prouter.core.settings import SECTIONS as OF_ROUTER
from prouter.http1.response import MAX_HEAD_BYTES
from prouter.pipe.answer import MAX_INTERIM
from prouter.pipe.asking import UNDER_WAY
from prouter.pipe.pool import PoolLimits
from prouter.pipe.unsent import UNSENT_BELOW_BYTES, UNSENT_BYTES
from prouter.plugins.debug_state import DebugState
from prouter.plugins.events_api import EventsApi
from prouter.plugins.job_output.agent import JobOutput
from prouter.plugins.ws_bridge.router import WsBridge
from prouter.rpc.limits import Limits
from prouter.rpc.websocket import CONNECT_SECONDS, SEND_SECONDS
from prouter.web.acceptor import LOOK_SECONDS
from prouter.web.exchange import ONCE_MORE_SECONDS
from prouter.web.limits import WebLimits

PAGE = Path(__file__).parent / "limits.md"
ROW = re.compile(r"^\| (?:(agent) )?(?:`([a-z_.]+)`|(fixed: [^|]+?)) \| ([0-9.]+)(?: (\w+(?:/s)?))? \|", re.MULTILINE)
UNITS = {"": 1, "s": 1, "bytes/s": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
WHOLE = (
    ("", "timeouts"),
    ("", "limits"),
    ("", "pipes"),
    ("", "links"),
    ("", "shutdown"),
    ("agent", "pipes"),
    ("agent", "links"),
)
"""Sections in which every key is such a limit."""
FIXED: Mapping[str, float] = {
    "fixed: silence": PoolLimits().silent_seconds,
    "fixed: connect": CONNECT_SECONDS,
    "fixed: unheard of": ASK_SECONDS,
    "fixed: asked a second": MOST_A_SECOND,
    "fixed: looks": LOOK_SECONDS,
    "fixed: once more": ONCE_MORE_SECONDS,
    "fixed: linger": WebLimits().linger_seconds,
    "fixed: taken": TAKEN_SECONDS,
    "fixed: the end": END_SECONDS,
    "fixed: link's write": SEND_SECONDS,
    "fixed: last output": DRAIN_SECONDS,
    "fixed: kept back": WebLimits().kept_back,
    "fixed: kept back from pipes": KEPT_BACK,
    "fixed: opening": UNDER_WAY,
    "fixed: held": WebLimits().held_bytes,
    "fixed: unsent": UNSENT_BYTES,
    "fixed: unsent below": UNSENT_BELOW_BYTES,
    "fixed: answer's head": MAX_HEAD_BYTES,
    "fixed: interim answers": MAX_INTERIM,
    "fixed: handshake": Limits().handshake_bytes,
    "fixed: link's call": Limits().call_bytes,
    "fixed: clean-up": MAX_SHOWN,
    "fixed: measured": MAX_DEPTH,
    "fixed: set aside": MAX_TORN,
    "fixed: threads": TASKS_MORE,
    "fixed: grown": ENTRIES,
    "fixed: growing": SECONDS,
    "fixed: growing's disk": MORE_SECONDS,
    "fixed: growing's paths": WAITING,
    "fixed: sizes of jobs": PATIENCE_SECONDS,
}
"""What can not be configured."""


def mistakes() -> Iterator[str]:
    """One sentence each."""
    known = dict(_defaults())
    said = list(_rows(PAGE.read_text("utf-8")))
    for name, value in said:
        if name not in known:
            yield f"docs/limits.md: there is no {' '.join(name).strip()}"
        elif known[name] != value:
            yield f"docs/limits.md: {' '.join(name).strip()} is {known[name]:g} in the program, not {value:g}"
    for name in known.keys() - {name for name, _ in said}:
        if (name[0], name[1].rpartition(".")[0]) in WHOLE or name[1].startswith("fixed"):
            yield f"docs/limits.md: {' '.join(name).strip()} is not there"


def _rows(text: str) -> Iterator[tuple[tuple[str, str], float]]:
    for agent, key, fixed, number, unit in ROW.findall(text):
        yield (agent, key or fixed), float(number) * UNITS[unit]


def _defaults() -> Iterator[tuple[tuple[str, str], Any]]:
    """By (`agent` or nothing, key)."""
    plugins = (("", EventsApi()), ("", WsBridge()), ("", DebugState()), ("agent", JobOutput()))
    sections = [("", section) for section in OF_ROUTER] + [("agent", section) for section in OF_AGENT]
    sections += [(whose, section) for whose, plugin in plugins for section in plugin.prouter_config_sections()]
    for whose, section in sections:
        for key, schema in section.properties.items():
            if isinstance(schema.get("default"), int | float):
                yield (whose, f"{section.name}.{key}"), schema["default"]
    for name, value in FIXED.items():
        yield ("", name), value
