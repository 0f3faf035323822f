"""What several plugins offer and only one can have: a selector's type, a verb and path, a driver's name. Pure.

Belongs here: whose a claim is, how two of them are told apart. Does not: asking plugins, leaving them out (calling.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jsonschema

from prouter.model.plugin import Selector
from prouter.pluginkit import metaschema

Claims = Callable[[Any], Iterable[str]]
"""What one member of a hook's answer claims, in words. Raises ValueError for a member that can not be taken."""


def named(kind: str) -> Claims:
    """Of members that have a `name`: "driver 'process'"."""
    return lambda member: (f"{kind} {member.name!r}",)


def of_selector(selector: Selector) -> Sequence[str]:
    """By its locator's type. Raises ValueError for a schema that is none."""
    try:
        metaschema.check(selector.schema)
    except jsonschema.SchemaError as error:
        raise ValueError(f"the schema of selector {selector.name!r} is wrong: {error.message[:200]}") from None
    return (f"selector {selector.name!r}",)


class Clash(ValueError):
    """Why a plugin can not have what it claims."""


class Owners:
    """Whose each claim is."""

    def __init__(self, taken: Mapping[str, str]) -> None:
        """`taken` are claims that are nobody's to make, with the words for whose they are."""
        self._owners = dict(taken)

    def add(self, owner: str, offered: Iterable[tuple[str, Claims, Any]]) -> None:
        """All that one plugin offers, or nothing of it: (hook, claims, member) each. Raises Clash."""
        mine: dict[str, str] = {}
        for hook, claim in self._claimed(offered):
            if claim in mine:
                raise Clash(f"{hook}: {claim} is claimed twice by it")
            if claim in self._owners:
                raise Clash(f"{hook}: {claim} is claimed by {self._owners[claim]} and by {owner}")
            mine[claim] = owner
        self._owners |= mine

    def _claimed(self, offered: Iterable[tuple[str, Claims, Any]]) -> Iterator[tuple[str, str]]:
        for hook, claims, member in offered:
            try:
                found = list(claims(member))
            except Exception as error:  # a property of a plugin's object, or what it holds
                kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
                raise Clash(f"{hook}: {kind}{error}") from error
            yield from ((hook, claim) for claim in found)
