"""Errors as clients see them: problem+json (RFC 9457). Nothing but what an error class declares safe is in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from prouter.errors import Internal, ProuterError
from prouter.model.http import Reply

CONTENT_TYPE = "application/problem+json"


def problem(error: ProuterError, request_id: str, *, close: bool = False) -> Reply:
    """The answer for an error. An internal one names the request, by which the log has more."""
    document: dict[str, Any] = {
        "type": f"urn:prouter:{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "retryable": error.retryable,
        **error.extra,
    }
    if isinstance(error, Internal):
        document["request_id"] = request_id
    return Reply(error.status, _plain(error.headers), _json(document), CONTENT_TYPE, close)


def _plain(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value.replace("\r", " ").replace("\n", " ")) for name, value in headers.items())


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, default=str).encode("utf-8", "replace")
