"""`PATH/files`: what is in a directory, and changes that move no bytes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote, unquote

from prouter.errors import InvalidRequest
from prouter.model.http import Reply
from prouter.model.paging import QUERY, page
from prouter.model.plugin import Call
from prouter.model.services import FileEntry, SandboxFiles
from prouter.model.times import rfc3339

_PATH = {"type": "string", "minLength": 1}
_ENCODED = {"type": "boolean", "default": False, "description": "The paths are percent-encoded, as in an URL."}
CHANGE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "mkdir": _PATH | {"description": "Make this directory, and those above it."},
        "move": _PATH | {"description": "What is moved."},
        "to": _PATH | {"description": "Its new path."},
        "encoded": _ENCODED,
    },
    "oneOf": [{"required": ["mkdir"]}, {"required": ["move"]}],
    "dependentRequired": {"move": ["to"], "to": ["move"]},
    "additionalProperties": False,
}
LIST_QUERY = QUERY | {"path": {"type": "string", "description": "The directory; the sandbox itself without it."}}


async def listed(call: Call, files: SandboxFiles) -> Reply:
    """One page of a directory, sorted by name."""
    path = call.query.get("path", "")
    after: str | None = None

    def choose(names: Iterable[str]) -> Sequence[str]:
        nonlocal after
        chosen, after = page(names, lambda name: (name,), call.query)
        return chosen

    entries = await files.list(path, choose)
    return Reply.json({"entries": [shown(entry, path) for entry in entries], "next": after})


async def changed(call: Call, files: SandboxFiles) -> Reply:
    """Make a directory or move something; the entry as it is then."""
    asked = call.body
    if "mkdir" in asked:
        path = _meant(asked["mkdir"], asked)
        entry = await files.make_directory(path)
    else:
        path = _meant(asked["to"], asked)
        entry = await files.move(_meant(asked["move"], asked), path)
    return Reply.json(shown(entry, path.rstrip("/").rpartition("/")[0]))


def shown(entry: FileEntry, directory: str) -> dict[str, Any]:
    """An entry as the API shows it. A name that is not UTF-8 has its whole path as an URL spells it."""
    raw = os.fsencode(entry.name)
    name = raw.decode("utf-8", "replace")
    found = {
        "name": name,
        "type": entry.type,
        "size": entry.size,
        "mode": entry.mode,
        "modified_at": rfc3339(entry.modified_at),
    }
    if name.encode() != raw:
        found["path"] = quote(os.fsencode(f"{directory.rstrip('/')}/{entry.name}".lstrip("/")))
    return found


def _meant(path: str, asked: dict[str, Any]) -> str:
    """Bytes that are not UTF-8 become surrogates, as everywhere."""
    if not path:
        raise InvalidRequest("Invalid request: the path names no file")
    return unquote(path, errors="surrogateescape") if asked.get("encoded", False) else path
