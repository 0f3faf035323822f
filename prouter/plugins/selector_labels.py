"""The locator {"type": "labels", "match": {KEY: CONDITION, ...}}: the least loaded agent whose properties match.

A condition is a text (equal), a list of texts (one of them), {"exists": true or false}, or a comparison of numbers,
{"ge": 16, "lt": 64} with any of gt, ge, lt, le. All conditions must hold.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prouter import hookimpl
from prouter.model.ids import AgentUid
from prouter.model.plugin import Candidate, Selector
from prouter.model.selection import AWAY, least_loaded
from prouter.model.services import Router

COMPARISONS: Mapping[str, tuple[str, Callable[[float, float], bool]]] = {
    "gt": (">", operator.gt),
    "ge": (">=", operator.ge),
    "lt": ("<", operator.lt),
    "le": ("<=", operator.le),
}
_CONDITION: Mapping[str, Any] = {
    "anyOf": [
        {"type": "string"},
        {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 100},
        {
            "type": "object",
            "properties": {"exists": {"type": "boolean"}} | {name: {"type": "number"} for name in COMPARISONS},
            "minProperties": 1,
            "additionalProperties": False,
        },
    ]
}


class LabelsSelector:
    """Plugin `selector_labels`, and its one selector."""

    name = "labels"
    schema: Mapping[str, Any] = {
        "type": "object",
        "properties": {
            "type": {"const": "labels"},
            "match": {
                "type": "object",
                "additionalProperties": _CONDITION,
                "maxProperties": 100,
                "description": "Conditions by property: a text, a list of texts, exists, or gt, ge, lt, le.",
            },
        },
        "required": ["type", "match"],
        "additionalProperties": False,
    }

    def __init__(self) -> None:
        self._router: Router | None = None

    @hookimpl
    def prouter_startup(self, router: Router) -> None:
        self._router = router

    @hookimpl
    def prouter_selectors(self) -> Sequence[Selector]:
        return [self]

    async def choose(self, locator: Mapping[str, Any], candidates: Sequence[Candidate]) -> AgentUid:
        assert self._router is not None
        reasons = {agent.uid: AWAY for agent in self._router.agents.list() if not agent.connected}
        matching = []
        for candidate in candidates:
            mismatch = first_mismatch(locator["match"], candidate.properties)
            if mismatch is None:
                matching.append(candidate)
            else:
                reasons[candidate.uid] = mismatch
        return least_loaded(matching, reasons)


def first_mismatch(match: Mapping[str, Any], properties: Mapping[str, str]) -> str | None:
    """Why these properties do not match, as a sentence's end; None when they do."""
    for key, condition in match.items():
        why = _mismatch(condition, properties.get(key))
        if why is not None:
            return f"its property {key!r} {why}"
    return None


def _mismatch(condition: Any, value: str | None) -> str | None:
    if isinstance(condition, Mapping):
        if "exists" in condition and condition["exists"] != (value is not None):
            return "is not there" if value is None else "is there"
        bounds = {name: bound for name, bound in condition.items() if name in COMPARISONS}
        return _out_of_bounds(bounds, value) if bounds else None
    if value is None:
        return "is not there"
    allowed = [condition] if isinstance(condition, str) else list(condition)
    if value in allowed:
        return None
    return f"is {value!r}, not {allowed[0]!r}" if len(allowed) == 1 else f"is {value!r}, none of {allowed}"


def _out_of_bounds(bounds: Mapping[str, float], value: str | None) -> str | None:
    if value is None:
        return "is not there"
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if math.isnan(number):
        return f"is {value!r}, which is no number"
    for name, bound in bounds.items():
        sign, holds = COMPARISONS[name]
        if not holds(number, bound):
            return f"is {value}, not {sign} {bound:g}"
    return None
