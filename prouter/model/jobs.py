"""Jobs as values: what a client asks for, what the agent records, what the API shows.

Belongs here: the values and their JSON and wire forms. Does not: transitions (job_machine.py), where they are kept
(agent/jobs), how they are asked for (core/jobs).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from prouter.errors import InvalidRequest
from prouter.model import resources
from prouter.model.activity import Activity
from prouter.model.ids import AgentUid, JobUid
from prouter.model.times import rfc3339

MAX_TIME = 253_370_764_800.0
"""The end of the year 9998, in seconds since the epoch: beyond it no time can be shown."""
MAX_LABELS = 64
"""Of one job."""

MAX_LABELS_BYTES = 16 * 1024
"""Of one job's labels together, keys and values as UTF-8: they are in each list and each event that the job is in."""


class JobState(StrEnum):
    """NEW → PENDING (being started) → RUNNING → FINISHED; CLOSED once removed."""

    NEW = "NEW"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    CLOSED = "CLOSED"


class Reason(StrEnum):
    """Why a job finished."""

    EXITED = "exited"
    SIGNALED = "signaled"
    TIMEOUT = "timeout"
    STOPPED = "stopped"
    START_FAILED = "start-failed"
    OUT_OF_MEMORY = "out-of-memory"
    LIMIT = "limit"
    ORPHANED = "orphaned"
    AGENT_LOST = "agent-lost"


class PortMode(StrEnum):
    """How a job's port is found."""

    REPORT = "report"
    ASSIGN = "assign"
    DETECT = "detect"
    UNIX = "unix"


@dataclass(frozen=True, slots=True)
class PortRequest:
    """One port that a start asks for."""

    name: str = "http"
    mode: PortMode = PortMode.REPORT
    ready: str | None = None
    """A path that must answer below 500 before the job counts as serving; None: accepting connections is enough."""
    ready_timeout_seconds: float = 30.0
    keep_prefix: bool = False
    """True: the job gets the path as the client sent it; False: without `PATH/http`."""
    path: str | None = None
    """Mode unix: the socket, relative to the sandbox."""

    def to_wire(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "mode": self.mode.value,
            "ready": self.ready,
            "ready_timeout": self.ready_timeout_seconds,
            "prefix": "keep" if self.keep_prefix else "strip",
            "path": self.path,
        }

    @classmethod
    def from_wire(cls, value: Mapping[str, Any]) -> PortRequest:
        """Raises InvalidRequest for a mode that is not known."""
        try:
            mode = PortMode(value.get("mode") or "report")
        except ValueError:
            raise InvalidRequest(f"Invalid request: port mode {value.get('mode')!r} is not known") from None
        return cls(
            name=str(value.get("name") or "http"),
            mode=mode,
            ready=value.get("ready"),
            ready_timeout_seconds=float(value.get("ready_timeout") or 30.0),
            keep_prefix=value.get("prefix") == "keep",
            path=value.get("path"),
        )


@dataclass(frozen=True, slots=True)
class StartRequest:
    """How a job is to be started, as the client said it."""

    args: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    """Relative to the sandbox."""
    name: str | None = None
    ports: tuple[PortRequest, ...] = (PortRequest(),)
    forward_stdout: bool = False
    timeout_seconds: float | None = None
    limits: Mapping[str, int] = field(default_factory=dict)
    base_paths: Mapping[str, str] = field(default_factory=dict)
    """By port name: the path prefix under which clients reach it, for `{base_path}` in args, env and cwd."""

    def to_wire(self) -> dict[str, Any]:
        return {
            "args": list(self.args),
            "env": dict(self.env),
            "cwd": self.cwd,
            "name": self.name,
            "ports": [port.to_wire() for port in self.ports],
            "forward_stdout": self.forward_stdout,
            "timeout": self.timeout_seconds,
            "limits": dict(self.limits),
            "base_paths": dict(self.base_paths),
        }

    @classmethod
    def from_wire(cls, value: Mapping[str, Any]) -> StartRequest:
        return cls(
            args=tuple(str(arg) for arg in value["args"]),
            env={str(k): str(v) for k, v in (value.get("env") or {}).items()},
            cwd=value.get("cwd"),
            name=value.get("name"),
            ports=tuple(PortRequest.from_wire(port) for port in value.get("ports") or ()),
            forward_stdout=bool(value.get("forward_stdout")),
            timeout_seconds=value.get("timeout"),
            limits={str(k): int(v) for k, v in (value.get("limits") or {}).items()},
            base_paths={str(k): str(v) for k, v in (value.get("base_paths") or {}).items()},
        )


