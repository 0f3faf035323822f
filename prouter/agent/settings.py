"""The agent's own configuration: its sections as JSON schema, and the typed values that the daemon reads.

Import light: `prouter agent --help` reads this without aiohttp. Names and defaults are those of the original pAgent,
where it has them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prouter.agent.jobs.limits import SECTIONS as LIMIT_SECTIONS
from prouter.agent.output.limits import SECTION as LINES_SECTION
from prouter.agent.output.limits import LineLimits
from prouter.errors import ConfigError
from prouter.model.access import MIN_TOKEN_BITS, Secret, token_bits
from prouter.model.plugin import ConfigSection
from prouter.model.resources import JOBS, MAX_COUNT, MAX_NAMES, NAME_PATTERN
from prouter.pluginkit.pulse import SECTION as LOOP_SECTION

_PORT = {
    "type": "integer",
    "minimum": 0,
    "maximum": 65535,
    "default": 0,
    "description": "Port number to use. Can be set to 0 to use any free port.",
}
_TEXT_OR_NONE = {"type": ["string", "null"], "default": None}


def _switch(description: str, default: bool) -> dict[str, Any]:
    return {"type": "boolean", "default": default, "description": description}


def _seconds(description: str, default: float, minimum: float = 0) -> dict[str, Any]:
    return {"type": "number", "minimum": minimum, "default": default, "description": description}


def _count(description: str, default: int, minimum: int = 1) -> dict[str, Any]:
    return {"type": "integer", "minimum": minimum, "default": default, "description": description}


def _interface(whom: str) -> dict[str, Any]:
    description = f"Interface (ip address) to listen on for {whom}."
    return {"type": "string", "minLength": 1, "default": "127.0.0.1", "description": description}


SECTIONS: tuple[ConfigSection, ...] = (
    ConfigSection(
        "identity",
        {
            "name": {"type": "string", "default": "", "description": "Human-friendly agent name (optional)."},
            "uid": _TEXT_OR_NONE
            | {
                "minLength": 1,
                "description": "Agent's unique identifier. Arbitrary non-empty string; made once and kept in the "
                "state directory when not given.",
            },
        },
    ),
    ConfigSection(
        "",
        {
            "properties": {
                "type": "object",
                "additionalProperties": {"type": ["string", "number", "boolean"]},
                "default": {},
                "description": "Properties of this agent by which it can be chosen; jobs see them as "
                "DA__PAGENT__NAME in their environment.",
            }
        },
    ),
    ConfigSection(
        "client",
        {
            "enabled": _switch("Enable client (active) mode: the agent connects to routers.", False),
            "address": _TEXT_OR_NONE | {"description": "HOST:PORT of the router to connect to."},
            "addresses": {
                "type": "array",
                "items": {"type": "string", "minLength": 1},
                "default": [],
                "description": "Several routers, HOST:PORT each; wins over client.address.",
            },
            "token": _TEXT_OR_NONE | {"writeOnly": True, "description": "Token that routers want to see."},
            "token_file": _TEXT_OR_NONE | {"description": "File that holds the token, instead of client.token."},
            "reconnect_delay": _seconds("The most seconds between two tries to connect.", 3, 0.05),
            "exit_on_fail": _switch("End the agent when a connection can not be made or is lost.", False),
        },
    ),
    ConfigSection(
        "server",
        {
            "enabled": _switch("Enable server (passive) mode: routers connect to the agent.", True),
            "interface": _interface("routers"),
            "port": _PORT,
            "accept_tokens": {
                "type": "array",
                "items": {"type": "string", "minLength": 1},
                "default": [],
                "writeOnly": True,
                "description": "Tokens of which a router must send one; none: no router can connect.",
            },
            "accept_tokens_file": _TEXT_OR_NONE | {"description": "File with further tokens, one a line."},
        },
    ),
    ConfigSection(
        "control",
        {
            "enabled": _switch("Enable the control API: info, connections, jobs, shutdown.", True),
            "interface": _interface("the control API"),
            "port": _PORT,
        },
    ),
    ConfigSection(
        "jobs",
        {
            "root": _TEXT_OR_NONE
            | {"description": "State directory of the agent: its uid, its jobs' records and sandboxes."},
            "background_threads": _count("Threads for work on files.", 8),
            "cgroups": {
                "enum": ["auto", "off"],
                "default": "auto",
                "description": "Whether each job gets a cgroup where that is possible.",
            },
            "driver": _TEXT_OR_NONE
            | {
                "minLength": 1,
                "description": "Name of the driver that runs jobs; plugins offer them. None: `process` where it is "
                "there, else the only one.",
            },
            "driver_timeout": _seconds(
                "Seconds within which a driver must start a job, end it, recover it, or destroy what is left of it.",
                25,
                0.1,
            ),
            "stop_grace": _seconds(
                "Seconds from a stop's signal to the kill of the tree, unless the stop names others.", 10, 0
            ),
            "activity_interval": _seconds(
                "Seconds between two tellings to routers of what went through the jobs' ports.", 2, 0.05
            ),
            "orphan_timeout": _seconds(
                "Seconds without any router after which the jobs are ended. 0: they end with the link, as those of an "
                "original do. None: never.",
                3600,
            )
            | {"type": ["number", "null"]},
            "finished_ttl": {
                "type": ["number", "null"],
                "minimum": 1,
                "default": 604800,
                "description": "Seconds after its end until a finished job is removed, its files with it; a week. "
                "None: never.",
            },
            "survive_agent": _switch(
                "Whether jobs go on without the agent, also when it is told to end, and the next one takes them over; "
                "they are ended when none comes within jobs.orphan_timeout. Linux only.",
                False,
            ),
            "path_resolution": {
                "enum": ["auto", "openat2", "walk"],
                "default": "auto",
                "description": "How paths in a sandbox are kept from leaving it.",
            },
            "max_count": _count("Jobs that the agent keeps, finished ones included.", 10000),
            "capacity": {
                "type": ["integer", "null"],
                "minimum": 1,
                "default": None,
                "description": "Jobs that may be here at the same time, from their creation until they have finished: "
                "a further one is refused, and routers that choose among agents compare by it. None: not full ever.",
            },
            "resources": {
                "type": "object",
                "propertyNames": {"pattern": NAME_PATTERN},
                "additionalProperties": {"type": "integer", "minimum": 1, "maximum": MAX_COUNT},
                "maxProperties": MAX_NAMES - 1,
                "default": {},
                "description": "What jobs can take a counted part of, and how much of it there is: GPUs, licences. A "
                "job that asks for more than is free is refused.",
            },
        },
    ),
    *LIMIT_SECTIONS,
    LINES_SECTION,
    LOOP_SECTION,
    ConfigSection(
        "links",
        {
            "ping_interval": _seconds(
                "Seconds of silence after which a control link is pinged; 2.5 times as many end it.", 5, 0.1
            ),
            "handshake_timeout": _seconds("Seconds within which a router must introduce itself.", 10, 0.1),
            "takeover_timeout": _seconds(
                "Seconds for which an old link may answer a ping before another run of its router replaces it.", 2, 0.1
            ),
        },
    ),
    ConfigSection(
        "pipes",
        {
            "max_count": _count("Data connections of all routers at the same time.", 8192),
            "bind_timeout": _seconds("Seconds from a data connection's first byte to its whole first line.", 10, 1),
            "connect_timeout": _seconds("Seconds within which a job's port must accept a connection.", 10, 0.1),
            "half_close_timeout": _seconds(
                "Seconds for which a data connection may be silent after one of its ends closed.", 60, 0.1
            ),
        },
    ),
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to listen."""

    interface: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it. A name other than localhost counts as reachable by others."""
        try:
            return ipaddress.ip_address(self.interface).is_loopback
        except ValueError:
            return self.interface == "localhost"


@dataclass(frozen=True, slots=True)
class Address:
    """A router to dial."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """HOST:PORT, an IPv6 address in brackets. Raises ValueError."""
        host, _, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536 or any(c in host for c in "/@?# "):
            raise ValueError(f"{text!r} is no HOST:PORT")
        return cls(host, int(port))


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """Routers that the agent dials; none while the client mode is off."""

    addresses: tuple[Address, ...]
    token: Secret
    reconnect_seconds: float
    exit_on_fail: bool


@dataclass(frozen=True, slots=True)
class PipeSettings:
    max_count: int
    bind_seconds: float
    connect_seconds: float
    half_close_seconds: float


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """What the daemon reads of its configuration. Seconds and bytes as named."""

    name: str
    uid: str | None
    properties: Mapping[str, str]
    client: ClientSettings
    server: Endpoint | None
    accept_tokens: tuple[Secret, ...]
    control: Endpoint | None
    root: str | None
    background_threads: int
    cgroups: bool
    driver: str | None
    driver_seconds: float
    orphan_seconds: float | None
    """None: for ever."""
    finished_seconds: float | None
    survive: bool
    stop_grace_seconds: float
    activity_seconds: float
    path_resolution: str
    max_jobs: int
    capacity: int | None
    resources: Mapping[str, int]
    limits: Mapping[str, int | None]
    max_limits: Mapping[str, int | None]
    ping_interval_seconds: float
    handshake_seconds: float
    takeover_seconds: float
    pipes: PipeSettings
    lines: LineLimits
    slow_callback_seconds: float

    @classmethod
    def read(cls, section: Callable[[str], Mapping[str, Any]]) -> AgentSettings:
        """From validated sections. Raises ConfigError for values that fit their schema and make no sense."""
        identity, server, control = section("identity"), section("server"), section("control")
        jobs, links, pipes = section("jobs"), section("links"), section("pipes")
        return cls(
            name=identity["name"],
            uid=identity["uid"],
            properties=_properties(section("properties")),
            client=_client(section("client")),
            server=Endpoint(server["interface"], server["port"]) if server["enabled"] else None,
            accept_tokens=_tokens(server["accept_tokens"], server["accept_tokens_file"], "server.accept_tokens"),
            control=Endpoint(control["interface"], control["port"]) if control["enabled"] else None,
            root=jobs["root"],
            background_threads=jobs["background_threads"],
            cgroups=jobs["cgroups"] == "auto",
            driver=jobs["driver"],
            driver_seconds=jobs["driver_timeout"],
            orphan_seconds=jobs["orphan_timeout"],
            finished_seconds=jobs["finished_ttl"],
            survive=jobs["survive_agent"],
            stop_grace_seconds=jobs["stop_grace"],
            activity_seconds=jobs["activity_interval"],
            path_resolution=jobs["path_resolution"],
            max_jobs=jobs["max_count"],
            capacity=jobs["capacity"],
            resources=_resources(jobs["resources"]),
            limits=_without_sections(section("jobs.limits")),
            max_limits=section("jobs.limits.max"),
            ping_interval_seconds=links["ping_interval"],
            handshake_seconds=links["handshake_timeout"],
            takeover_seconds=links["takeover_timeout"],
            pipes=PipeSettings(
                max_count=pipes["max_count"],
                bind_seconds=pipes["bind_timeout"],
                connect_seconds=pipes["connect_timeout"],
                half_close_seconds=pipes["half_close_timeout"],
            ),
            lines=LineLimits.read(section("output")),
            slow_callback_seconds=section("loop")["slow_callback"],
        )

    def refuse_open_doors(self, *, insecure: bool) -> None:
        """Raises ConfigError for an endpoint beyond loopback that nobody guards well enough."""
        mistakes = []
        if self.server is not None and not self.server.loopback:
            weakest = min((token_bits(token.reveal()) for token in self.accept_tokens), default=0.0)
            if weakest < MIN_TOKEN_BITS:
                mistakes.append(
                    f"server.accept_tokens: {self.server.interface} can be reached by others, so routers need tokens "
                    f"of at least {MIN_TOKEN_BITS} bits "
                    '(python3 -c "import secrets; print(secrets.token_urlsafe(32))" makes one)'
                )
        if self.control is not None and not self.control.loopback and not insecure:
            mistakes.append(
                f"control.interface: {self.control.interface} can be reached by others, and nobody checks who asks; "
                "use 127.0.0.1 or start with --insecure"
            )
        if mistakes:
            raise ConfigError(mistakes)


def _properties(section: Mapping[str, Any]) -> Mapping[str, str]:
    """Names become parts of names of environment variables; values are text everywhere but in the configuration."""
    found = {}
    for name, value in section.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if not name or "=" in name or "\0" in name or "\0" in text:
            raise ConfigError([f"properties.{name}: a name may not be empty or hold '=', neither may hold NUL"])
        found[name] = text
    return found


def _without_sections(section: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in section.items() if not isinstance(value, Mapping)}


def _resources(declared: Mapping[str, int]) -> Mapping[str, int]:
    if JOBS in declared:
        raise ConfigError([f"jobs.resources.{JOBS}: how many jobs there may be is said by jobs.capacity"])
    return dict(declared)


def _client(section: Mapping[str, Any]) -> ClientSettings:
    tokens = _tokens([section["token"]] if section["token"] else [], section["token_file"], "client.token")
    if len(tokens) > 1:
        raise ConfigError(["client.token: one token, in client.token or in client.token_file"])
    return ClientSettings(
        addresses=_addresses(section) if section["enabled"] else (),
        token=tokens[0] if tokens else Secret(""),
        reconnect_seconds=section["reconnect_delay"],
        exit_on_fail=section["exit_on_fail"],
    )


def _addresses(section: Mapping[str, Any]) -> tuple[Address, ...]:
    given = list(section["addresses"]) or ([section["address"]] if section["address"] else [])
    if not given:
        raise ConfigError(["client.address: client.enabled is true, so name a router, HOST:PORT"])
    try:
        return tuple(dict.fromkeys(Address.parse(text) for text in given))
    except ValueError as error:
        raise ConfigError([f"client.address: {error}"]) from None


def _tokens(given: list[str], path: str | None, key: str) -> tuple[Secret, ...]:
    """Those in the configuration and those in the file. Raises ConfigError for blank tokens and unreadable files."""
    found = list(given)
    if any(not token.strip() or token != token.strip() for token in found):
        raise ConfigError([f"{key}: a token may not be blank or begin or end with a space"])
    if path:
        try:
            lines = Path(path).expanduser().read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise ConfigError([f"{key}_file: {path} can not be read: {why}"]) from None
        fresh = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
        if not fresh:
            raise ConfigError([f"{key}_file: {path} holds no token"])
        found += fresh
    return tuple(Secret(token) for token in found)
