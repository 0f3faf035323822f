"""What a head looks like on its way through us: hop-by-hop always goes, the plan decides the rest. Pure.

Sources: RFC 9110 7.6.1 (Connection), RFC 9112 9.6, RFC 6265 5.2 (Set-Cookie).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection
from functools import lru_cache

from prouter.http1.fields import names_in
from prouter.http1.framing import BodyKind, Framing
from prouter.model.http import AnswerPolicy, ForwardPlan, Headers, RequestHead, ResponseHead

HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "upgrade",
        "http2-settings",
    )
)
"""Transfer-Encoding and Trailer stay: a body passes as it was framed."""
ANSWER_FRAMING = frozenset(("content-length", "transfer-encoding", "trailer", "connection", "upgrade"))
"""Headers of an answer that say how long it is and what the connection becomes."""
REQUEST_FRAMING = ANSWER_FRAMING | {"expect", "te"}
"""Those of a request, and what its client is ready for."""
NEVER_NOMINATED = frozenset(("host", "content-length", "transfer-encoding", "authorization", "cookie"))
"""A client can not have these taken off by naming them in Connection."""
_ABSOLUTE = re.compile(r"(https?://[^/?#]*)([/?#].*)?", re.IGNORECASE)


def forward_request(head: RequestHead, plan: ForwardPlan) -> bytes:
    """The head that the job gets."""
    gone = _gone(frozenset(plan.drop), tuple([name for name, _ in plan.set_headers]))
    if head.get("connection") is not None:
        gone |= frozenset(names_in(head.all("connection"))) - NEVER_NOMINATED
    lines = [f"{head.method} {plan.target} HTTP/1.1", f"Host: {plan.host}"]
    for name, value in head.headers:
        lower = name.lower()
        if lower in gone or ("_" in lower and _looks_like(lower.replace("_", "-"), gone)):
            continue
        if lower == "cookie" and plan.drop_cookies:
            value = _without_cookies(value, plan.drop_cookies)
            if not value:
                continue
        lines.append(f"{name}: {value}")
    lines += [f"{name}: {value}" for name, value in plan.set_headers]
    if head.get("upgrade") is not None and head.upgrade:
        lines.append(f"Upgrade: {head.get('upgrade')}\r\nConnection: Upgrade")
    elif head.get("te") is not None and "trailers" in names_in(head.all("te")):
        lines.append("TE: trailers\r\nConnection: TE")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def _looks_like(name: str, gone: frozenset[str]) -> bool:
    """WSGI and CGI make one name of - and _: what must not come in one form must not in the other."""
    return name in gone or name in REQUEST_FRAMING


@lru_cache(256)
def _gone(drop: frozenset[str], said: tuple[str, ...]) -> frozenset[str]:
    """Of a request that names nothing in Connection. Plans are of a few kinds, and sets are slow to join."""
    return HOP_BY_HOP | drop | frozenset(name.lower() for name in said) | frozenset(("host",))


@lru_cache(256)
def _gone_of_answers(said: tuple[str, ...]) -> frozenset[str]:
    """Likewise, of an answer that names nothing in Connection."""
    return HOP_BY_HOP | frozenset(name.lower() for name in said)


def end_to_end(head: RequestHead) -> RequestHead:
    """As hooks see it: what Connection names is gone, and is not named any more. Else a client could have taken off
    what a hook sets, the name of its user for instance."""
    kept = _unnominated(head.headers, head.all("connection"), REQUEST_FRAMING)
    return head if kept is None else dataclasses.replace(head, headers=kept)


def answer_end_to_end(head: ResponseHead) -> ResponseHead:
    """The same of an answer: else a job could take off what a hook adds."""
    kept = _unnominated(head.headers, head.all("connection"), ANSWER_FRAMING)
    return head if kept is None else dataclasses.replace(head, headers=kept)


def _unnominated(headers: Headers, connection: list[str], framing: frozenset[str]) -> Headers | None:
    """Without what the values of Connection name, in the form with underscores, too; None where that is nothing."""
    nominated = frozenset(names_in(connection))
    nominated = nominated and nominated - NEVER_NOMINATED - framing - HOP_BY_HOP - {"close"}
    if not nominated:
        return None
    kept = []
    for name, value in headers:
        lower = name.lower()
        if lower == "connection":
            value = ", ".join(token for token in names_in([value]) if token not in nominated)
        named = lower in nominated or lower.replace("_", "-") in nominated
        if not (named or (lower == "connection" and not value)):
            kept.append((name, value))
    return tuple(kept)


def without_credentials(head: RequestHead, client: RequestHead, names: Collection[str]) -> RequestHead:
    """`head`, which hooks may have made of the client's, without the client's own headers of these (lower-case) names.
    What a hook put in their place is for the job, and stays."""
    if not names:
        return head
    theirs = {(name.lower(), value) for name, value in client.headers if name.lower().replace("_", "-") in names}
    kept = tuple(line for line in head.headers if (line[0].lower(), line[1]) not in theirs)
    return dataclasses.replace(head, headers=kept)


def reframed(changed: RequestHead, original: RequestHead) -> RequestHead:
    """What a hook made of a head, with the verb and the framing of the client's: the body is sent as it comes."""
    if changed is original:
        return original
    kept = tuple((name, value) for name, value in changed.headers if name.lower() not in REQUEST_FRAMING)
    framing = tuple((name, value) for name, value in original.headers if name.lower() in REQUEST_FRAMING)
    return dataclasses.replace(changed, method=original.method, version=original.version, headers=kept + framing)


