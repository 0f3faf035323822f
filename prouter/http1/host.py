"""The Host header (RFC 9110 7.2): a name or an IP literal, and perhaps a port."""

from __future__ import annotations

import re

HOST = re.compile(r"(?:[A-Za-z0-9._~\-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{1,5}))?")


def valid_host(value: str) -> bool:
    """Whether a Host names a host. No userinfo, no path, no underscore tricks beyond what resolvers take."""
    found = HOST.fullmatch(value)
    return found is not None and (found[1] is None or int(found[1]) <= 65535)
