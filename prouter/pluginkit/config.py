"""Reading the configuration: defaults < YAML file < environment < --set. A line for each mistake.

`PROUTER_SERVER__PORT=8080` in the environment and `--set server.port=8080` mean the same; `__` separates levels.
"""

from __future__ import annotations

import ast
import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from prouter.errors import ConfigError
from prouter.pluginkit.schema import Parameter, Schema, merge, put

Tree = dict[str, Any]

PLUGIN_PROPERTIES: Mapping[str, Mapping[str, Any]] = {
    "load": {
        "type": "array",
        "items": {"type": "string"},
        "default": [],
        "description": "Further plugins: module names and paths of files.",
    },
    "disabled": {
        "type": "array",
        "items": {"type": "string"},
        "default": [],
        "description": "Names of plugins that are switched off.",
    },
    "required": {
        "type": "array",
        "items": {"type": "string"},
        "default": [],
        "description": "Names of plugins without which the start fails.",
    },
}
"""The section that is read before plugins are looked for."""


class Settings:
    """The validated configuration, defaults filled in. Implements model.services.Config."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def section(self, name: str) -> Mapping[str, Any]:
        """Raises KeyError for one that nobody declared."""
        found: Any = self._tree
        for part in name.split("."):
            found = found[part]
        if not isinstance(found, Mapping):
            raise KeyError(name)
        return found


class Sources:
    """What was said, before anybody checks it: file, environment, overrides, each read once."""

    def __init__(self, file: Path | None, environ: Mapping[str, str], prefix: str, overrides: Sequence[str]) -> None:
        self._file = _read_file(file) if file is not None else {}
        self._environ = {
            name.removeprefix(f"{prefix}_").lower().replace("__", "."): text
            for name, text in environ.items()
            if name.startswith(f"{prefix}_") and "__" in name
        }
        self._overrides = [_split(override) for override in overrides]

    def peek(self, section: str) -> Mapping[str, Any]:
        """What is said of one section, unchecked: for the switches that are needed before plugins are loaded."""
        tree = merge({}, self._file)
        for key, text in [*self._environ.items(), *self._overrides]:
            if key.startswith(f"{section}."):
                put(tree, key, literal(text))
        found = tree.get(section)
        return found if isinstance(found, Mapping) else {}

    def load(self, schema: Schema) -> Settings:
        """Raises ConfigError with a line for each mistake."""
        mistakes: list[str] = []
        tree = schema.defaults()
        merge(tree, self._known(self._file, schema, mistakes, ""))
        for key, text in [*self._environ.items(), *self._overrides]:
            parameter = schema.owner_of(key)
            if parameter is None:
                mistakes.append(_unknown(key, schema))
            else:
                put(tree, key, _typed(parameter, key, text))
        for parameter in schema:
            mistakes += _check(parameter, _get(tree, parameter.key))
        if mistakes:
            raise ConfigError(sorted(dict.fromkeys(mistakes)))
        return Settings(tree)

    def _known(self, given: Mapping[str, Any], schema: Schema, mistakes: list[str], above: str) -> Tree:
        """What of a file's tree has an owner; the rest are mistakes."""
        known: Tree = {}
        for name, value in given.items():
            key = f"{above}.{name}" if above else str(name)
            if schema.get(key) is not None:
                known[name] = value
            elif schema.is_section(key):
                if isinstance(value, Mapping):
                    known[name] = self._known(value, schema, mistakes, key)
                elif value is not None:
                    mistakes.append(f"{key}: is a section; allowed: keys and values below it")
            else:
                mistakes.append(_unknown(key, schema))
        return known


def literal(text: str) -> Any:
    """A value as a person types it: a Python literal, JSON's true, false and null, else the text itself."""
    words = {"true": True, "false": False, "null": None, "none": None}
    if text.strip().lower() in words:
        return words[text.strip().lower()]
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        pass
    try:
        return json.loads(text)
    except ValueError:
        return text


def _typed(parameter: Parameter, key: str, text: str) -> Any:
    """A text where the schema wants one stays a text, so that a uid may be `007`; quotes around it are taken off."""
    value = literal(text)
    if key == parameter.key and not isinstance(value, str):
        allowed = parameter.schema.get("type")
        kinds = [allowed] if isinstance(allowed, str) else list(allowed or ())
        if kinds and set(kinds) <= {"string", "null"} and not (value is None and "null" in kinds):
            return text
    return value


def _check(parameter: Parameter, value: Any) -> list[str]:
    validator = jsonschema.Draft202012Validator(parameter.schema)
    return [_mistake(parameter, error) for error in validator.iter_errors(value)]


def _mistake(parameter: Parameter, error: jsonschema.ValidationError) -> str:
    key = ".".join([parameter.key, *(str(part) for part in error.absolute_path)])
    shown = "the value" if parameter.secret else repr(error.instance)[:100]
    what = f"{key}: {shown} is not allowed"
    if error.validator == "additionalProperties" and not parameter.secret:
        what = f"{key}: {error.message}"
    return f"{what}; allowed: {allowed(error.schema)}"


def allowed(schema: Any) -> str:
    """What a schema allows, in words."""
    if not isinstance(schema, Mapping):
        return "nothing"
    if "enum" in schema:
        return ", ".join(json.dumps(value) for value in schema["enum"])
    kinds = schema.get("type", "any value")
    words = " or ".join(kinds) if isinstance(kinds, list) else str(kinds)
    bounds = [
        f"{word} {schema[name]:g}"
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


def _unknown(key: str, schema: Schema) -> str:
    close = difflib.get_close_matches(key, [parameter.key for parameter in schema], 3, 0.6)
    hint = f"did you mean {', '.join(close)}?" if close else "--help lists what there is (a plugin may be switched off)"
    return f"{key}: there is no such parameter; {hint}"


def _get(tree: Mapping[str, Any], key: str) -> Any:
    found: Any = tree
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _split(override: str) -> tuple[str, str]:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError([f"--set {override.partition('=')[0]!r}: allowed: KEY=VALUE"])
    return key.strip(), text


def _read_file(path: Path) -> Tree:
    try:
        tree = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError([f"--config {path}: can not be read: {error.strerror}"]) from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark is not None else ""
        raise ConfigError([f"--config {path}: is no YAML{where}"]) from None
    if tree is None:
        return {}
    if not isinstance(tree, dict) or not _all_text(tree):
        raise ConfigError([f"--config {path}: allowed: a map of sections, all names being texts"])
    return tree


def _all_text(keys: Iterable[Any]) -> bool:
    return all(isinstance(key, str) for key in keys)
