"""The agent's own configuration as typed values, which the daemon reads; and what fits a schema and makes no sense.

Does not belong here: keys, defaults and what they mean (sections.py).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prouter.agent.output.limits import LineLimits
from prouter.errors import ConfigError
from prouter.model.access import MIN_TOKEN_BITS, Secret, token_bits
from prouter.model.resources import JOBS


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
    disk_bytes: int | None
    survive: bool
    stop_grace_seconds: float
    activity_seconds: float
    path_resolution: str
    max_jobs: int
    capacity: int | None
    ports: range
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
            disk_bytes=jobs["disk_quota"],
            survive=jobs["survive_agent"],
            stop_grace_seconds=jobs["stop_grace"],
            activity_seconds=jobs["activity_interval"],
            path_resolution=jobs["path_resolution"],
            max_jobs=jobs["max_count"],
            capacity=jobs["capacity"],
            ports=_ports(jobs["ports"]),
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


def _ports(first_and_last: Sequence[int]) -> range:
    first, last = first_and_last
    if first > last:
        raise ConfigError([f"jobs.ports: the first, {first}, is above the last, {last}"])
    return range(first, last + 1)


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
