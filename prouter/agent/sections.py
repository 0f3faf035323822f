"""The sections of the agent's own configuration as JSON schema. Names and defaults are those of the original pAgent,
where it has them.

Import light: `prouter agent --help` reads this without aiohttp. Belongs here: keys, defaults, what they mean. Does not:
what is made of their values (settings.py), keys of plugins.
"""

from __future__ import annotations

from typing import Any

from prouter.agent.jobs.limits import MAX as MAX_BYTES
from prouter.agent.jobs.limits import SECTIONS as LIMIT_SECTIONS
from prouter.agent.output.limits import SECTION as LINES_SECTION
from prouter.model.plugin import ConfigSection
from prouter.model.resources import MAX_COUNT, MAX_NAMES, NAME_PATTERN
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


def _count(description: str, default: int, minimum: int = 1, maximum: int = 1_000_000) -> dict[str, Any]:
    bounds = {"minimum": minimum, "maximum": maximum}
    return {"type": "integer", **bounds, "default": default, "description": description}


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
            "background_threads": _count("Threads for work on files.", 8, maximum=1024),
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
            "disk_quota": {
                "type": ["integer", "null"],
                "minimum": 1,
                "maximum": MAX_BYTES,
                "default": None,
                "description": "Bytes on disk of all jobs together, sandboxes and output; beyond it finished jobs are "
                "removed, those that finished first before others, and nothing else ever. None: any.",
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
            "ports": {
                "type": "array",
                "items": {"type": "integer", "minimum": 1, "maximum": 65535},
                "minItems": 2,
                "maxItems": 2,
                "default": [20000, 29999],
                "description": "First and last port that jobs are given (mode `assign`). What systems as they are "
                "shipped give to connections begins above; where it is hard to find a free one there the system picks.",
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