def forward_response(
    head: ResponseHead,
    policy: AnswerPolicy,
    *,
    framing: Framing,
    keep_alive: bool,
    old_client: bool,
    extra: Headers = (),
) -> bytes:
    """The head that the client gets. `old_client`: it speaks HTTP/1.0, so a chunked body is sent decoded."""
    said = (*policy.set_headers, *extra)
    gone = _gone_of_answers(tuple([name for name, _ in said]))
    if head.get("connection") is not None:
        gone |= frozenset(names_in(head.all("connection"))) - NEVER_NOMINATED
    if old_client:
        gone |= frozenset(("transfer-encoding", "trailer"))
    if head.status < 200 or head.status == 204:  # RFC 9110 8.6, RFC 9112 6.1: no body, so nothing of its length
        gone |= frozenset(("transfer-encoding", "trailer", "content-length"))
    lines = [f"HTTP/1.1 {head.status} {head.reason}"]
    for name, value in head.headers:
        lower = name.lower()
        if lower in gone:
            continue
        if lower == "location" and head.status // 100 in (2, 3):
            value = rewrite_location(value, policy)
        elif lower == "set-cookie" and policy.prefix:
            value = scope_cookie(value, policy.prefix)
        lines.append(f"{name}: {value}")
    lines += [f"{name}: {value}" for name, value in said]
    if framing.kind is BodyKind.TUNNEL:
        lines.append(f"Upgrade: {head.get('upgrade') or ''}\r\nConnection: Upgrade")
    elif head.status >= 200:
        if not keep_alive:
            lines.append("Connection: close")
        elif old_client:
            lines.append("Connection: keep-alive")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def keep_framing(old: ResponseHead, new: ResponseHead) -> ResponseHead:
    """What somebody made of an answer's head, framed as the job framed it: where the body ends is not theirs to say."""
    if new is old:
        return old
    kept = tuple(line for line in new.headers if line[0].lower() not in ANSWER_FRAMING)
    status = new.status if _has_body(new.status) == _has_body(old.status) and new.status >= 200 else old.status
    framing = tuple(line for line in old.headers if line[0].lower() in ANSWER_FRAMING)
    return ResponseHead(status, new.reason, kept + framing, old.version)


def _has_body(status: int) -> bool:
    return status >= 200 and status not in (204, 304)


def rewrite_location(location: str, policy: AnswerPolicy) -> str:
    """A place of the job's own gets the prefix that the client needs; every other one is left alone."""
    found = _ABSOLUTE.fullmatch(location)
    origin, rest = "", location
    if found is not None:
        if found[1].lower() not in policy.own_origins:
            return location
        origin, rest = policy.client_origin, found[2] or "/"
        if not rest.startswith("/"):
            rest = "/" + rest
    elif not location.startswith("/") or location.startswith(("//", "/\\")):
        return location
    return origin + (rest if has_prefix(rest, policy.prefix) else policy.prefix + rest)


def scope_cookie(cookie: str, prefix: str) -> str:
    """A job's cookie counts for the job's paths only: Path below the prefix, no Domain."""
    pair, *attributes = cookie.split(";")
    path, kept = "/", []
    for attribute in attributes:
        name, _, value = attribute.strip().partition("=")
        match name.strip().lower():
            case "path":
                path = value.strip() if value.strip().startswith("/") else "/"
            case "domain":
                pass
            case _:
                kept.append(attribute)
    scoped = path if has_prefix(path, prefix) else prefix + path
    return ";".join([pair, f" Path={scoped}", *kept])


def has_prefix(path: str, prefix: str) -> bool:
    """Whether a path lies below the prefix already."""
    return not prefix or path == prefix or path.startswith((prefix + "/", prefix + "?", prefix + "#"))


def _without_cookies(value: str, names: frozenset[str]) -> str:
    kept = [part.strip() for part in value.split(";") if part.partition("=")[0].strip() not in names]
    return "; ".join(part for part in kept if part)
