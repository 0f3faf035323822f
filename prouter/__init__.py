"""prouter: programs on machines that you can not reach, behind one HTTP API.

The front door for authors of plugins: `hookimpl` marks an implementation of a hook (prouter.hookspecs,
prouter.agent_hookspecs), `implements` does so in a form that type checkers understand; the values that hooks get and
return are in prouter.model, the errors in prouter.errors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, overload

import pluggy

from prouter.marks import implements

__version__ = "0.1.0"

F = TypeVar("F", bound=Callable[..., Any])
_marker = pluggy.HookimplMarker("prouter")


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
        return _marker(marked, specname=specname, tryfirst=tryfirst, trylast=trylast, wrapper=wrapper)

    return mark if function is None else mark(function)


__all__ = ["__version__", "hookimpl", "implements"]
