"""Header lines by which nothing is decided, and which a job gets as they came.

Belongs here: telling them from those that are read, on the bytes of a head. Does not: what is known of requests that
differ in nothing else (again.py).

Contract: `split` answers only where every line is valid by itself (http1/fields.py) and is either one that may be read,
or an ordinary one. What frames a body, what is hop-by-hop and what names other headers is always among those that may
be read; so are names with an underscore, which are nothing ordinary: some servers take it for a hyphen.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache

from prouter.http1.fields import VALUE
from prouter.http1.policy import HOP_BY_HOP, REQUEST_FRAMING

ALWAYS_READ = HOP_BY_HOP | REQUEST_FRAMING | frozenset(("host", "x-request-id"))
_NAME = r"[!#$%&'*+\-.^`|~0-9A-Za-z]+"
"""A token without an underscore."""


class Unread:
    """Tells lines apart, for decisions that read headers of these (lower-case) `names`, and no others."""

    def __init__(self, names: Collection[str]) -> None:
        self.names = frozenset(names) | ALWAYS_READ
        read = "|".join(re.escape(name) for name in sorted(self.names))
        self._lines = re.compile(
            rf"((?:{read}):{VALUE}\r\n)|({_NAME}:{VALUE}\r\n)|[\s\S]+".encode("latin-1"), re.IGNORECASE
        )
        """What is neither takes the rest: looked at once, and not from each of its bytes on."""

    def split(self, head: bytes, start: int, most: int) -> tuple[bytes, bytes] | None:
        """Lines that are read, and the others, of the fields that begin at `start` and go to the head's end.

        None: these are no such lines, or more than `most`.
        """
        found = self._lines.findall(head, start, len(head) - 2)
        read = b"".join([line for line, _ in found])
        others = b"".join([line for _, line in found])
        if len(read) + len(others) != len(head) - 2 - start or not head.endswith(b"\r\n\r\n") or len(found) > most:
            return None
        return read, others


@lru_cache(64)
def unread(*names: frozenset[str]) -> Unread:
    """Of all these together: the same value for the same names."""
    return _unread(frozenset().union(*names))


@lru_cache(64)
def _unread(names: frozenset[str]) -> Unread:
    return Unread(names)