@dataclass(frozen=True, slots=True)
class Port:
    """A port that a running job serves on its agent."""

    name: str
    number: int | None
    """TCP port on the agent's loopback; None for a unix socket, and where an original agent does not tell."""
    socket: str | None = None
    """Path of a unix socket relative to the sandbox."""
    keep_prefix: bool = False
    host: str = "127.0.0.1"
    """Of a TCP port: the address of the loopback, 127.0.0.1 or ::1."""

    @property
    def authority(self) -> str:
        """What a client on the agent's machine would call it, as in a Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return "localhost" if self.number is None else f"{host}:{self.number}"

    def to_wire(self) -> dict[str, Any]:
        wire = {"name": self.name, "number": self.number, "socket": self.socket, "keep_prefix": self.keep_prefix}
        return wire | {"host": self.host}

    @classmethod
    def from_wire(cls, value: Mapping[str, Any]) -> Port:
        return cls(
            str(value["name"]),
            _number(value.get("number")),
            str(value["socket"]) if value.get("socket") is not None else None,
            bool(value.get("keep_prefix")),
            "::1" if value.get("host") == "::1" else "127.0.0.1",
        )


@dataclass(frozen=True, slots=True)
class Sender:
    """The router that created a job, seen from the agent: SERVER when the router dialed, CLIENT when the agent did."""

    direction: str
    uid: str
    name: str

    def to_wire(self) -> dict[str, str]:
        return {"direction": self.direction, "uid": self.uid, "name": self.name}


@dataclass(frozen=True, slots=True)
class JobRecord:
    """All that the agent knows of a job: the truth. Times are seconds since the epoch on the agent's clock."""

    uid: JobUid
    name: str
    sender: Sender
    state: JobState = JobState.NEW
    labels: Mapping[str, str] = field(default_factory=dict)
    exit_code: int | None = None
    """Negative: minus the signal's number."""
    reason: Reason | None = None
    created_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    pid: int | None = None
    ports: Mapping[str, Port] = field(default_factory=dict)
    resources: Mapping[str, int] = field(default_factory=dict)
    """What it was made with of the agent's counted resources (model/resources.py); held until it has ended."""
    asked: str = ""
    """Digest of the request that made it, by which a repeated one is told from another; empty when nobody said."""
    driver: str = ""
    """The name of the driver that runs it, or ran it last; empty before its first start."""
    revision: int = 0
    """Grows by one with each change; a lower one is older news."""

    @property
    def ended(self) -> bool:
        return self.state in (JobState.FINISHED, JobState.CLOSED)

    def default_port(self) -> Port | None:
        """The port behind `PATH/http`: the one called http, else the first."""
        return self.ports.get("http") or next(iter(self.ports.values()), None)

    def find_port(self, name: str | None) -> Port | None:
        """The port of that name; without one, the default."""
        return self.default_port() if name is None else self.ports.get(name)

    def to_wire(self) -> dict[str, Any]:
        """For the link between two of ours and for the agent's record file."""
        return {
            "uid": self.uid,
            "name": self.name,
            "sender": self.sender.to_wire(),
            "state": self.state.value,
            "labels": dict(self.labels),
            "exit_code": self.exit_code,
            "reason": self.reason.value if self.reason else None,
            "created_at": self.created_at,
            "started_at": self.started_at,
            "finished_at": self.finished_at,
            "pid": self.pid,
            "ports": [port.to_wire() for port in self.ports.values()],
            "resources": dict(self.resources),
            "asked": self.asked,
            "driver": self.driver,
            "revision": self.revision,
        }

    @classmethod
    def from_wire(cls, value: Mapping[str, Any]) -> JobRecord:
        """Also takes an original's job info, whose further fields are then unknown (None, empty).

        Raises KeyError, ValueError or TypeError when a field that both have is missing or of the wrong kind.
        """
        sender = value.get("sender") or {}
        ports = [Port.from_wire(port) for port in value.get("ports") or ()]
        return cls(
            uid=JobUid(str(value["uid"])),
            name=str(value.get("name") or ""),
            sender=Sender(*(str(sender.get(key) or "") for key in ("direction", "uid", "name"))),
            state=JobState(value["state"]),
            labels={str(k): str(v) for k, v in (value.get("labels") or {}).items()},
            exit_code=_number(value.get("exit_code")),
            reason=Reason(value["reason"]) if value.get("reason") else None,
            created_at=_time(value.get("created_at")),
            started_at=_time(value.get("started_at")),
            finished_at=_time(value.get("finished_at")),
            pid=_number(value.get("pid")),
            ports={port.name: port for port in ports},
            resources=resources.parse(value.get("resources") or {}),
            asked=str(value.get("asked") or ""),
            driver=str(value.get("driver") or ""),
            revision=_number(value.get("revision")) or 0,
        )

    def changed(self, **fields: Any) -> JobRecord:
        """A copy with these fields and the next revision."""
        return replace(self, revision=self.revision + 1, **fields)


