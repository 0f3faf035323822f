"""Checking what a client sent against a schema, ours or a plugin's: the one place, bounded in work and in its answer.

Belongs here: values of requests. Does not: the configuration (config.py), which is its owner's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jsonschema

from prouter.errors import SchemaMismatch, TooLarge
from prouter.pluginkit.schema import mistake_text

MAX_MISTAKES = 20
"""Of a value against its schema; more help nobody."""
AT_ONCE = 500
"""Elements that are checked on the event loop; more of them are in a thread, or everybody waits."""
_GOES_DEEPER = (
    "items",
    "prefixItems",
    "contains",
    "uniqueItems",
    "properties",
    "patternProperties",
    "additionalProperties",
    "propertyNames",
)


async def check(value: Any, schema: Mapping[str, Any], *, below: str = "", elements: int | None = None) -> None:
    """Raises SchemaMismatch. `below` begins the pointers; `elements`, where it is known, is how many there are."""
    many = count_elements(value, AT_ONCE + 1) if elements is None else elements
    if many <= AT_ONCE:
        mistakes = _mistakes(value, schema, below)
    else:
        mistakes = await asyncio.to_thread(_mistakes, value, schema, below)
    if mistakes:
        raise SchemaMismatch(mistakes)


def count_elements(value: Any, most: int) -> int:
    """Members of all lists and objects in a JSON value, counted until there are more than `most`."""
    count, waiting = 0, [value]
    while waiting and count <= most:
        found = waiting.pop()
        if isinstance(found, list | dict):
            count += len(found)
            if count <= most:
                waiting.extend(found.values() if isinstance(found, dict) else found)
    return count


def bounded_elements(value: Any, most: int) -> int:
    """How many there are. Raises TooLarge."""
    count = count_elements(value, most)
    if count > most:
        raise TooLarge(f"the body has more than {most} elements in its lists and objects")
    return count


def _mistakes(value: Any, schema: Mapping[str, Any], below: str) -> list[tuple[str, str]]:
    found = _Validator(schema).iter_errors(value)
    return [
        (below + "".join(f"/{_escape(str(part))}" for part in error.absolute_path), mistake_text(error))
        for error, _ in zip(found, range(MAX_MISTAKES), strict=False)
    ]


def _escape(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")


Keyword = Callable[[Any, Any, Any, Mapping[str, Any]], Iterator[Any] | None]


def _unless_too_many(keyword: Keyword) -> Keyword:
    """What has more members than it may is one mistake: nobody looks at each of them as well."""

    def checked(validator: Any, wanted: Any, instance: Any, schema: Mapping[str, Any]) -> Iterator[Any]:
        most = schema.get("maxItems" if isinstance(instance, list) else "maxProperties")
        if most is None or not isinstance(instance, list | dict) or len(instance) <= most:
            yield from keyword(validator, wanted, instance, schema) or ()

    return checked


_Validator = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft202012Validator,
    {name: _unless_too_many(jsonschema.Draft202012Validator.VALIDATORS[name]) for name in _GOES_DEEPER},
)
