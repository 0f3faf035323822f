"""Reading the configuration: defaults < YAML file < environment < --set. A line for each mistake.

`PROUTER_SERVER__PORT=8080` in the environment and `--set server.port=8080` mean the same; `__` separates levels.
"""

from __future__ import annotations

import ast
import difflib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from prouter.errors import ConfigError
from prouter.pluginkit.limits import BLOCKED_SECONDS, MUTED_AFTER, NEWS_KEPT
from prouter.pluginkit.schema import Parameter, Schema, allowed, default_of, merge, plain_copy, put

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
    "strict": {
        "type": "boolean",
        "default": False,
        "description": "Whether the start fails when any plugin has to be left out.",
    },
    "deadlines": {
        "type": "object",
        "additionalProperties": {"type": "number", "exclusiveMinimum": 0},
        "default": {},
        "description": "Seconds for one plugin to answer, by hook, instead of the hook's own.",
    },
    "blocked_seconds": {
        "type": "number",
        "exclusiveMinimum": 0,
        "default": BLOCKED_SECONDS,
        "description": "A plugin that holds the event loop for more seconds at one time is named in the log.",
    },
    "news_kept": {
        "type": "integer",
        "minimum": 1,
        "maximum": 1_000_000,
        "default": NEWS_KEPT,
        "description": "How many news wait for a plugin that does not keep up; the oldest is dropped.",
    },
    "muted_after": {
        "type": "integer",
        "minimum": 1,
        "default": MUTED_AFTER,
        "description": "After so many failures in a row a plugin is told no news any more.",
    },
}
"""The section that is read before plugins are looked for."""


UNKNOWN = "there is no such parameter"
MAX_NUMBER = 2**53
"""What a JSON number holds exactly in every language (RFC 8259 6)."""


class Settings:
    """The validated configuration, defaults filled in. Implements model.services.Config."""

    def __init__(self, tree: Tree, schema: Schema | None = None) -> None:
        self._tree = tree
        self.schema = schema or Schema()
        """Which keys there are, and whose they are."""

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
            for name, text in sorted(environ.items())
            if name.startswith(f"{prefix}_")
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

    def plugins(self) -> Mapping[str, Any]:
        """The section `plugins`, which is read before there are plugins; unknown keys are told by `load`.

        Raises ConfigError.
        """
        said, found, mistakes = self.peek("plugins"), {}, []
        for name, schema in PLUGIN_PROPERTIES.items():
            parameter = Parameter(f"plugins.{name}", schema, "prouter")
            found[name] = said[name] if name in said else default_of(schema)
            mistakes += _check(parameter, found[name])
        if mistakes:
            raise ConfigError(sorted(mistakes))
        return found

    def load(self, schema: Schema) -> Settings:
        """Raises ConfigError with a line for each mistake."""
        mistakes: list[str] = []
        tree = schema.defaults()
        merge(tree, self._known(self._file, schema, mistakes, ""))
        for key, text in [*self._environ.items(), *self._overrides]:
            parameter = schema.owner_of(key)
            if parameter is None and key in self._environ and "." not in key:
                continue  # another program's variable, or one of ours that is no parameter (PROUTER_NO_UVLOOP)
            if parameter is None:
                mistakes.append(_unknown(key, schema))
            else:
                put(tree, key, _typed(parameter, key, text))
        for parameter in schema:
            mistakes += _check(parameter, _get(tree, parameter.key))
        if mistakes:
            raise ConfigError(sorted(dict.fromkeys(mistakes)))
        return Settings(tree, schema)

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
    value = plain_copy(literal(text))
    if key == parameter.key and not isinstance(value, str):
        allowed = parameter.schema.get("type")
        kinds = [allowed] if isinstance(allowed, str) else list(allowed or ())
        if kinds and set(kinds) <= {"string", "null"} and not (value is None and "null" in kinds):
            return text
    return value


def _check(parameter: Parameter, value: Any) -> list[str]:
    strange = _strange(value)
    if strange:
        return [f"{parameter.key}{_whose(parameter)}: {strange}; allowed: {allowed(parameter.schema)}"]
    validator = jsonschema.Draft202012Validator(parameter.schema)
    return [_mistake(parameter, error) for error in validator.iter_errors(value)]


def _mistake(parameter: Parameter, error: jsonschema.ValidationError) -> str:
    key = ".".join([parameter.key, *(str(part) for part in error.absolute_path)])
    shown = "the value" if parameter.secret else repr(error.instance)[:100]
    what = f"{key}{_whose(parameter)}: {shown} is not allowed"
    if error.validator == "additionalProperties" and not parameter.secret:
        what = f"{key}{_whose(parameter)}: {error.message}"
    return f"{what}; allowed: {allowed(error.schema)}"


def _whose(parameter: Parameter) -> str:
    return f" (of the plugin {parameter.plugin})" if parameter.plugin else ""


def _strange(value: Any) -> str:
    """What Python and YAML can say and JSON can not, in words; schemas do not see it."""
    match value:
        case dict():
            if not _all_text(value):
                return "a name in it is no text"
            return next(filter(None, map(_strange, [*value, *value.values()])), "")
        case list():
            return next(filter(None, map(_strange, value)), "")
        case bool():
            return ""
        case int() | float():
            return "" if abs(value) <= MAX_NUMBER and not math.isnan(value) else "a number of that size is not allowed"
        case str():
            return "" if _is_utf8(value) else "the text is not UTF-8"
    return ""


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unknown(key: str, schema: Schema) -> str:
    close = difflib.get_close_matches(key, [parameter.key for parameter in schema], 3, 0.6)
    hint = f"did you mean {', '.join(close)}?" if close else "--help lists what there is (a plugin may be switched off)"
    return f"{key}: {UNKNOWN}; {hint}"


def _get(tree: Mapping[str, Any], key: str) -> Any:
    found: Any = tree
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _split(override: str) -> tuple[str, str]:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError([f"--set {_key_alone(override)}: there is no key and '=' in it; allowed: KEY=VALUE"])
    return key.strip(), text


def _key_alone(override: str) -> str:
    """What could be a key, cut where a value (a secret, perhaps) may begin."""
    found = re.match(r"[A-Za-z0-9_.]*", override.strip())
    return found[0][:40] if found is not None and "." in found[0] else "without a key"


def _read_file(path: Path) -> Tree:
    try:
        tree = plain_copy(yaml.safe_load(path.read_text("utf-8")))
    except OSError as error:
        raise ConfigError([f"--config {path}: can not be read: {error.strerror}"]) from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark is not None else ""
        raise ConfigError([f"--config {path}: is no YAML{where}"]) from None
    except RecursionError:
        raise ConfigError([f"--config {path}: is nested too deeply; allowed: a map of sections"]) from None
    if tree is None:
        return {}
    if not isinstance(tree, dict) or not _all_text(tree):
        raise ConfigError([f"--config {path}: is something else; allowed: a map of sections, all names being texts"])
    return tree


def _all_text(keys: Iterable[Any]) -> bool:
    return all(isinstance(key, str) for key in keys)
