"""The body of a request for a new job: what POST /jobs/create takes, and what is asked for when it is explained.

Belongs here: the schema and the value made of a body that fits it. Does not: the routes (plugins/).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from prouter.model.ids import JobUid
from prouter.model.jobs import MAX_LABELS, MAX_LABELS_BYTES, CreateRequest, check_labels
from prouter.model.plugin import Call, idempotency_key
from prouter.model.resources import MAX_COUNT, MAX_NAMES, NAME_PATTERN

TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
CREATE = {
    "type": "object",
    "properties": {
        "agent": {
            "type": "object",
            "properties": {"type": {"type": "string"}},
            "required": ["type"],
            "description": "A locator: which agent; each selector brings its own type.",
        },
        "name": {"type": ["string", "null"], "maxLength": 1024},
        "labels": TEXTS
        | {
            "maxProperties": MAX_LABELS,
            "description": f"Kept with the job, shown in its info; at most {MAX_LABELS_BYTES} bytes in all.",
        },
        "resources": {
            "type": "object",
            "propertyNames": {"pattern": NAME_PATTERN},
            "additionalProperties": {"type": "integer", "minimum": 1, "maximum": MAX_COUNT},
            "maxProperties": MAX_NAMES,
            "description": "What the job takes of its agent's counted resources until it has finished.",
        },
        "uid": {
            "type": "string",
            "pattern": "^[0-9a-f]{32}$",
            "maxLength": 32,
            "description": "Chosen by the client, so that a retry makes no second job.",
        },
    },
    "required": ["agent"],
    "additionalProperties": False,
}


def create_request(call: Call) -> CreateRequest:
    """From a call whose body fits CREATE; without a `uid` an Idempotency-Key makes one. Raises InvalidRequest."""
    body: Mapping[str, Any] = call.body
    check_labels(body.get("labels") or {})
    uid = body.get("uid") or _uid_of(idempotency_key(call.head), call.principal.name)
    return CreateRequest(
        locator=body["agent"],
        name=body.get("name") or "",
        labels=dict(body.get("labels") or {}),
        uid=JobUid(uid) if uid is not None else None,
        resources={name: int(count) for name, count in (body.get("resources") or {}).items()},
    )


def _uid_of(key: str | None, who: str) -> str | None:
    """A key makes the uid, so that a repeated request is the same one wherever it is told."""
    return hashlib.sha256(f"{who}\0{key}".encode()).hexdigest()[:32] if key is not None else None
