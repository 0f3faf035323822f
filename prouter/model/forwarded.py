"""The header Forwarded (RFC 7239) of proxies in front of us: read from the nearest one, as far as it is believed.

Belongs here: the header as values. Does not: who is trusted (core/origin.py), what jobs are told (http_proxy).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from prouter.model.http import RequestHead

OTHERS = ("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto")
_PAIR = re.compile(r'([!#$%&\'*+\-.^_`|~0-9A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^\s";,]+)')
_BETWEEN = re.compile(r"[ \t]*([;,]?)[ \t]*")

Element = Mapping[str, str]


def elements(head: RequestHead) -> Sequence[Element]:
    """One for each proxy, the nearest last, names lower case. None where X-Forwarded-* says the same, by which a proxy
    that passes a client's own Forwarded on is told from one that makes it; none where it is malformed.
    """
    text = ", ".join(head.all("forwarded")).strip()
    if not text or any(head.get(name) is not None for name in OTHERS):
        return ()
    found: list[dict[str, str]] = [{}]
    at = 0
    while at < len(text):
        pair = _PAIR.match(text, at)
        if pair is not None:
            found[-1][pair[1].lower()] = _unquoted(pair[2])
            at = pair.end()
        between = _BETWEEN.match(text, at)
        assert between is not None
        if between[1] == ",":
            found.append({})
        elif between[1] == "" and between.end() < len(text):
            return ()
        at = between.end()
    return [element for element in found if element]


def believed(head: RequestHead, trusts: Callable[[str], bool]) -> Element:
    """What the farthest proxy says that is reached over trusted ones alone; the peer itself is trusted."""
    said: dict[str, str] = {}
    for element in reversed(elements(head)):
        said |= element
        if not trusts(address_of(element.get("for", ""))):
            break
    return said


def address_of(text: str) -> str:
    """The address of a `for`, without brackets and port."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0]


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text
