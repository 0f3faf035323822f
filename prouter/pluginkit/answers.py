"""Whether what an implementation answered is what its hook's specification says: by the annotation of its result.

A value of the right type that can not be used as it is (model/sound.py) is none, too.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from prouter.model import sound

Fits = Callable[[Any], bool]


@lru_cache(maxsize=500)
def result_of(specification: Callable[..., Any]) -> Any:
    """The annotation of the result; Any where there is none that can be read."""
    try:
        return get_type_hints(specification).get("return", Any)
    except NameError:
        return Any


def fits(hint: Any) -> Fits:
    """Made once for a hook, asked for every answer but None."""
    hint = getattr(hint, "__supertype__", hint)
    if get_origin(hint) in (Union, types.UnionType):
        members = [getattr(m, "__supertype__", m) for m in get_args(hint) if m is not type(None)]
        if all(_is_plain(member) for member in members):
            return _is_one_of(tuple(members))
        several = [fits(member) for member in members]
        return lambda value: any(one(value) for one in several)
    if hint is Any or hint is type(None):
        return lambda value: True
    origin, inside = get_origin(hint), get_args(hint)
    if isinstance(origin, type) and issubclass(origin, Mapping) and inside:
        key, below = fits(inside[0]), fits(inside[1])
        return lambda value: isinstance(value, Mapping) and all(key(k) and below(v) for k, v in value.items())
    if isinstance(origin, type) and issubclass(origin, Sequence) and origin is not tuple and inside:
        each = fits(inside[0])
        return lambda value: isinstance(value, list | tuple) and all(each(member) for member in value)
    kind = origin or hint
    if getattr(kind, "_is_protocol", False):
        wanted = _members(kind)
        return lambda value: all(hasattr(value, name) for name in wanted)
    return _is_one_of((kind,))


def _is_one_of(kinds: tuple[type[Any], ...]) -> Fits:
    if any(map(sound.is_looked_at, kinds)):
        return lambda value: isinstance(value, kinds) and not sound.wrong(value)
    return lambda value: isinstance(value, kinds)


def words(hint: Any) -> str:
    """What was wanted: "Principal or Refusal"."""
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(words(member) for member in get_args(hint) if member is not type(None))
    inside = get_args(hint)
    name = getattr(get_origin(hint) or hint, "__name__", str(hint))
    return f"{name} of {' and '.join(words(member) for member in inside)}" if inside else name


def described(value: Any) -> str:
    """What came instead: "int", "list of str and int", "Reply with a status that is none of 200 to 599"."""
    name = f"{type(value).__name__} {sound.wrong(value)}".rstrip()
    if not isinstance(value, list | tuple) or not value:
        return name
    return f"{name} of {' and '.join(dict.fromkeys(type(member).__name__ for member in value[:20]))}"


def _is_plain(hint: Any) -> bool:
    return isinstance(hint, type) and get_origin(hint) is None and not getattr(hint, "_is_protocol", False)


def _members(protocol: type) -> list[str]:
    """What one of its kind must have."""
    found: Iterable[str] = (
        name
        for cls in protocol.__mro__
        if getattr(cls, "_is_protocol", False)
        for name in (*vars(cls), *getattr(cls, "__annotations__", ()))
    )
    needed = {name for name in found if not name.startswith("_")}
    return sorted(name for name in needed if not hasattr(getattr(protocol, name, None), "prouter_added"))
