"""JSON schemas of what the API answers, for its description. What it takes stands beside the routes that take it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prouter.model.agents import LIMITS
from prouter.model.jobs import JobState, Reason
from prouter.model.plugin import Kind
from prouter.model.trail import Outcome

Schema = Mapping[str, Any]


def _object(properties: Mapping[str, Schema], **more: Any) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties), **more}


_TEXT = {"type": "string"}
_TEXTS = {"type": "object", "additionalProperties": _TEXT}
_TIME = {"type": ["string", "null"], "format": "date-time"}
_COUNTS = {"type": "object", "additionalProperties": {"type": "integer"}}
_NUMBER_OR_NULL = {"type": ["integer", "null"]}

JOB_AGENT = _object(
    {"uid": _TEXT, "name": _TEXT, "platform": _TEXTS, "properties": _TEXTS, "connected": {"type": "boolean"}}
)
ACTIVITY = _object(
    {
        "last_activity": _TIME | {"description": "When the last byte went through a port of the job; null: never."},
        "connections": {"type": "integer", "description": "Open to the job's ports now."},
        "bytes_in": {"type": "integer", "description": "From clients to the job."},
        "bytes_out": {"type": "integer", "description": "From the job to clients."},
        "requests": _NUMBER_OR_NULL
        | {"description": "To its ports, that ended at this router since it started; null: nobody counts them here."},
    },
    description="Told by the agent every few seconds.",
)
_PLACE: Mapping[str, Schema] = {
    "position": {"type": ["integer", "null"], "description": "1 is the next; null: it was given up or removed."},
    "priority": {"type": "integer", "description": "By plugins; the higher is before the lower."},
    "since": _TIME,
    "until": {**_TIME, "description": "When it is given up."},
    "detail": {"type": "string", "description": "Why no agent took it."},
}
QUEUE = _object(_PLACE, description="Of a job that waits for an agent with room.")
_FOR_AGENT = {
    "type": ["string", "null"],
    "description": "For which it waits: jobs behind it leave it what it needs there; null: none could have it yet.",
}
JOB_INFO = _object(
    {
        "uid": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
        "name": _TEXT,
        "path": {"type": "string", "description": "Where the job's routes are; opaque."},
        "state": {"enum": list(JobState)},
        "sender": _object({"direction": _TEXT, "uid": _TEXT, "name": _TEXT}),
        "agent": {"anyOf": [JOB_AGENT, {"type": "null"}], "description": "Null: it waits for one, or did in vain."},
        "exit_code": _NUMBER_OR_NULL | {"description": "Negative: minus the signal's number."},
        "reason": {"enum": [*Reason, None], "description": "Why it finished."},
        "created_at": _TIME,
        "started_at": _TIME,
        "finished_at": _TIME,
        "pid": _NUMBER_OR_NULL,
        "ports": {"type": "object", "additionalProperties": {"type": ["integer", "string", "null"]}},
        "labels": _TEXTS,
        "resources": _COUNTS | {"description": "What it holds of its agent's counted resources until it has finished."},
        "activity": {"anyOf": [ACTIVITY, {"type": "null"}], "description": "Null: its agent tells of none."},
        "queue": {"anyOf": [QUEUE, {"type": "null"}], "description": "Null: it does not wait for an agent."},
    }
)
_OR_NULL: Schema = {"type": "null"}
_REFUSED = {
    "anyOf": [_object({"status": {"type": "integer"}, "code": _TEXT, "detail": _TEXT}), _OR_NULL],
    "description": "As the answer would be.",
}
_DRIVER = {
    "anyOf": [_object({"name": _TEXT, "plugin": _TEXT}), _OR_NULL],
    "description": "What starts jobs on the agent; null where the agent does not say.",
}
_PRINCIPAL = {"anyOf": [_object({"name": _TEXT, "authenticator": _TEXT}), _OR_NULL]}
_DECISIONS = {
    "type": "array",
    "items": _object(
        {
            "hook": _TEXT,
            "plugin": _TEXT,
            "outcome": {"enum": list(Outcome)},
            "about": {"type": "string", "description": "An agent, or an action; empty where there is one matter only."},
            "reason": _TEXT,
            "changes": {"type": "array", "items": {"type": "object", "required": ["field"]}},
            "milliseconds": {"type": "number"},
        }
    ),
}
_CREATION: Mapping[str, Schema] = {
    "at": _TIME,
    "principal": _PRINCIPAL,
    "chosen": {"type": ["string", "null"], "description": "The agent; null: there is no job, see refused."},
    "refused": _REFUSED,
    "selector": {
        "anyOf": [
            _object(
                {
                    "type": _TEXT,
                    "plugin": _TEXT,
                    "would_dial": {"type": ["string", "null"], "description": "The agent that is not dialed yet."},
                    "milliseconds": {"type": "number"},
                }
            ),
            _OR_NULL,
        ]
    },
    "scoring": {
        "anyOf": [_object({"milliseconds": {"type": "number"}}), _OR_NULL],
        "description": "Null: no plugin scores agents.",
    },
    "would_provision": {
        "type": "array",
        "items": _TEXT,
        "description": "Plugins that a create would ask to start an agent before it is refused.",
    },
    "agents": {
        "type": "array",
        "items": _object(
            {
                "agent": _TEXT,
                "name": _TEXT,
                "rank": _NUMBER_OR_NULL | {"description": "1 is the selector's first choice."},
                "taken": {"type": "boolean"},
                "refused_by": {"type": ["string", "null"], "description": "A plugin, or prouter itself."},
                "score": {"type": ["number", "null"], "description": "All points; null where nobody scored it."},
                "scores": {
                    "type": "array",
                    "items": _object(
                        {
                            "plugin": _TEXT,
                            "points": {"type": ["number", "null"], "description": "Null: its answer is missing."},
                            "reason": _TEXT,
                        }
                    ),
                },
                "reason": _TEXT,
            }
        ),
    },
    "decisions": _DECISIONS,
    "left_out": _object({"agents": {"type": "integer"}, "decisions": {"type": "integer"}}),
}
EXPLAINED_CREATION = _object({**_CREATION, "driver": _DRIVER})
EXPLAINED_JOB = _object(
    {
        "creation": {
            "anyOf": [{"type": "object"}, _OR_NULL],
            "description": "As of POST /jobs/explain, without the driver; null where none was kept. Of a job that "
            "waits in the queue: what keeps it waiting now.",
        },
        "driver": _DRIVER,
        "proxying": {
            "anyOf": [
                _object(
                    {
                        "principal": _PRINCIPAL,
                        "decisions": _DECISIONS,
                        "answer_chain": {"type": "array", "items": _TEXT},
                        "refused": _REFUSED,
                    }
                ),
                _OR_NULL,
            ],
            "description": "Whom a GET of the default port would meet; null: the job serves none.",
        },
        "queue": {
            "anyOf": [_object({**_PLACE, "agent": _FOR_AGENT}), _OR_NULL],
            "description": "Null: it neither waits in the queue nor was given up there.",
        },
    }
)
_NEXT = {"type": ["string", "null"], "description": "The cursor of the next page; null at the end."}
JOBS = _object({"jobs": {"type": "array", "items": JOB_INFO}, "next": _NEXT})
AGENT = _object(
    {
        "uid": _TEXT,
        "name": _TEXT,
        "platform": _TEXTS,
        "properties": _TEXTS,
        "version": {"type": ["string", "null"]},
        "connected": {"type": "boolean"},
        "connected_at": _TIME,
        "jobs": {"type": "integer"},
        "capacity": {
            "type": "object",
            "additionalProperties": _object({"total": _NUMBER_OR_NULL, "used": {"type": "integer"}}),
            "description": "By resource; `jobs` is one, its total null where it is not limited.",
        },
        "draining": {"type": "boolean", "description": "It takes no new jobs."},
        "limits": {
            "type": "object",
            "properties": {name: {"type": ["string", "null"]} for name in LIMITS},
            "description": "How it keeps each limit of a job: cgroup2, cgroup1, watched, rlimit, truncated; null: it "
            "can not, or does not say.",
        },
        "loop_delay": {
            "type": ["number", "null"],
            "description": "Seconds by which its event loop was late at most, in about the last minute; null: it does "
            "not say.",
        },
    }
)
AGENTS = _object({"agents": {"type": "array", "items": AGENT}, "next": _NEXT})
CLEAN_UP = _object(
    {
        "jobs": {
            "type": "array",
            "items": _object(
                {
                    "uid": _TEXT,
                    "name": _TEXT,
                    "finished_at": _TIME,
                    "bytes": {**_NUMBER_OR_NULL, "description": "On disk: sandbox, output and records."},
                    "reason": {"enum": ["finished_ttl", "disk_quota"], "description": "The setting that it is beyond."},
                }
            ),
            "description": "What would go, those that finished first before others; the first 1000 of them.",
        },
        "count": {"type": "integer", "description": "Of all that would go."},
        "freed_bytes": {"type": "integer", "description": "What all that would go take."},
        "total_bytes": {"type": "integer", "description": "Of all jobs, before anything goes."},
        "finished_ttl": {"type": ["number", "null"]},
        "disk_quota": _NUMBER_OR_NULL,
    }
)
PLUGINS = _object(
    {
        "plugins": {
            "type": "array",
            "items": _object(
                {
                    "name": _TEXT,
                    "distribution": {"type": "string", "description": "Or the module or file of plugins.load."},
                    "version": _TEXT,
                    "summary": _TEXT,
                    "api_version": _NUMBER_OR_NULL | {"description": "That it targets; null: it is not loaded."},
                    "state": {"enum": ["loaded", "disabled", "failed"]},
                    "why": {"type": "string", "description": "It is not loaded."},
                    "failures": {"type": "integer", "description": "Of hooks for whose answer nobody waits."},
                    "hooks": {"type": "array", "items": _TEXT, "description": "Each with its kind."},
                    "implements": {
                        "type": "array",
                        "items": _object(
                            {
                                "hook": _TEXT,
                                "kind": {"enum": list(Kind)},
                                "deadline_seconds": {"type": "number"},
                                "description": _TEXT,
                            }
                        ),
                    },
                    "configuration": {
                        "type": "array",
                        "items": _object(
                            {
                                "key": _TEXT,
                                "description": _TEXT,
                                "default": {"description": "Null for a secret."},
                                "secret": {"type": "boolean"},
                                "reloadable": {"type": "boolean"},
                            }
                        ),
                        "description": "Which parameters are its own; never their values.",
                    },
                    "contributes": {
                        "type": "object",
                        "additionalProperties": {"type": ["array", "null"], "items": _TEXT},
                        "description": "Names of its routes, selectors and commands.",
                    },
                }
            ),
        }
    }
)
PIPES = _object(
    {
        "open": {"type": "integer"},
        "busy": {"type": "integer", "description": "That carry something now."},
        "idle": {"type": "integer", "description": "That are kept for the next request to the same port."},
        "warm": {"type": "integer", "description": "Dialed ahead of use."},
        "waiting": {"type": "integer", "description": "Requests that wait for one."},
        "over": {"enum": ["tcp", "websocket", None], "description": "What passes on the way; null: none came yet."},
    },
    description="Data connections to the agent.",
)
CONNECTIONS = _object({"connections": {"type": "array", "items": {"type": "object", "properties": {"pipes": PIPES}}}})
UPLOADED = _object({"size": {"type": "integer"}, "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"}})
FILE_ENTRY = _object(
    {
        "name": _TEXT,
        "type": {"enum": ["file", "directory", "symlink", "other"]},
        "size": {"type": "integer"},
        "mode": {"type": "integer", "description": "The permission bits."},
        "modified_at": _TIME,
    },
    description="A name that is not UTF-8 has `path` too: its whole path in the sandbox, percent-encoded.",
)
FILE_ENTRIES = _object({"entries": {"type": "array", "items": FILE_ENTRY}, "next": _NEXT})
PROBLEM = _object(
    {
        "type": {"type": "string", "pattern": "^urn:prouter:"},
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": _TEXT,
        "retryable": {"type": "boolean"},
    },
    description="RFC 9457. `errors` holds mistakes of a body against its schema: pointer and message.",
)