def _time(value: object) -> float | None:
    """Raises TypeError for what is no number."""
    if value is not None and not (isinstance(value, int | float) and abs(value) < MAX_TIME):
        raise TypeError("a time is a number of seconds")
    return value


def _number(value: object) -> int | None:
    """Raises TypeError for what is no number, or a huge one."""
    if value is not None and not (isinstance(value, int) and abs(value) < 2**63):
        raise TypeError("this is no number")
    return value


@dataclass(frozen=True, slots=True)
class JobRef:
    """Where a job is."""

    agent: AgentUid
    job: JobUid

    @property
    def path(self) -> str:
        """`/jobs/AGENT_UID/JOB_UID`, the agent's uid percent-encoded: a uid may hold slashes and be any string."""
        return f"/jobs/{quote(self.agent, safe='', errors='surrogateescape')}/{self.job}"

    def port_path(self, port: str) -> str:
        """Where clients of a router reach one of its ports."""
        return self.path + ("/http" if port == "http" else f"/port/{port}")


@dataclass(frozen=True, slots=True)
class CreateRequest:
    """A job as the client asked for it. `locator` has at least "type"; the rest is for the selector of that type."""

    locator: Mapping[str, Any]
    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    uid: JobUid | None = None
    """Chosen by the client: the same again gives the same job, other arguments are a conflict."""
    resources: Mapping[str, int] = field(default_factory=dict)
    """What it takes of its agent's counted resources, by name."""

    def digest(self) -> str:
        """The same for the same request. A locator's token is left out: a new token does not make another job."""
        locator = {key: value for key, value in self.locator.items() if key != "token"}
        asked: list[Any] = [locator, self.name, dict(self.labels)]
        if self.resources:  # else as it was before there were any: agents keep digests
            asked.append(dict(self.resources))
        text = json.dumps(asked, sort_keys=True, default=str)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def check_labels(labels: Mapping[str, str]) -> None:
    """Raises InvalidRequest for labels that are too many or too long."""
    if len(labels) > MAX_LABELS:
        raise InvalidRequest(f"Invalid request: a job has at most {MAX_LABELS} labels")
    size = sum(len(text.encode("utf-8", "surrogatepass")) for pair in labels.items() for text in pair)
    if size > MAX_LABELS_BYTES:
        raise InvalidRequest(f"Invalid request: the labels are {size} bytes, a job has at most {MAX_LABELS_BYTES}")


def job_info(
    record: JobRecord, agent: Mapping[str, Any], activity: Activity | None = None, requests: int | None = None
) -> dict[str, Any]:
    """The JobInfo of the API. `agent` is {"uid", "name", "platform", "properties", "connected"} of its agent,
    `requests` what whoever shows it counted of requests to its ports."""
    return {
        "uid": record.uid,
        "name": record.name,
        "path": JobRef(AgentUid(str(agent["uid"])), record.uid).path,
        "state": record.state.value,
        "sender": record.sender.to_wire(),
        "agent": dict(agent),
        "exit_code": record.exit_code,
        "reason": record.reason.value if record.reason else None,
        "created_at": rfc3339(record.created_at),
        "started_at": rfc3339(record.started_at),
        "finished_at": rfc3339(record.finished_at),
        "pid": record.pid,
        "ports": {name: port.number if port.socket is None else port.socket for name, port in record.ports.items()},
        "labels": dict(record.labels),
        "resources": dict(record.resources),
        "activity": activity.shown() | {"requests": requests} if activity is not None else None,
        "queue": None,
    }
