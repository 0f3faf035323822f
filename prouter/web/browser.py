"""What a web page in somebody's browser may not do to us: the rules of "From a browser", as pure functions.

Programs send neither Origin nor Sec-Fetch-Site and are not concerned; browsers send at least one with every change.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

from prouter.errors import Forbidden, UnsupportedMediaType
from prouter.model.http import RequestHead

ALWAYS_OURS = ("localhost", "127.0.0.1", "::1")
UNSIMPLE = ("application/json", "application/octet-stream")
"""Types of a body that a foreign page can not send without asking first (Fetch standard, CORS-safelisted headers)."""


def host_is_ours(host: str, names: Collection[str], *, wildcard: bool) -> bool:
    """Whether a Host header names this endpoint; the port does not matter.

    `names` are those of the configuration and the address listened on, lower case; on a wildcard address every IP
    literal is ours (a page can not make a browser send a literal for a name that it rebound).
    """
    name = host_name(host)
    if name in ALWAYS_OURS or name in names:
        return True
    if not wildcard:
        return False
    try:
        return not ipaddress.ip_address(name).is_unspecified
    except ValueError:
        return False


def host_name(host: str) -> str:
    """The name in a Host header, lower case, without port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def guard_change(head: RequestHead, own_origins: Collection[str]) -> None:
    """Refuse a change that a foreign page makes.

    `own_origins` are the origins under which this request reached us. Raises Forbidden for a foreign Origin or
    Sec-Fetch-Site, UnsupportedMediaType for a body that a page can send without a preflight.
    """
    origin = head.get("origin")
    site = head.get("sec-fetch-site")
    if origin is None and site is None:
        return
    if site is not None and site.strip().lower() not in ("same-origin", "none"):
        raise Forbidden("a change may not be asked for by another site's page (Sec-Fetch-Site)")
    if origin is not None and origin.lower() not in own_origins:
        raise Forbidden("a change may not be asked for by another site's page (Origin)")
    has_body = head.get("transfer-encoding") is not None or (head.get("content-length") or "0") != "0"
    kind = (head.get("content-type") or "").partition(";")[0].strip().lower()
    if has_body and kind not in UNSIMPLE:
        raise UnsupportedMediaType(f"a browser must send a body as {' or '.join(UNSIMPLE)}")
