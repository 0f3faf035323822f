"""Under which hosts and origins clients reach the control endpoint, and what a trusted proxy in front of us says of it.

X-Forwarded-Proto, -Host and -Prefix, and Forwarded where none of the others is there, count only from
`control.trusted_proxies`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache, partial
from urllib.parse import urlsplit

from prouter.core.settings import RouterSettings
from prouter.errors import ConfigError, Misdirected
from prouter.model.access import Peer
from prouter.model.forwarded import believed
from prouter.model.http import RequestHead
from prouter.web.browser import host_is_ours, host_name

_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)*")
"""Segments of a path (RFC 3986 3.3), none of them empty: `//host` would be another site."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Origins:
    """Knows our names. Raises ConfigError for networks and URLs of the configuration that are none."""

    def __init__(self, settings: RouterSettings) -> None:
        self._trusted = _networks(settings.trusted_proxies)
        self._public_url = _public_url(settings.public_url)
        interface = settings.control.interface.lower()
        self._names = {interface, *(host_name(name) for name in settings.hosts)}
        self._public_origin = self._public_prefix = ""
        if self._public_url:
            parts = urlsplit(self._public_url)
            self._names.add(host_name(parts.netloc))
            self._public_origin, self._public_prefix = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
        wildcard = interface in ("0.0.0.0", "::")  # noqa: S104 -- compared, not bound
        self._host_is_ours = lru_cache(256)(partial(host_is_ours, names=frozenset(self._names), wildcard=wildcard))

    def host_is_ours(self, head: RequestHead) -> bool:
        return self._host_is_ours(head.get("host") or "")

    def refuse_host(self, head: RequestHead) -> None:
        """Raises Misdirected."""
        raise Misdirected(
            f"{host_name(head.get('host') or '')!r} is not a name of this router; add it to control.hosts if it is"
        )

    def trusts(self, peer: Peer) -> bool:
        """Whether the peer is one of control.trusted_proxies."""
        return self._trusts(peer.host)

    def _trusts(self, host: str) -> bool:
        if not self._trusted:
            return False
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in self._trusted)

    def public_origin(self, head: RequestHead, peer: Peer) -> str:
        """Scheme, host and port under which this client reaches us."""
        if self._public_url:
            return self._public_origin
        scheme = "https" if peer.secure else "http"
        host = head.get("host") or ""
        if self._trusted and self.trusts(peer):
            said = believed(head, self._trusts)
            scheme = _first(head, "x-forwarded-proto") or said.get("proto") or scheme
            host = _first(head, "x-forwarded-host") or said.get("host") or host
        return f"{scheme}://{host}"

    def own_origins(self, head: RequestHead, peer: Peer) -> frozenset[str]:
        """Origins whose pages may change things: the one under which the request came."""
        scheme = "https" if peer.secure else "http"
        here = f"{scheme}://{head.get('host') or ''}"
        return frozenset((here.lower(), self.public_origin(head, peer).lower()))

    @property
    def public_prefix(self) -> str:
        """The path of control.public_url, without a slash at its end."""
        return self._public_prefix

    def prefix(self, head: RequestHead, peer: Peer) -> str:
        """Under which path this client reaches us, no slash at its end: as configured, else as a trusted peer says."""
        if self._public_url or not self._trusted or not self.trusts(peer):
            return self._public_prefix
        said = _first(head, "x-forwarded-prefix").rstrip("/")
        return said if _PREFIX.fullmatch(said) else ""


def _first(head: RequestHead, name: str) -> str:
    return (head.get(name) or "").partition(",")[0].strip()


def _networks(texts: Sequence[str]) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(text, strict=False) for text in texts)
    except ValueError as error:
        raise ConfigError([f"control.trusted_proxies: {error}; allowed: addresses and networks (10.0.0.0/8)"]) from None


def _public_url(url: str | None) -> str:
    if not url:
        return ""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise ConfigError(["control.public_url: allowed is a URL like https://example.org/prouter"])
    return url
