"""Configuration sections of several owners joined to one tree of JSON schema. Every key has one owner."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jsonschema

from prouter.errors import ConfigError
from prouter.model.plugin import ConfigSection
from prouter.pluginkit import metaschema

_PLUGIN = "the plugin "


def plugin_owner(name: str) -> str:
    """Whose sections those of a plugin are."""
    return _PLUGIN + name


@dataclass(frozen=True, slots=True)
class Parameter:
    """One key of the configuration."""

    key: str
    """Dotted: "server.port"."""
    schema: Mapping[str, Any]
    owner: str
    """As errors name it: "prouter", or what `plugin_owner` makes of a plugin's name."""
    reloadable: bool = False

    @property
    def plugin(self) -> str:
        """The plugin that declared it; empty for one of prouter's own."""
        return self.owner.removeprefix(_PLUGIN) if self.owner.startswith(_PLUGIN) else ""

    @property
    def secret(self) -> bool:
        return bool(self.schema.get("writeOnly"))


class Schema:
    """All sections of an app."""

    def __init__(self) -> None:
        self._parameters: dict[str, Parameter] = {}
        self._sections: set[str] = set()

    def add(self, owner: str, sections: Sequence[ConfigSection]) -> None:
        """All of them or none. Raises ValueError for a schema that is none.

        Raises ConfigError when a key is somebody else's already; the message names both.
        """
        fresh: dict[str, Parameter] = {}
        for section in sections:
            for name, schema in section.properties.items():
                key = f"{section.name}.{name}" if section.name else name
                check_schema(key, schema)
                taken = self._parameters.get(key) or fresh.get(key)
                if taken is not None:
                    raise ConfigError([f"{key}: declared by {taken.owner} and by {owner}; switch one of them off"])
                fresh[key] = Parameter(key, schema, owner, section.reloadable)
        self._parameters |= fresh
        self._sections |= {section.name for section in sections}

    def __iter__(self) -> Iterator[Parameter]:
        """Sorted by key."""
        return iter(sorted(self._parameters.values(), key=lambda parameter: parameter.key))

    def get(self, key: str) -> Parameter | None:
        return self._parameters.get(key)

    def is_section(self, key: str) -> bool:
        """Whether keys lie below `key`."""
        return key in self._sections or any(known.startswith(f"{key}.") for known in self._parameters)

    def owner_of(self, key: str) -> Parameter | None:
        """The parameter that `key` is or lies in (a member of an object)."""
        parts = key.split(".")
        for length in range(len(parts), 0, -1):
            found = self._parameters.get(".".join(parts[:length]))
            if found is not None:
                return found
        return None

    def defaults(self) -> dict[str, Any]:
        """The whole tree with its defaults."""
        tree: dict[str, Any] = {}
        for parameter in self:
            put(tree, parameter.key, default_of(parameter.schema))
        return tree


def check_schema(key: str, schema: Mapping[str, Any]) -> None:
    """Raises ValueError for a schema that is none, or whose default it does not allow, or is no JSON."""
    try:
        json.dumps(default_of(schema))
        metaschema.check(schema)
        jsonschema.Draft202012Validator(schema).validate(default_of(schema))
    except (jsonschema.SchemaError, jsonschema.ValidationError) as error:
        raise ValueError(f"the schema of {key} is wrong: {error.message[:200]}") from None
    except (TypeError, ValueError):
        raise ValueError(f"the schema of {key} is wrong: its default is no JSON") from None


def default_of(schema: Mapping[str, Any]) -> Any:
    """The default of a property; of an object without one, that of its properties."""
    if "default" in schema:
        return plain_copy(schema["default"])
    if schema.get("type") == "object" and "properties" in schema:
        return {name: default_of(below) for name, below in schema["properties"].items()}
    return None


def allowed(schema: Any) -> str:
    """What a schema allows, in words."""
    if not isinstance(schema, Mapping):
        return "nothing"
    if "enum" in schema:
        return ", ".join(json.dumps(value) for value in schema["enum"])
    kinds = schema.get("type", "any value")
    words = " or ".join(kinds) if isinstance(kinds, list) else str(kinds)
    bounds = [
        f"{word} {schema[name]:.16g}"
        for name, word in (
            ("minimum", "at least"),
            ("exclusiveMinimum", "more than"),
            ("maximum", "at most"),
            ("minLength", "of a length of at least"),
        )
        if name in schema
    ]
    if "items" in schema:
        bounds.append(f"of {allowed(schema['items'])}")
    if "properties" in schema:
        bounds.append(f"with {', '.join(schema['properties'])}")
    return " ".join([words, " and ".join(bounds)]).strip()


def mistake_text(error: jsonschema.ValidationError) -> str:
    """What is wrong, for the one who sent it: whole objects and secrets are not repeated."""
    named = error.validator in ("required", "additionalProperties")
    hidden = isinstance(error.instance, dict | list) or (
        isinstance(error.schema, Mapping) and error.schema.get("writeOnly")
    )
    if hidden and not named:
        return f"this is not allowed; allowed: {allowed(error.schema)}"
    return error.message[:300]


def put(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key, making the levels above it."""
    *above, last = key.split(".")
    for part in above:
        below = tree.get(part)
        if not isinstance(below, dict):
            below = tree[part] = {}
        tree = below
    tree[last] = value


def merge(base: dict[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """`more` over `base`, maps merged deeply, everything else replaced. `base` is changed and returned."""
    for key, value in more.items():
        below = base.get(key)
        if isinstance(below, dict) and isinstance(value, Mapping):
            merge(below, value)
        else:
            base[key] = plain_copy(value)
    return base


def plain_copy(value: Any) -> Any:
    """Maps and lists all the way down, tuples as lists."""
    if isinstance(value, Mapping):
        return {key: plain_copy(below) for key, below in value.items()}
    return [plain_copy(below) for below in value] if isinstance(value, list | tuple) else value
