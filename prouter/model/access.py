"""Who asks, for what, from where: the values of authentication and authorization, and secrets that do not leak."""

from __future__ import annotations

import hmac
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from prouter.model.ids import AgentUid, JobUid


class Secret:
    """A text that shows as `***` wherever it is printed; `reveal()` is the only way to it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def matches(self, other: str) -> bool:
        """Constant-time comparison."""
        return hmac.compare_digest(self._text.encode("utf-8", "replace"), other.encode("utf-8", "replace"))

    def __repr__(self) -> str:
        return "***"


def any_matches(secrets: Iterable[Secret], offered: str) -> bool:
    """Whether one of `secrets` is `offered`; all are compared, so that time tells nothing."""
    found = False
    for secret in secrets:
        found |= secret.matches(offered)
    return found


def token_bits(token: str) -> float:
    """An upper bound of a token's entropy in bits, from its length and the alphabet that it uses."""
    if not token:
        return 0.0
    kinds = (
        (str.isdigit, 10),
        (lambda c: c in "abcdef", 6),
        (lambda c: c.islower() and c not in "abcdef", 20),
        (lambda c: c in "ABCDEF", 6),
        (lambda c: c.isupper() and c not in "ABCDEF", 20),
        (lambda c: not c.isalnum(), 4),
    )
    alphabet = sum(size for belongs, size in kinds if any(belongs(c) for c in token))
    distinct = len(set(token))
    if distinct < 8:  # 32 random hex digits have fewer distinct ones less often than once in a million tokens
        return float(distinct)
    return len(token) * math.log2(min(alphabet, distinct * 4))


MIN_TOKEN_BITS = 128
"""What a token must be able to hold before an endpoint listens beyond loopback (RFC 6750 5.2 asks for no less)."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection to us."""

    host: str
    """Numeric address; empty for a unix socket."""
    port: int
    secure: bool = False
    """Whether the client's side is TLS."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a request, as an authenticator found it. `findings` travel with the request to the proxy hooks."""

    name: str
    authenticator: str = ""
    """The plugin that said so; empty for anonymous."""
    used_headers: frozenset[str] = frozenset()
    """Lower-case names of the headers that authenticated: they are taken off before a job sees the request."""
    used_cookies: frozenset[str] = frozenset()
    findings: Mapping[str, Any] = field(default_factory=dict)


ANONYMOUS = Principal("anonymous")
"""Everybody, while no authenticator guards requests (loopback only)."""


@dataclass(frozen=True, slots=True)
class Resource:
    """What an action is about: the router itself (both None), an agent, or a job."""

    agent: AgentUid | None = None
    job: JobUid | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A veto, or credentials that are wrong; `reason` is shown to the client."""

    reason: str


@dataclass(frozen=True, slots=True)
class Guards:
    """What an authenticator guards as it is configured: collected at start to decide where we may listen."""

    requests: bool = False
    agents: bool = False
    weakest_request_bits: float = math.inf
    """Bits of the weakest credential for requests; infinite when it holds none itself (keys, an identity provider)."""
    weakest_agent_bits: float = math.inf
    lasting: bool = False
    """What it says of the same header lines from the same address stays true until the configuration is read again: it
    need not be asked about each of a connection's requests."""
    reads: frozenset[str] | None = None
    """Lower-case names of the headers by which it says so; None: it may be any. With `lasting` it is then not asked of
    requests either that differ in other headers only, and the target."""
