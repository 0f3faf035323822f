"""Agents and routers as values: identity, platform, and what a link's handshake says of its peer."""

from __future__ import annotations

import math
import platform as _platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from prouter.model.ids import AgentUid
from prouter.model.resources import JOBS
from prouter.model.times import rfc3339

ACTIVITY = "activity/1"
"""News of what goes through the jobs' ports: of a router, that its watches take them; of an agent, that it tells."""

DRAIN = "drain/1"
"""Of an agent, that it can be drained; of a router, that its watches take the news of that."""

RESOURCES = "resources/1"
"""Of an agent, that it counts what its jobs hold."""

EXPLAIN = "explain/1"
"""Of an agent, that it keeps with a job why it was made there, and says which driver runs jobs."""

REMOVED = "removed/1"
"""Of an agent, that it takes an Idempotency-Key with a removal and remembers it; of a router, that its watches take the
news of that."""

REPEATED = "repeated/1"
"""Of an agent, that it tells how a restart went that an Idempotency-Key asked for, and begins none if none did."""

LOOP = "loop/1"
"""Of an agent, that it tells how late its event loop is; of a router, that its watches take that."""

LIMITS = ("memory_bytes", "processes", "cpu_seconds", "file_bytes", "output_bytes", "sandbox_bytes")
"""Of a job, by the names that a start gives them."""

PRODUCT_CAPABILITIES = ("jobs/1", "watch/1", "pipes/1", ACTIVITY, DRAIN, RESOURCES, EXPLAIN, REMOVED, REPEATED, LOOP)
"""What two of ours can do with each other over a link; an original has none. Protocol versions, not the product's."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a router or an agent is."""

    uid: str
    name: str

    def to_wire(self) -> dict[str, str]:
        return {"uid": self.uid, "name": self.name}


def this_platform() -> dict[str, str]:
    """The machine this process runs on: system, node, release, version, machine, processor."""
    found = _platform.uname()
    return {
        "system": found.system,
        "node": found.node,
        "release": found.release,
        "version": found.version,
        "machine": found.machine,
        "processor": found.processor,
    }


@dataclass(frozen=True, slots=True)
class Drain:
    """Whether an agent takes no new jobs. A lower revision of the same boot is older news."""

    on: bool = False
    revision: int = 0

    def to_wire(self) -> dict[str, Any]:
        return {"on": self.on, "revision": self.revision}

    @classmethod
    def from_wire(cls, value: Mapping[str, Any]) -> Drain:
        """Raises KeyError, ValueError or TypeError for what is none."""
        return cls(bool(value["on"]), int(value["revision"]))


@dataclass(frozen=True, slots=True)
class LoopDelay:
    """How late an agent's event loop is, as it tells now and then."""

    worst_seconds: float
    """The most within about a minute."""
    slow: int
    """How often something held it for longer than `loop.slow_callback`, since the agent began."""

    def to_wire(self) -> dict[str, Any]:
        return {"worst": round(self.worst_seconds, 4), "slow": self.slow}

    @classmethod
    def from_wire(cls, value: Mapping[str, Any]) -> LoopDelay:
        """Raises KeyError, ValueError or TypeError for what is none."""
        worst = float(value["worst"])
        if not 0 <= worst < math.inf:
            raise ValueError(f"the event loop can not be {worst} s late")
        return cls(worst, min(abs(int(value["slow"])), 1 << 53))


