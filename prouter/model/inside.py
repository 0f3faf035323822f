"""What a daemon tells of its inside, made fit to be shown: plain, clipped, bounded as a whole. Pure.

Does not belong here: what is told (pluginkit/inside.py, and the rooms of router and agent).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

MOST_BYTES = 256 * 1024
"""Of it all as JSON, unless somebody says otherwise."""
MEMBERS = 200
"""Of one list or object."""
CHARACTERS = 200
"""Of one text."""
DEPTH = 8
LEFT_OUT = "left_out"
_CREDENTIALS = re.compile(r"//[^/@\s]*@")
"""In a URL."""


def bounded(parts: Mapping[str, Any], most_bytes: int = MOST_BYTES) -> dict[str, Any]:
    """All of it as JSON knows it, by part; of what is too large a beginning, and how much is `left_out`."""
    shown = {str(name)[:CHARACTERS]: plain(part) for name, part in list(parts.items())[:MEMBERS]}
    sizes = {name: len(json.dumps(part)) for name, part in shown.items()}
    while sum(sizes.values()) > most_bytes and sizes:
        largest = max(sizes, key=lambda name: sizes[name])
        shown[largest] = {f"{LEFT_OUT}_bytes": sizes.pop(largest)}
    return shown


def plain(value: Any, depth: int = DEPTH) -> Any:
    if value is None or isinstance(value, bool | int):
        return value if not isinstance(value, int) or abs(value) < 1 << 63 else str(value)[:CHARACTERS]
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return text(value)
    if depth and isinstance(value, Mapping):
        kept = {text(str(name)): plain(member, depth - 1) for name, member in list(value.items())[:MEMBERS]}
        return kept | ({LEFT_OUT: len(value) - MEMBERS} if len(value) > MEMBERS else {})
    if depth and isinstance(value, Iterable) and not isinstance(value, bytes | bytearray):
        members = list(value)
        more = [{LEFT_OUT: len(members) - MEMBERS}] if len(members) > MEMBERS else []
        return [plain(member, depth - 1) for member in members[:MEMBERS]] + more
    return f"({type(value).__name__})"


def text(value: str) -> str:
    """Without the credentials of a URL, and no longer than a line."""
    hidden = _CREDENTIALS.sub("//***@", value).encode("utf-8", "replace").decode()
    return hidden if len(hidden) <= CHARACTERS else f"{hidden[: CHARACTERS - 1]}…"
