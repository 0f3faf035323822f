"""Decisions of plugins in words: what a hook was asked about, what its answer says, what a chain changed.

Pure. What must not be told is decided here: of headers and environments names only, of a locator no values at all.
Called by trail.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from prouter.errors import ProuterError
from prouter.model.access import Principal, Refusal
from prouter.model.http import ForwardPlan, Reply, RequestHead, ResponseHead
from prouter.model.jobs import CreateRequest

MAX_TEXT = 300
"""Characters of one reason, name or value."""
MAX_CHANGES = 50
SHOWN = frozenset(("name", "labels", "resources"))
"""Parts of a request for a job whose values are told; a job's info shows them as well."""

Change = Mapping[str, Any]
"""`field`, and for what may be seen `before` and `after`."""


def clipped(text: str) -> str:
    """Bounded, and valid UTF-8 whatever bytes a name was made of."""
    sane = text.encode("utf-8", "replace").decode()
    return sane if len(sane) <= MAX_TEXT else sane[: MAX_TEXT - 1] + "…"


def one_line(text: str) -> str:
    """For the log, whatever a plugin wrote: no ends of lines, nothing that steers a terminal."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(clipped(text).split()))


def about(arguments: Mapping[str, Any]) -> str:
    """What a hook was asked about, where it is asked about several things."""
    candidate, action = arguments.get("candidate"), arguments.get("action")
    if candidate is not None:
        return clipped(str(candidate.uid))
    return clipped(str(action)) if action is not None else ""


def refusal(error: ProuterError) -> dict[str, Any]:
    """What a client is told of it, in short."""
    return {"status": error.status, "code": error.code, "detail": clipped(error.detail)}


def reason_of(value: Any) -> tuple[str, bool]:
    """What an answer says of itself, and whether it is a refusal."""
    if isinstance(value, Refusal):
        return clipped(value.reason), True
    if isinstance(value, Principal):
        return clipped(f"this is {value.name!r}"), False
    if isinstance(value, Reply):
        return f"it answers {value.status} itself", False
    return "", False


def changes_of(before: Any, value: Any) -> Sequence[Change]:
    """What a chain's value changed, or what a plan sets and drops."""
    if isinstance(value, ForwardPlan):
        return _names("headers", sorted({name.lower() for name, _ in value.set_headers} | value.drop))
    if before is None or type(before) is not type(value):
        return ()
    if isinstance(value, RequestHead | ResponseHead):
        return _heads(before, value)
    if isinstance(value, CreateRequest):
        return _requests(before, value)
    if isinstance(value, Mapping):
        return _names("", _differing(before, value))
    return ()


def _heads(before: Any, after: Any) -> Sequence[Change]:
    fields = [
        name.name
        for name in dataclasses.fields(after)
        if name.name != "headers" and getattr(before, name.name) != getattr(after, name.name)
    ]
    old, new = _by_name(before.headers), _by_name(after.headers)
    return [*_names("", fields), *_names("headers", _differing(old, new))][:MAX_CHANGES]


def _by_name(headers: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in headers:
        found.setdefault(name.lower(), []).append(value)
    return found


def _requests(before: CreateRequest, after: CreateRequest) -> Sequence[Change]:
    changes: list[Change] = []
    for field in dataclasses.fields(after):
        old, new = getattr(before, field.name), getattr(after, field.name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            for key in _differing(old, new):
                changes.append(_change(field.name, key, old.get(key), new.get(key)))
        elif old != new:
            changes.append(_change(field.name, "", old, new))
    return changes[:MAX_CHANGES]


def _change(field: str, key: str, before: Any, after: Any) -> Change:
    named = {"field": clipped(f"{field}.{key}" if key else field)}
    return named | {"before": _plain(before), "after": _plain(after)} if field in SHOWN else named


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, int | float) else clipped(str(value))


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    names = dict.fromkeys([*before, *after])
    missing = object()
    return [name for name in names if before.get(name, missing) != after.get(name, missing)]


def _names(prefix: str, names: Sequence[str]) -> Sequence[Change]:
    return [{"field": clipped(f"{prefix}.{name}" if prefix else str(name))} for name in names[:MAX_CHANGES]]
