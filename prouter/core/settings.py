"""The router's own configuration: its sections as JSON schema, and the typed values that the core reads.

Import light: `prouter --help` reads this without aiohttp.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from prouter.core.queue.settings import SECTION as QUEUE_SECTION
from prouter.model.plugin import ConfigSection
from prouter.pluginkit.pulse import SECTION as LOOP_SECTION

_PORT = {"type": "integer", "minimum": 0, "maximum": 65535}


def _seconds(description: str, default: float, minimum: float = 0) -> dict[str, Any]:
    return {"type": "number", "minimum": minimum, "default": default, "description": description}


def _count(description: str, default: int, minimum: int = 1) -> dict[str, Any]:
    return {"type": "integer", "minimum": minimum, "default": default, "description": description}


SECTIONS: tuple[ConfigSection, ...] = (
    ConfigSection(
        "identity",
        {
            "name": {
                "type": "string",
                "default": "",
                "description": "Human-friendly router name (optional).",
            },
            "uid": {
                "type": ["string", "null"],
                "minLength": 1,
                "default": None,
                "description": "Router's unique identifier. Arbitrary non-empty string; "
                "made once and kept in the state directory when not given.",
            },
        },
    ),
    ConfigSection(
        "server",
        {
            "enabled": {
                "type": "boolean",
                "default": True,
                "description": "Enable router server (passive) mode so agents can connect as clients.",
            },
            "interface": {
                "type": "string",
                "minLength": 1,
                "default": "127.0.0.1",
                "description": "Interface (ip address) to listen on for agents.",
            },
            "port": _PORT | {"default": 0, "description": "Port number to use. Can be set to 0 to use any free port."},
        },
    ),
    ConfigSection(
        "control",
        {
            "interface": {
                "type": "string",
                "minLength": 1,
                "default": "127.0.0.1",
                "description": "Interface (ip address) to listen on for clients.",
            },
            "port": _PORT | {"default": 0, "description": "Port number to use. Can be set to 0 to use any free port."},
            "hosts": {
                "type": "array",
                "items": {"type": "string", "minLength": 1},
                "default": [],
                "description": "Host names under which clients may reach this endpoint, besides the address listened "
                "on, localhost and 127.0.0.1.",
            },
            "trusted_proxies": {
                "type": "array",
                "items": {"type": "string"},
                "default": [],
                "description": "Addresses or networks (CIDR) whose X-Forwarded-* and Forwarded headers count.",
            },
            "public_url": {
                "type": ["string", "null"],
                "default": None,
                "description": "URL under which clients reach this endpoint, when it is behind another proxy.",
            },
        },
    ),
    ConfigSection(
        "client",
        {
            "polling_delay": _seconds(
                "Delay (in seconds) between checking if active agent connection are idle and may be safely dropped.", 5
            ),
        },
    ),
    ConfigSection(
        "access",
        {
            "authenticators": {
                "type": "array",
                "items": {"type": "string"},
                "default": ["token_auth"],
                "description": "Plugins that decide who agents and clients are, in this order. They must load.",
            },
        },
    ),
    ConfigSection(
        "selection",
        {
            "provision_timeout": _seconds(
                "Seconds for plugins to start an agent for a job that found none, its connecting included.", 300, 0.1
            )
            | {"maximum": 3600},
            "max_provisioning": _count(
                "Jobs that may wait for an agent to be started; beyond it the answer is 503.", 100
            ),
        },
    ),
    ConfigSection(
        "jobs",
        {
            "orphan_timeout": _seconds(
                "Seconds for which the jobs of an agent that is away are kept in the directory. None: for ever.", 3600
            )
            | {"type": ["number", "null"]},
            "call_timeout": _seconds("Seconds within which an agent must answer a call about a job.", 60, 1),
            "max_per_agent": _count("Jobs that one agent may have, finished ones included.", 10000),
            "mirrored_bytes": _count(
                "Bytes of memory for the records of one agent's jobs, about; beyond it the agent's link ends.",
                128 * 1024 * 1024,
                65536,
            ),
            "trail_bytes": _count(
                "Bytes of what was decided about a new job that its agent keeps for GET PATH/explain; 0: nothing.",
                16384,
                0,
            )
            | {"maximum": 65536},
        },
    ),
    ConfigSection(
        "links",
        {
            "ping_interval": _seconds(
                "Seconds of silence after which a control link is pinged; 2.5 times as many end it.", 5, 0.1
            ),
            "handshake_timeout": _seconds("Seconds within which an agent must introduce itself.", 10, 0.1),
            "takeover_timeout": _seconds(
                "Seconds for which an old link may answer a ping before another boot of its agent replaces it.", 2, 0.1
            ),
        },
    ),
    ConfigSection(
        "proxy",
        {
            "reconnect_wait": _seconds(
                "Seconds for which a proxied request that has not begun waits for its agent to be back; 0: not at all.",
                5,
            ),
            "reconnect_waiters": _count("Requests that may wait for that; beyond it the answer is 503 at once.", 1000),
        },
    ),
    ConfigSection(
        "pipes",
        {
            "warm": _count("Data connections to an agent that are kept open ahead of use, once it is used.", 2, 0),
            "warm_most": _count("As many as that while requests take many at once.", 8, 0),
            "per_agent": _count("Data connections to one agent; beyond it requests are 503.", 4096),
            "total": _count("Data connections to all agents together; beyond it requests are 503.", 16384),
            "idle_seconds": _seconds(
                "Seconds after which a data connection closes that nobody used; so there are as many as were in use "
                "at once within them.",
                30,
                1,
            ),
            "ticket_seconds": _seconds("Seconds within which an agent must open a data connection.", 10, 0.1),
            "wait_seconds": _seconds("Seconds for which a request waits for a data connection.", 10, 0.1),
        },
    ),
    ConfigSection(
        "originals",
        {
            "stream_memory_bytes": _count(
                "Bytes in memory of one stream of an original agent that its client has not read yet.", 1024 * 1024
            ),
            "stream_file_bytes": _count(
                "Bytes of it in a temporary file beyond those; beyond both the stream is cut.", 1024 * 1024 * 1024
            ),
            "all_files_bytes": _count(
                "Bytes of the temporary files of all such streams; beyond it a stream that needs more is cut.",
                8 * 1024 * 1024 * 1024,
            ),
            "directory": {
                "type": ["string", "null"],
                "minLength": 1,
                "default": None,
                "description": "Where the temporary files are, without names; the system's directory when not given.",
            },
        },
    ),
    ConfigSection(
        "limits",
        {
            "json_body_bytes": _count("Bytes of a JSON request body.", 1024 * 1024),
            "json_elements": _count("Members of all lists and objects of a JSON request body together.", 65536),
            "head_bytes": _count("Bytes of a request's head.", 65536, 1024),
            "target_bytes": _count("Bytes of a request's target.", 16384, 256),
            "header_count": _count("Header lines of a request.", 128, 8),
            "body_rate": {
                "type": "number",
                "minimum": 0,
                "default": 240,
                "description": "Bytes a second that a request's body must bring, over each timeouts.body seconds, "
                "until its answer begins; 0: any.",
            },
            "connections": _count("Client connections at the same time.", 10000),
        },
    ),
    ConfigSection(
        "timeouts",
        {
            "head": _seconds("Seconds within which a request's head must be complete.", 10, 0.1),
            "body": _seconds(
                "Seconds within which a JSON request body must be complete, and over which limits.body_rate counts.",
                60,
                0.1,
            ),
            "idle": _seconds("Seconds for which a connection may be idle between requests.", 75, 0.1),
            "relay_idle": _seconds(
                "Seconds for which a proxied request may carry nothing either way, and a client may read nothing of "
                "any answer.",
                600,
                0.1,
            ),
            "half_close": _seconds(
                "Seconds for which a tunnel (a Websocket, say) may be silent after one of its sides closed.", 60, 0.1
            ),
        },
    ),
    ConfigSection(
        "state",
        {
            "directory": {
                "type": ["string", "null"],
                "default": None,
                "description": "Directory in which the router keeps its uid and the agents that it knew.",
            },
        },
    ),
    ConfigSection(
        "shutdown",
        {
            "notice": _seconds(
                "Seconds from the signal on for which work is still taken when the router ends, while /readyz says 503 "
                "already; a load balancer that sees this in time refuses nobody.",
                0.05,
            ),
            "drain_timeout": _seconds("Seconds for which requests that were begun may go on when the router ends.", 30),
            "websocket_timeout": _seconds(
                "Seconds for which Websockets may go on when the router ends, at most drain_timeout; then they are "
                "closed with 1001.",
                30,
            ),
        },
    ),
    LOOP_SECTION,
    QUEUE_SECTION,
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to listen."""

    interface: str
    port: int


