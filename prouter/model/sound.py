"""Whether a value that a plugin hands over can be used as it is: what its types promise, and no line end in a header.

A name that an identity provider gave, put into a header as it came, could begin a header of its own, or a request.
Belongs here: looking at values of model/. Does not: who is told (pluginkit/answers.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from prouter.model.access import Principal, Refusal
from prouter.model.http import ForwardPlan, Reply, RequestHead, ResponseHead
from prouter.model.plugin import Resolved

_NAMES = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
"""RFC 9110 5.6.2, of several names behind each other."""
_UNSAFE = re.compile(r"[\0\r\n]")
_TARGET = re.compile(r"[/*][!-\"$-~]*")
_REST = re.compile(r"[!-\"$-~]*")
_HOST = re.compile(r"[!-~]*")


def wrong(value: Any) -> str:
    """What is wrong with it, in words that follow the name of its type; empty for nothing."""
    look = _LOOKS.get(type(value))
    if look is None:
        return ""
    try:
        return look(value)
    except Exception as error:  # noqa: BLE001 -- made of anything
        return f"that is none ({type(error).__name__})"


def is_looked_at(kind: Any) -> bool:
    """Whether `wrong` may find something about values of this type."""
    return kind in _LOOKS


def _of_headers(headers: Any) -> str:
    if not headers:
        return ""
    try:
        names = [name for name, _ in headers]
        joined = "".join(names)
        values = "".join([value for _, value in headers])
    except (TypeError, ValueError):
        return "with headers that are no pairs of texts"
    if _NAMES.fullmatch(joined) is None or "" in names:
        return "with a header's name that is none"
    return "with a line end or NUL in a header" if _UNSAFE.search(values) else ""


def _of_names(names: Any, what: str) -> str:
    """Of headers."""
    if not names:
        return ""
    if not isinstance(names, frozenset | set) or not (
        _known_lower(names) if type(names) is frozenset else _are_lower(names)
    ):
        return f"with {what} that are no set of lower-case names"
    return ""


def _are_lower(names: Any) -> bool:
    return all(name == name.lower() for name in names)


_known_lower = lru_cache(256)(_are_lower)
"""Those that a plugin names are mostly the same ones."""


def _of_cookies(names: Any, what: str) -> str:
    return "" if not names or isinstance(names, frozenset | set) else f"with {what} that are no set of names"


def _of_principal(value: Any) -> str:
    if not isinstance(value.name, str):
        return "with a name that is no text"
    return _of_names(value.used_headers, "used_headers") or _of_cookies(value.used_cookies, "used_cookies")


def _of_refusal(value: Any) -> str:
    return "" if isinstance(value.reason, str) else "with a reason that is no text"


def _of_request(value: Any) -> str:
    if _TARGET.fullmatch(value.target) is None:
        return "with a target that is none"
    return _of_headers(value.headers)


def _of_answer(value: Any) -> str:
    if not isinstance(value.status, int) or not 100 <= value.status <= 999:
        return "with a status that is none"
    if _UNSAFE.search(value.reason):
        return "with a line end in its reason"
    return _of_headers(value.headers)


def _of_reply(value: Any) -> str:
    if not isinstance(value.status, int) or not 200 <= value.status <= 599:
        return "with a status that is none of 200 to 599"
    if not isinstance(value.body, bytes | bytearray):
        return f"with a body that is {type(value.body).__name__}, not bytes"
    if _UNSAFE.search(value.content_type):
        return "with a line end in its content type"
    return _of_headers(value.headers)


def _of_plan(value: Any) -> str:
    if _TARGET.fullmatch(value.target) is None:
        return "with a target that is none"
    if _HOST.fullmatch(value.host) is None:
        return "with a host that is none"
    return (
        _of_headers(value.set_headers)
        or _of_names(value.drop, "headers to drop")
        or (value.drop_cookies and _of_cookies(value.drop_cookies, "cookies to drop"))
        or _of_policy(value.answer)
    )


def _of_policy(value: Any) -> str:
    if _UNSAFE.search(value.prefix + value.client_origin):
        return "with a line end in what is said of answers"
    return _of_headers(value.set_headers) if value.set_headers else ""


def _of_resolved(value: Any) -> str:
    agent, port = value.agent, value.port
    if not (
        isinstance(value.job, str)
        and (agent is None or isinstance(agent, str))
        and (port is None or isinstance(port, str))
    ):
        return "with a job, agent or port that is no text"
    if _REST.fullmatch(value.prefix) is None or _REST.fullmatch(value.rest) is None:
        return "with a prefix or rest that is no part of a target"
    return ""


_LOOKS: dict[type[Any], Callable[[Any], str]] = {
    Principal: _of_principal,
    Refusal: _of_refusal,
    RequestHead: _of_request,
    ResponseHead: _of_answer,
    Reply: _of_reply,
    ForwardPlan: _of_plan,
    Resolved: _of_resolved,
}