@dataclass(frozen=True, slots=True)
class Hello:
    """The user data of a handshake, parsed. An original's uid may come as bytes; platform and properties may miss."""

    uid: str
    name: str
    token: str = field(default="", repr=False)
    platform: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    version: str | None = None
    """The product's version; None for an original."""
    boot: str = ""
    """One start of the peer; empty for an original."""
    link: int = 0
    """The agent's number of this link, growing over all its links."""
    capabilities: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()
    """Capabilities without which the peer can not work with us (skew.py)."""
    capacity: Mapping[str, int] = field(default_factory=dict)
    """How much of each counted resource the agent has in all; `jobs` is one, not limited where it is missing."""
    drain: Drain = Drain()
    """Of an agent, as it is at the handshake."""
    limits: Mapping[str, str] = field(default_factory=dict)
    """Of an agent: how each limit of a job is kept there (cgroup2, cgroup1, watched, ...); others can not be."""

    @property
    def original(self) -> bool:
        return self.version is None

    @classmethod
    def from_wire(cls, data: Any) -> Hello:
        """Never raises for a map with an "auth" map; raises ValueError when there is no usable uid."""
        data = data if isinstance(data, Mapping) else {}
        auth = data.get("auth")
        auth = auth if isinstance(auth, Mapping) else {}
        ours = data.get("prouter")
        ours = ours if isinstance(ours, Mapping) else {}
        uid = _text(auth.get("uid"))
        if not uid or len(uid) > 1024:
            raise ValueError("the handshake names no usable uid")
        return cls(
            uid=uid,
            name=_text(auth.get("name"))[:1024],
            token=_text(auth.get("token")),
            platform=_text_map(data.get("platform")),
            properties=_text_map(data.get("properties")),
            version=_text(ours.get("version")) if ours else None,
            boot=_text(ours.get("boot")),
            link=ours["link"] if isinstance(ours.get("link"), int) else 0,
            capabilities=_texts(ours.get("capabilities")),
            needs=_texts(ours.get("needs")),
            capacity=_count_map(ours.get("capacity")),
            drain=_drain(ours.get("drain")),
            limits=_text_map(ours.get("limits")),
        )

    def to_wire(self) -> dict[str, Any]:
        """The user data; `token` only when there is one, the `prouter` key only for ours."""
        auth = {"uid": self.uid, "name": self.name} | ({"token": self.token} if self.token else {})
        data: dict[str, Any] = {"auth": auth, "platform": dict(self.platform), "properties": dict(self.properties)}
        if self.version is not None:
            data["prouter"] = {
                "version": self.version,
                "boot": self.boot,
                "link": self.link,
                "capabilities": sorted(self.capabilities),
                "needs": sorted(self.needs),
                "capacity": dict(self.capacity),
                "drain": self.drain.to_wire(),
                "limits": dict(self.limits),
            }
        return data


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """What a plugin of the agent found out about its machine."""

    properties: Mapping[str, str] = field(default_factory=dict)
    capacity: Mapping[str, int] = field(default_factory=dict)
    """How much there is of a counted resource, by its name."""


@dataclass(frozen=True, slots=True)
class AgentInfo:
    """What the router knows of an agent. `connected` is false while it is away (seen not long ago, no link now)."""

    uid: AgentUid
    name: str
    platform: Mapping[str, str]
    properties: Mapping[str, str]
    version: str | None
    connected: bool
    connected_at: float | None
    mode: str
    """SERVER: the agent dialed us; CLIENT: we dialed it."""
    jobs: int
    """Jobs that are PENDING or RUNNING."""
    waiting: int = 0
    """Jobs that are NEW: made, not started yet."""
    capacity: Mapping[str, int] = field(default_factory=dict)
    """As the agent says (Hello)."""
    pipes: int = 0
    """Data connections that are open to it."""
    used: Mapping[str, int] = field(default_factory=dict)
    """What its jobs hold of each counted resource."""
    draining: bool = False
    """It takes no new jobs."""
    limits: Mapping[str, str] = field(default_factory=dict)
    """As the agent says (Hello); it may say nothing."""
    loop: LoopDelay | None = None
    """None: it does not say."""

    def in_job(self) -> dict[str, Any]:
        """The `agent` member of a JobInfo."""
        return {
            "uid": self.uid,
            "name": self.name,
            "platform": dict(self.platform),
            "properties": dict(self.properties),
            "connected": self.connected,
        }

    def shown(self) -> dict[str, Any]:
        """The agent's entry in /agents."""
        names = [JOBS, *(name for name in self.capacity if name != JOBS)]
        return {
            "uid": self.uid,
            "name": self.name,
            "platform": dict(self.platform),
            "properties": dict(self.properties),
            "version": self.version,
            "connected": self.connected,
            "connected_at": rfc3339(self.connected_at),
            "jobs": self.jobs,
            "capacity": {n: {"total": self.capacity.get(n), "used": self.used.get(n, 0)} for n in names},
            "draining": self.draining,
            "limits": {name: self.limits.get(name) for name in LIMITS},
            "loop_delay": self.loop.worst_seconds if self.loop is not None else None,
        }


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return value if isinstance(value, str) else ""


def _texts(value: Any) -> frozenset[str]:
    return frozenset(_text(item) for item in value[:1000]) if isinstance(value, list | tuple) else frozenset()


def _text_map(value: Any) -> dict[str, str]:
    return {name: item if isinstance(item, str) else _text(item) or str(item) for name, item in _pairs(value)}


def _count_map(value: Any) -> dict[str, int]:
    return {name: count for name, count in _pairs(value) if isinstance(count, int) and count >= 0}


def _drain(value: Any) -> Drain:
    try:
        return Drain.from_wire(value)
    except (KeyError, ValueError, TypeError):
        return Drain()


def _pairs(value: Any) -> list[tuple[str, Any]]:
    return [(_text(name), item) for name, item in list(value.items())[:1000]] if isinstance(value, Mapping) else []