@dataclass(frozen=True, slots=True)
class RouterSettings:
    """What the core reads of its configuration. Seconds and bytes as named."""

    name: str
    uid: str | None
    server: Endpoint | None
    control: Endpoint
    hosts: tuple[str, ...]
    trusted_proxies: tuple[str, ...]
    public_url: str | None
    polling_delay_seconds: float
    authenticators: tuple[str, ...]
    orphan_seconds: float
    call_seconds: float
    provision_seconds: float
    max_provisioning: int
    max_jobs_per_agent: int
    mirrored_bytes: int
    trail_bytes: int
    ping_interval_seconds: float
    handshake_seconds: float
    takeover_seconds: float
    reconnect_wait_seconds: float
    max_reconnect_waiters: int
    state_directory: str | None
    notice_seconds: float
    drain_seconds: float
    tunnel_seconds: float
    slow_callback_seconds: float

    @classmethod
    def read(cls, section: Callable[[str], Mapping[str, Any]]) -> RouterSettings:
        """From validated sections."""
        identity, server, control = section("identity"), section("server"), section("control")
        jobs, links, selection = section("jobs"), section("links"), section("selection")
        shutdown = section("shutdown")
        return cls(
            name=identity["name"],
            uid=identity["uid"],
            server=Endpoint(server["interface"], server["port"]) if server["enabled"] else None,
            control=Endpoint(control["interface"], control["port"]),
            hosts=tuple(control["hosts"]),
            trusted_proxies=tuple(control["trusted_proxies"]),
            public_url=control["public_url"],
            polling_delay_seconds=section("client")["polling_delay"],
            authenticators=tuple(section("access")["authenticators"]),
            orphan_seconds=math.inf if jobs["orphan_timeout"] is None else jobs["orphan_timeout"],
            call_seconds=jobs["call_timeout"],
            provision_seconds=selection["provision_timeout"],
            max_provisioning=selection["max_provisioning"],
            max_jobs_per_agent=jobs["max_per_agent"],
            mirrored_bytes=jobs["mirrored_bytes"],
            trail_bytes=jobs["trail_bytes"],
            ping_interval_seconds=links["ping_interval"],
            handshake_seconds=links["handshake_timeout"],
            takeover_seconds=links["takeover_timeout"],
            reconnect_wait_seconds=section("proxy")["reconnect_wait"],
            max_reconnect_waiters=section("proxy")["reconnect_waiters"],
            state_directory=section("state")["directory"],
            notice_seconds=shutdown["notice"],
            drain_seconds=shutdown["drain_timeout"],
            tunnel_seconds=shutdown["websocket_timeout"],
            slow_callback_seconds=section("loop")["slow_callback"],
        )
