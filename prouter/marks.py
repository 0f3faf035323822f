"""How a plugin marks its implementations: `hookimpl`, and `implements`, which type checkers understand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar, overload

import pluggy

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])

_mark = pluggy.HookimplMarker("prouter")


@overload
def hookimpl(function: F) -> F: ...


@overload
def hookimpl(
    function: F,
    *,
    before: Sequence[str] = (),
    after: Sequence[str] = (),
    tryfirst: bool = False,
    trylast: bool = False,
    specname: str | None = None,
    wrapper: bool = False,
) -> F: ...


@overload
def hookimpl(
    *,
    before: Sequence[str] = (),
    after: Sequence[str] = (),
    tryfirst: bool = False,
    trylast: bool = False,
    specname: str | None = None,
    wrapper: bool = False,
) -> Callable[[F], F]: ...


def hookimpl(
    function: F | None = None,
    *,
    before: Sequence[str] = (),
    after: Sequence[str] = (),
    tryfirst: bool = False,
    trylast: bool = False,
    specname: str | None = None,
    wrapper: bool = False,
) -> F | Callable[[F], F]:
    """Mark an implementation of the hook with the function's name (or `specname`).

    Of several plugins that implement a hook, those of other people are asked before those that ship, the later name
    before the earlier one; at a start (the kinds collect and setup) it is the other way round. An implementation may
    say where it stands instead: `before` and `after` are names of plugins beside which it wants to be asked, and win
    over everything else; `tryfirst` and `trylast` put it before or behind all that say nothing. Names of plugins that
    are not there, and its own, count for nothing. Plugins that want to be before each other are left out, with that
    reason. pluggy's `wrapper` is refused when the plugin is loaded: hooks here are awaited, which pluggy does not do.

    ::

        @hookimpl(before=("quota",), after=("single_sign_on",))
        async def prouter_authorize(self, principal, action, resource): ...
    """
    if isinstance(before, str) or isinstance(after, str):
        raise TypeError("before and after are sequences of names: before=('plugin',)")

    def mark(marked: F) -> F:
        marked.prouter_before = tuple(before)  # type: ignore[attr-defined]
        marked.prouter_after = tuple(after)  # type: ignore[attr-defined]
        return _mark(marked, specname=specname, tryfirst=tryfirst, trylast=trylast, wrapper=wrapper)

    return mark if function is None else mark(function)


def implements(
    spec: Callable[P, R], *, before: Sequence[str] = (), after: Sequence[str] = ()
) -> Callable[
    [Callable[Concatenate[Any, P], R | Awaitable[R]]],
    Callable[Concatenate[Any, P], R | Awaitable[R]],
]:
    """Mark a method as an implementation of a hook, in a form that mypy and pyright check against its specification.

    `spec` is the hook itself: `@implements(hookspecs.prouter_authorize)`. The method has all arguments of the hook, by
    their names and in their order, and may be `def` or `async def`. It registers the same as `@hookimpl` does; `before`
    and `after` are as there. Raises TypeError where `spec` is no hook.
    """
    if not hasattr(spec, "prouter_kind"):
        raise TypeError(f"{getattr(spec, '__name__', spec)!r} is no hook of prouter")

    def mark(
        implementation: Callable[Concatenate[Any, P], R | Awaitable[R]],
    ) -> Callable[Concatenate[Any, P], R | Awaitable[R]]:
        return hookimpl(implementation, before=before, after=after, specname=spec.__name__)

    return mark
