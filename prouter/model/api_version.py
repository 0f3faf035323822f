"""The version of the plugin API: what it promises, who fits it, and how what came later is marked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

API_VERSION = 1
"""Version of the plugin API. A plugin may name the one it targets in `prouter_api_version` (an int, on its class).

What is added keeps the number: a hook, an argument of one, a field with a default in a value, a method of a service, a
member of an enumeration, a method of what plugins hand over (marked `added`). What a plugin written before could
stumble over makes a new number: a hook, argument, field or method that goes or is renamed, a kind or meaning that
changes, a value that is asked for where None was fine. prouter takes plugins of every version from OLDEST_API_VERSION
to this one, and those that name none; one that names a later version wants something that is not there, and is left
out. Deadlines are no part of it.
"""
OLDEST_API_VERSION = 1
"""Of those that still work here. It grows only with a release that says so in its changelog."""


def added(method: F) -> F:
    """Mark a method of a Protocol that plugins implement as newer than others of them: one may be without it."""
    method.prouter_added = True  # type: ignore[attr-defined]
    return method


def api_misfit(wanted: object) -> str:
    """Why a plugin that targets this version can not be used; empty when it can."""
    if isinstance(wanted, bool) or not isinstance(wanted, int):
        return f"prouter_api_version is {wanted!r}, and has to be an int"
    if wanted > API_VERSION:
        return f"it targets version {wanted} of the plugin API, this is {API_VERSION}; a newer prouter has it"
    if wanted < OLDEST_API_VERSION:
        return (
            f"it targets version {wanted} of the plugin API, the oldest that works here is {OLDEST_API_VERSION}; "
            "install a newer version of it"
        )
    return ""
