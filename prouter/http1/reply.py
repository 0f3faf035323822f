"""Our own small answers as bytes."""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus

from prouter.model.http import Headers, Reply


def write_reply(reply: Reply, *, head_only: bool, keep_alive: bool, old_client: bool, extra: Headers = ()) -> bytes:
    """Head and body. `head_only` for HEAD; 204 and 304 never have a body."""
    bodyless = reply.status in (204, 304) or reply.status < 200
    lines = [f"HTTP/1.1 {reply.status} {_reason(reply.status)}", f"Date: {formatdate(usegmt=True)}"]
    if not bodyless:
        lines.append(f"Content-Length: {len(reply.body)}")
    if reply.content_type:
        lines.append(f"Content-Type: {reply.content_type}")
    lines.append("X-Content-Type-Options: nosniff")
    lines.extend(f"{name}: {value}" for name, value in (*reply.headers, *extra))
    if not keep_alive:
        lines.append("Connection: close")
    elif old_client:
        lines.append("Connection: keep-alive")
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
    return head if head_only or bodyless else head + reply.body


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Status"
