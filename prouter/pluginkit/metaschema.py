"""Whether a JSON schema is one, asked of every section and selector at each start of a daemon. Pure.

jsonschema asks the eight documents of draft 2020-12 one after the other, by references that it resolves anew for each
keyword: that was half of the time that a daemon needed to start. Here they are one document, which says the same.
They come from jsonschema_specifications, which jsonschema itself is built on.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import jsonschema
from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]

_DRAFT = jsonschema.Draft202012Validator


def check(schema: Any) -> None:
    """Raises jsonschema.SchemaError for one that draft 2020-12 does not allow."""
    if not _joined().is_valid(schema):
        _DRAFT.check_schema(schema)  # for its words


@cache
def _joined() -> jsonschema.Draft202012Validator:
    meta = _DRAFT.META_SCHEMA
    joined: dict[str, Any] = {"$schema": meta["$schema"], "type": meta["type"], "properties": {}, "$defs": {}}
    for document in documents():
        for place in ("properties", "$defs"):  # no two documents speak of one keyword
            joined[place] |= {name: _within(below) for name, below in document.get(place, {}).items()}
    return _DRAFT(joined, format_checker=_DRAFT.FORMAT_CHECKER)


def documents() -> list[Mapping[str, Any]]:
    """Those of draft 2020-12, the first of which names the others."""
    meta = _DRAFT.META_SCHEMA
    base = meta["$id"].rpartition("/")[0]
    return [meta, *(REGISTRY.contents(f"{base}/{part['$ref']}") for part in meta["allOf"])]


def _within(schema: Any) -> Any:
    """The same with references that lead into the joined document; "#meta" is the whole of it."""
    if isinstance(schema, list):
        return [_within(below) for below in schema]
    if not isinstance(schema, Mapping):
        return schema
    found = {}
    for name, below in schema.items():
        if name == "$dynamicRef":
            found["$ref"] = "#"
        elif name == "$ref":
            found["$ref"] = "#" + below.rpartition("#")[2]
        else:
            found[name] = _within(below)
    return found
