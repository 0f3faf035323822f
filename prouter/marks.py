"""How a plugin marks its implementations: `implements`, which type checkers understand. `hookimpl` is beside it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

import pluggy

P = ParamSpec("P")
R = TypeVar("R")

_mark = pluggy.HookimplMarker("prouter")


def implements(
    spec: Callable[P, R],
) -> Callable[
    [Callable[Concatenate[Any, P], R | Awaitable[R]]],
    Callable[Concatenate[Any, P], R | Awaitable[R]],
]:
    """Mark a method as an implementation of a hook, in a form that mypy and pyright check against its specification.

    `spec` is the hook itself: `@implements(hookspecs.prouter_authorize)`. The method has all arguments of the hook, by
    their names and in their order, and may be `def` or `async def`. It registers the same as `@hookimpl` does. Raises
    TypeError where `spec` is no hook.
    """
    if not hasattr(spec, "prouter_kind"):
        raise TypeError(f"{getattr(spec, '__name__', spec)!r} is no hook of prouter")

    def mark(
        implementation: Callable[Concatenate[Any, P], R | Awaitable[R]],
    ) -> Callable[Concatenate[Any, P], R | Awaitable[R]]:
        return _mark(implementation, specname=spec.__name__)

    return mark
