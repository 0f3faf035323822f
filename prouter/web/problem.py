"""Errors as clients see them: problem+json (RFC 9457). Nothing but what an error class declares safe is in it."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from typing import Any

from prouter.errors import Internal, ProuterError
from prouter.model.http import Reply, RequestHead
from prouter.model.ids import is_request_id
from prouter.model.trail import current

log = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"
_SENT_ID = re.compile(rb"\r\nx-request-id:[ \t]*([!-~]{1,128})[ \t]*\r\n", re.IGNORECASE)
SOON = 503
"""Always says when to ask again, whoever raised it: a link that ended, an agent that could not keep up."""


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
    headers = _plain(error.headers)
    if error.status == SOON and "Retry-After" not in error.headers:
        headers += (("Retry-After", "1"),)
    return Reply(error.status, headers, _json(document), CONTENT_TYPE, close)


def note(error: ProuterError, request_id: str, head: RequestHead) -> None:
    """A line in the log for a failure that is not the client's fault, by which its request id leads to the reason.

    Where the decisions about this request are recorded, what its client is told belongs to them.
    """
    trail = current.get()
    if trail is not None:
        trail.problem = error.detail
    if error.status >= 500:
        path, detail = head.path[:200], " ".join(error.detail.split())
        log.info("request %s, %s %s: %s %s", request_id, head.method, path, error.status, detail)


def sent_id(unparsed: bytes | bytearray) -> str:
    """The sane X-Request-Id in what was not taken for a head; empty without one, or with several."""
    found = {sent.decode("ascii") for sent in _SENT_ID.findall(unparsed)}
    sent = found.pop() if len(found) == 1 else ""
    return sent if is_request_id(sent) else ""


def _plain(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value.replace("\r", " ").replace("\n", " ")) for name, value in headers.items())


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, default=str).encode("utf-8", "replace")
