"""Entries of a HAR 1.2 file from heads, sizes and times: no bodies, no credentials."""

from __future__ import annotations

import re
from collections.abc import Collection
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from prouter.model.http import Headers, RequestHead, ResponseHead
from prouter.model.proxying import ProxyFinished
from prouter.model.times import rfc3339

CREDENTIALS = ("authorization", "proxy-authorization", "cookie", "set-cookie", "x-prouter-token")
UNTOLD: dict[str, Any] = {"cookies": [], "headersSize": -1}
PARAMETER = re.compile(r"(?<=[?&])([^=&#]+)=([^&#]*)")


def har(entries: Collection[Any], version: str) -> dict[str, Any]:
    return {"log": {"version": "1.2", "creator": {"name": "prouter", "version": version}, "entries": entries}}


def entry(
    asked: RequestHead, answer: ResponseHead | None, finished: ProxyFinished, hide: Collection[str]
) -> dict[str, Any]:
    """`hide` are globs of names, lower case: the values of such headers and parameters are not shown."""
    target, milliseconds = finished.target, finished.seconds * 1000
    wait = milliseconds if finished.wait_seconds is None else finished.wait_seconds * 1000
    hidden = {*hide, *CREDENTIALS, *target.principal.used_headers}
    url = _without_secrets(target.public_origin + target.public_prefix + target.prefix + target.rest, hidden)
    query = parse_qsl(url.partition("?")[2], keep_blank_values=True)
    head = answer or ResponseHead(finished.status, "", ())
    request = {
        "method": finished.method,
        "url": url,
        "httpVersion": f"HTTP/{asked.version}",
        "headers": _headers(asked.headers, hidden),
        "queryString": [{"name": name, "value": value} for name, value in query],
        "bodySize": finished.request_bytes,
        **UNTOLD,
    }
    response = {
        "status": finished.status,
        "statusText": head.reason,
        "httpVersion": f"HTTP/{head.version}",
        "headers": _headers(head.headers, hidden),
        "content": {"size": finished.response_bytes, "mimeType": head.get("content-type") or ""},
        "redirectURL": _without_secrets(head.get("location") or "", hidden),
        "bodySize": finished.response_bytes,
        **UNTOLD,
    }
    return {
        "startedDateTime": rfc3339(finished.began_at),
        "time": milliseconds,
        "request": request,
        "response": response,
        "cache": {},
        "timings": {"send": 0, "wait": wait, "receive": max(0.0, milliseconds - wait)},
        "comment": finished.cut,
    }


def _headers(headers: Headers, hidden: Collection[str]) -> list[dict[str, str]]:
    shown = ((name, "***" if _is_hidden(name, hidden) else _without_secrets(value, hidden)) for name, value in headers)
    return [{"name": name, "value": value} for name, value in shown]


def _without_secrets(text: str, hidden: Collection[str]) -> str:
    """Without those in the queries of URLs."""

    def shown(found: re.Match[str]) -> str:
        return f"{found[1]}=***" if _is_hidden(unquote_plus(found[1]), hidden) else found[0]

    return PARAMETER.sub(shown, text)


def _is_hidden(name: str, hidden: Collection[str]) -> bool:
    return any(fnmatchcase(name.lower(), glob) for glob in hidden)
