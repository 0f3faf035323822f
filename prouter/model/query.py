"""The query of a request, as its route declares it: what does not fit is refused, and nobody guesses what was meant.

Pure. Called by both endpoints before a route is asked, and by routes for what is on or off.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from prouter.errors import InvalidRequest

SWITCH: dict[str, Any] = {"enum": ["0", "1"], "default": "0"}
"""The schema of a parameter that is on or off, to be read by `switch`."""
_INTEGER = re.compile(r"[0-9]{1,18}")
_NUMBER = re.compile(r"([0-9]{1,18}(\.[0-9]{0,18})?|\.[0-9]{1,18})([eE][+-]?[0-9]{1,2})?")
_SHOWN = 20
"""Characters of a wrong value in a message."""

Schemas = Mapping[str, Mapping[str, Any]]


def read(query: str, schemas: Schemas) -> dict[str, str]:
    """The values of a raw query by name, decoded; bytes that are no UTF-8 are surrogates.

    Raises InvalidRequest for a declared parameter that does not fit its schema, or comes more than once and is no
    array. What is not declared is as it came, the last value of each.
    """
    found: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True, errors="surrogateescape"):
        schema = schemas.get(name)
        if schema is not None and schema.get("type") == "array":
            _check(name, value, schema["items"])
        elif schema is not None:
            if name in found:
                raise InvalidRequest(f"Invalid request: {name} is given more than once")
            _check(name, value, schema)
        found[name] = value
    return found


def switch(query: Mapping[str, str], name: str) -> bool:
    """Whether it is on: 1 is, 0 and nothing are not. Raises InvalidRequest for anything else."""
    value = query.get(name, "")
    _check(name, value, SWITCH)
    return value == "1"


def _check(name: str, value: str, schema: Mapping[str, Any]) -> None:
    """Raises InvalidRequest. Of JSON schema what OpenAPI documents say of parameters."""
    wrong = _mistake(value, schema)
    if wrong:
        raise InvalidRequest(f"Invalid request: {name}={value[:_SHOWN]!r} is {wrong}")


def _mistake(value: str, schema: Mapping[str, Any]) -> str:
    """What it is not; empty when it fits."""
    choices = [str(choice) for choice in schema.get("enum", ())]
    if choices:
        fits = value in choices or (value == "" and schema.get("default") == "0")
        return "" if fits else _none_of(choices)
    kind = schema.get("type")
    if kind in ("integer", "number"):
        form = _INTEGER if kind == "integer" else _NUMBER
        low, high = schema.get("minimum", 0), schema.get("maximum")
        if not form.fullmatch(value) or float(value) < low or (high is not None and float(value) > high):
            return f"not a number from {low} " + (f"to {high}" if high is not None else "on")
    elif "pattern" in schema and not re.search(schema["pattern"], value):
        return f"not of the form {schema['pattern']}"
    return ""


def _none_of(choices: list[str]) -> str:
    if len(choices) == 2:
        return f"neither {choices[0]} nor {choices[1]}"
    return f"none of {', '.join(choices)}"
