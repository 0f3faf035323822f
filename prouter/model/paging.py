"""Lists in pages: `?limit=` and `?cursor=` in, `next` out. Pure; what is listed and filtered is the caller's.

A cursor stands for the last entry of the page before by its sort key, so that entries which come and go meanwhile
neither repeat nor hide others.
"""

from __future__ import annotations

import base64
import binascii
import heapq
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from prouter.errors import InvalidRequest

T = TypeVar("T")
Key = tuple[float | str, ...]

DEFAULT_LIMIT = 1000
MAX_LIMIT = 10000
"""Entries of one page; an entry is about a KiB."""
MAX_DIGITS = 9
"""Of a limit as text; Python makes no number of some thousands."""
QUERY: dict[str, dict[str, Any]] = {
    "limit": {
        "type": "integer",
        "minimum": 1,
        "maximum": MAX_LIMIT,
        "default": DEFAULT_LIMIT,
        "description": "Entries of one page.",
    },
    "cursor": {"type": "string", "description": "`next` of the page before."},
}


def page(entries: Iterable[T], key: Callable[[T], Key], query: Mapping[str, str]) -> tuple[list[T], str | None]:
    """The page that `query` asks for, sorted by `key`, and the cursor of the next one; None at the end.

    Keys are unique and all of one shape. No more entries are kept than a page has. Raises InvalidRequest.
    """
    limit, after = _limit(query.get("limit")), _read_cursor(query.get("cursor"))
    try:
        fitting = (entry for entry in entries if after is None or key(entry) > after)
        listed = heapq.nsmallest(limit + 1, fitting, key=key)
    except TypeError:
        raise InvalidRequest("Invalid request: the cursor is not one of this list") from None
    shown = listed[:limit]
    return shown, _write_cursor(key(shown[-1])) if len(listed) > limit else None


def pairs(query: str, name: str) -> list[str]:
    """`?label=K:V`, as often as it occurs in a raw query. Raises InvalidRequest without a colon."""
    found = [text for key, text in parse_qsl(query, keep_blank_values=True, errors="surrogateescape") if key == name]
    for text in found:
        if ":" not in text:
            raise InvalidRequest(f"Invalid request: {name}={text[:100]!r} is not KEY:VALUE")
    return found


def fits(texts: Iterable[str], labels: Mapping[str, str]) -> bool:
    """Whether each text is KEY:VALUE of a label. Keys may have colons, as values may: none is cut at one."""
    return all(any(f"{key}:{value}" == text for key, value in labels.items()) for text in texts)


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS) or not 0 < int(text) <= MAX_LIMIT:
        raise InvalidRequest(f"Invalid request: limit={text[:20]!r} is not a number from 1 to {MAX_LIMIT}")
    return int(text)


def _write_cursor(key: Key) -> str:
    return base64.urlsafe_b64encode(json.dumps(list(key)).encode()).decode().rstrip("=")


def _read_cursor(text: str | None) -> Key | None:
    if text is None:
        return None
    try:
        found = json.loads(base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(part, str | int | float) for part in found):
        raise InvalidRequest("Invalid request: the cursor is not one that a list gave")
    return tuple(found)
