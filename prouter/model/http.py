"""Heads of HTTP/1.1 requests and answers as plain values, and what the proxy's policy says of them.

Belongs here: what travels between the acceptor, the hooks and the relay. Does not: parsing and writing (http1/).
Strings are latin-1 decoded bytes (every byte survives a round trip); targets are ASCII as they came, never decoded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
"""RFC 9110 5.6.2."""

Headers = tuple[tuple[str, str], ...]
"""Name and value pairs in their order, names spelled as received; a name may occur more than once."""


def header_values(headers: Headers, name: str) -> list[str]:
    """All values of `name` (any case), in order."""
    wanted = name.lower()
    return [value for key, value in headers if key.lower() == wanted]


class _Head:
    """Looks headers up by name: a head is asked many times, so that its first look makes an index."""

    __slots__ = ("_index",)
    _index: dict[str, list[str]]
    headers: Headers

    def get(self, name: str) -> str | None:
        """The first value of a header, any case; None when absent."""
        try:
            found = self._index.get(name.lower())
        except AttributeError:
            found = self._indexed().get(name.lower())
        return found[0] if found is not None else None

    def all(self, name: str) -> list[str]:
        """All values of a header, any case, in order."""
        try:
            found = self._index.get(name.lower())
        except AttributeError:
            found = self._indexed().get(name.lower())
        return list(found) if found is not None else []

    def _indexed(self) -> dict[str, list[str]]:
        index: dict[str, list[str]] = {}
        for name, value in self.headers:
            lower = name.lower()
            if lower in index:
                index[lower].append(value)
            else:
                index[lower] = [value]
        object.__setattr__(self, "_index", index)
        return index


@dataclass(frozen=True, slots=True)
class RequestHead(_Head):
    """A request's head as it came, strictly validated.

    `target` is the raw origin-form target (path and query, percent-encoding untouched); `version` is "1.1" or "1.0".
    """

    method: str
    target: str
    headers: Headers
    version: str = "1.1"

    def with_line(self, method: str, target: str) -> RequestHead:
        """The same header lines below another request line; what was looked up in them needs no second look."""
        head = RequestHead(method, target, self.headers, self.version)
        try:
            index = self._index
        except AttributeError:
            index = self._indexed()
        object.__setattr__(head, "_index", index)
        return head

    @property
    def path(self) -> str:
        """The raw path, without the query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """The raw query without its question mark; empty when there is none."""
        return self.target.partition("?")[2]

    @property
    def upgrade(self) -> str:
        """The protocol that the request asks to switch to, lower case (RFC 9110 7.8); empty when it asks for none."""
        if self.get("upgrade") is None:
            return ""
        if not any("upgrade" in [t.strip().lower() for t in v.split(",")] for v in self.all("connection")):
            return ""
        return (self.get("upgrade") or "").strip().lower()


@dataclass(frozen=True, slots=True)
class ResponseHead(_Head):
    """An answer's head as the job sent it, strictly validated."""

    status: int
    reason: str
    headers: Headers
    version: str = "1.1"


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole small answer of ours; framing headers (Content-Length, Connection, Date) are added when it is written."""

    status: int = 200
    headers: Headers = ()
    body: bytes = b""
    content_type: str = ""
    close: bool = False
    """Close the connection after it."""

    @classmethod
    def json(cls, value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
        """A JSON document, UTF-8."""
        body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        return cls(status, tuple((headers or {}).items()), body, "application/json")

    @classmethod
    def text(cls, value: str, status: int = 200) -> Reply:
        return cls(status, (), value.encode(), "text/plain; charset=utf-8")


@dataclass(frozen=True, slots=True)
class AgentAnswer:
    """The whole answer of an agent's own service to a plugin's request."""

    status: int
    headers: Headers
    body: bytes

    def get(self, name: str) -> str | None:
        """The first value of a header, any case; None when absent."""
        values = header_values(self.headers, name)
        return values[0] if values else None

    def json(self) -> Any:
        """Raises ValueError for a body that is no JSON."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class AnswerPolicy:
    """What is done to an answer's head on its way to the client.

    A `Location` that is a path, or an URL of one of `own_origins` ("http://127.0.0.1:PORT"), and that does not begin
    with `prefix` yet gets it; a `Set-Cookie` has its Path put under `prefix` and its Domain taken off. With an empty
    prefix (the job sees the path as the client sent it) both stay. Hop-by-hop headers always go.
    """

    prefix: str = ""
    own_origins: frozenset[str] = frozenset()
    client_origin: str = ""
    """What replaces an own origin in `Location`, for instance "http://localhost:8080"; empty makes it relative."""
    set_headers: Headers = ()


@dataclass(frozen=True, slots=True)
class ForwardPlan:
    """How a proxied request looks when the job gets it: policy as values, applied by http1/policy.py.

    Hop-by-hop headers (RFC 9110 7.6.1, those named in Connection too) always go, except what an Upgrade needs.
    """

    target: str
    """The raw target that the job gets."""
    host: str
    """The value of Host that the job gets."""
    drop: frozenset[str] = frozenset()
    """Lower-case names of headers that are taken off."""
    drop_cookies: frozenset[str] = frozenset()
    """Names of the router's own cookies, taken out of Cookie."""
    set_headers: Headers = ()
    """Added after the others of the same name were taken off (X-Forwarded-*, Forwarded, X-Request-Id, Origin)."""
    answer: AnswerPolicy = field(default_factory=AnswerPolicy)
    lasting: bool = False
    """It is the same for every request from the same address (whatever its port) with the same header lines, but for
    the rest of the target (JobTarget.rest), with which `target` ends."""
    reads: frozenset[str] | None = None
    """Lower-case names of the headers by which it was decided; None: it may be any. Those that every
    plan has in `drop` or `set_headers` need not be named."""


def quoted_pairs(pairs: Iterable[tuple[str, str]]) -> str:
    """`name=value` pairs for Forwarded (RFC 7239 4): values that are no token are quoted."""
    return ";".join(
        f"{name}={value}" if _TOKEN.fullmatch(value) else f"{name}={_quoted(value)}" for name, value in pairs
    )


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
