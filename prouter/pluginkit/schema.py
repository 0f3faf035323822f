"""Configuration sections of several owners joined to one tree of JSON schema. Every key has one owner."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prouter.errors import ConfigError
from prouter.model.plugin import ConfigSection


@dataclass(frozen=True, slots=True)
class Parameter:
    """One key of the configuration."""

    key: str
    """Dotted: "server.port"."""
    schema: Mapping[str, Any]
    owner: str

    @property
    def secret(self) -> bool:
        return bool(self.schema.get("writeOnly"))


class Schema:
    """All sections of an app."""

    def __init__(self) -> None:
        self._parameters: dict[str, Parameter] = {}
        self._sections: set[str] = set()

    def add(self, owner: str, sections: Sequence[ConfigSection]) -> None:
        """Raises ConfigError when a key is somebody else's already; the message names both."""
        for section in sections:
            self._sections.add(section.name)
            for name, schema in section.properties.items():
                key = f"{section.name}.{name}" if section.name else name
                taken = self._parameters.get(key)
                if taken is not None:
                    raise ConfigError([f"{key}: declared by {taken.owner} and by {owner}; switch one of them off"])
                self._parameters[key] = Parameter(key, schema, owner)

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


def default_of(schema: Mapping[str, Any]) -> Any:
    """The default of a property; of an object without one, that of its properties."""
    if "default" in schema:
        return _copy(schema["default"])
    if schema.get("type") == "object" and "properties" in schema:
        return {name: default_of(below) for name, below in schema["properties"].items()}
    return None


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
            base[key] = _copy(value)
    return base


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(below) for key, below in value.items()}
    return [_copy(below) for below in value] if isinstance(value, list | tuple) else value
