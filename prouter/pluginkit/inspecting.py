"""What is wrong with one plugin, told before anything is started: import, signatures, hooks, version, configuration.

Belongs here: looking at a plugin and saying what its author should do. Does not: finding plugins (discovery.py),
registering them (host.py), what two of them have in common (cli/plugins/checking.py).
"""

from __future__ import annotations

import difflib
import inspect
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from prouter.model.api_version import API_VERSION, api_misfit
from prouter.model.plugin import ConfigSection, Kind
from prouter.pluginkit.schema import check_schema

IMPL = "prouter_impl"
"""Where pluggy keeps the options of an implementation."""
RUNS_ON_IMPORT = "what it does must wait for prouter_startup"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    plugin: str
    what: str
    todo: str
    """What its author, or who installed it, should do."""

    def __str__(self) -> str:
        return f"{self.plugin}: {self.what}; {self.todo}"


@dataclass(frozen=True, slots=True)
class Specs:
    """The hooks of one side, and those of the other, which are mixed up easily."""

    side: str
    module: ModuleType
    other_side: str
    other: ModuleType

    def hook(self, name: str) -> Any:
        """Its specification, None where there is none."""
        found = getattr(self.module, name, None)
        return found if hasattr(found, "prouter_kind") else None

    def names(self) -> list[str]:
        return [name for name in vars(self.module) if self.hook(name) is not None]


def loaded(plugin: str, load: Any) -> tuple[Any, list[Finding]]:
    """The instance, or None and why there is none."""
    try:
        value = load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 -- foreign code may fail in every way
        return None, [Finding(plugin, f"it can not be imported: {_described(error)}", _import_advice(error))]
    if not inspect.isclass(value):
        return value, []
    try:
        return value(), []
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001
        what = f"{value.__name__} can not be made: {_described(error)}"
        return None, [Finding(plugin, what, "its constructor takes no argument and does nothing that can fail")]


def examine(plugin: str, instance: Any, specs: Specs) -> Iterator[Finding]:
    """All that is wrong with a plugin that was imported."""
    misfit = api_misfit(getattr(instance, "prouter_api_version", API_VERSION))
    if misfit:
        yield Finding(plugin, misfit, "install a version of it that fits this prouter, or the other way round")
    marked = dict(implementations(instance))
    if not marked:
        yield _nothing(plugin, instance, specs)
    for name, function in marked.items():
        hook = getattr(function, IMPL).get("specname") or name
        if specs.hook(hook) is None:
            yield _unknown(plugin, hook, specs)
        else:
            yield from _wrong_form(plugin, hook, function, specs.hook(hook))
    for name in _unmarked(instance):
        if specs.hook(name) is None:
            yield from _nearly(plugin, name, specs)
        elif not any(_specname(f, n) == name for n, f in marked.items()):
            yield _unasked(plugin, name, specs)
    if "prouter_config_sections" in marked:
        reloads = any(_specname(function, name) == "prouter_reload" for name, function in marked.items())
        yield from _sections(plugin, marked["prouter_config_sections"], reloads=reloads)


def misplaced(plugin: str, instance: Any, names: Sequence[str]) -> Iterator[Finding]:
    """Places beside plugins that are not there, where one that is there has nearly that name."""
    for hook, function in implementations(instance):
        for word in ("before", "after"):
            for other in getattr(function, f"prouter_{word}", ()):
                close = difflib.get_close_matches(other, names, 1, 0.75) if other not in names else []
                if close:
                    what = f"{hook} wants to be {word} {other!r}, which is not there"
                    yield Finding(plugin, what, f"did you mean {close[0]}?")


def implementations(instance: Any) -> Iterator[tuple[str, Any]]:
    """What is marked as a hook, by the function's name."""
    for name in dir(instance):
        function = _member(instance, name)
        if isinstance(getattr(function, IMPL, None), Mapping) and inspect.isroutine(function):
            yield name, function


def fits(instance: Any, specs: Specs) -> int:
    """How many of a plugin's hooks this side has, with the arguments that they have here."""
    return sum(
        specs.hook(_specname(function, name)) is not None
        and set(_arguments(function)) <= set(inspect.signature(specs.hook(_specname(function, name))).parameters)
        for name, function in implementations(instance)
    )


def _member(instance: Any, name: str) -> Any:
    try:
        return getattr(instance, name)
    except Exception:  # noqa: BLE001 -- a property of its own that fails before the start
        return None


def _specname(function: Any, name: str) -> str:
    return str(getattr(function, IMPL).get("specname") or name)


def _unmarked(instance: Any) -> list[str]:
    names = [name for name in dir(instance) if name.startswith("prouter_")]
    members = {name: _member(instance, name) for name in names}
    return [name for name, found in members.items() if inspect.isroutine(found) and not hasattr(found, IMPL)]


def _mark(name: str, specs: Specs) -> str:
    """The decorator that makes a method that hook."""
    return f"@implements({specs.module.__name__.rpartition('.')[2]}.{name})"


def _unasked(plugin: str, name: str, specs: Specs) -> Finding:
    return Finding(plugin, f"{name} is not marked, so nobody asks it", f"put {_mark(name, specs)} above it")


def _nearly(plugin: str, name: str, specs: Specs) -> Iterator[Finding]:
    """A method that is neither marked nor a hook, and has the name of one but for a slip."""
    close = difflib.get_close_matches(name, specs.names(), 1, 0.9)
    if close and not (name.startswith(f"{close[0]}_") or close[0].startswith(f"{name}_")):
        yield Finding(plugin, f"{name} is no hook, so nobody asks it", f"did you mean {close[0]}?")


def _nothing(plugin: str, instance: Any, specs: Specs) -> Finding:
    if inspect.ismodule(instance):
        classes = [
            name
            for name, value in vars(instance).items()
            if inspect.isclass(value) and any(hasattr(member, IMPL) for member in vars(value).values())
        ]
        if classes:
            what = f"the module has {len(classes)} classes with hooks: {', '.join(classes)}"
            file = Path(instance.__file__ or "").name
            return Finding(plugin, what, f"name the one that is meant: {file}:{classes[0]}")
        for value in vars(instance).values():
            own = inspect.isclass(value) and value.__module__ == instance.__name__
            hooks = [name for name in _unmarked(value) if specs.hook(name) is not None] if own else []
            if hooks:
                return _unasked(plugin, hooks[0], specs)
    return Finding(plugin, "it implements no hook", f"mark its methods with {_mark('HOOK', specs)}, from prouter")


def _unknown(plugin: str, hook: str, specs: Specs) -> Finding:
    if hasattr(getattr(specs.other, hook, None), "prouter_kind"):
        group = "prouter.agent_plugins" if specs.other_side == "agent" else "prouter.plugins"
        what = f"{hook} is a hook of the {specs.other_side}, and this is a plugin of the {specs.side}"
        return Finding(plugin, what, f"move it to a class of its own and name that under {group}")
    close = difflib.get_close_matches(hook, specs.names(), 1, 0.6)
    todo = f"did you mean {close[0]}?" if close else "take it out, or the mark off"
    return Finding(plugin, f"there is no hook {hook}", todo)


def _wrong_form(plugin: str, hook: str, function: Any, spec: Any) -> Iterator[Finding]:
    options, kind = getattr(function, IMPL), spec.prouter_kind
    if options.get("wrapper") or options.get("hookwrapper"):
        todo = "hooks are awaited here, which pluggy's wrappers can not be: take wrapper=True off and return the answer"
        yield Finding(plugin, f"{hook} is a pluggy wrapper", todo)
        return
    if inspect.isasyncgenfunction(function) or (inspect.isgeneratorfunction(function) and kind is not Kind.COLLECT):
        yield Finding(plugin, f"{hook} yields", "return the answer: a hook is asked once")
    elif kind is Kind.COLLECT and inspect.iscoroutinefunction(function):
        todo = "make it a plain `def`: it is asked where nothing can be awaited"
        yield Finding(plugin, f"{hook} is `async def`", todo)
    allowed = list(inspect.signature(spec).parameters)
    for parameter in inspect.signature(function).parameters.values():
        yield from _wrong_argument(plugin, hook, parameter, allowed)


def _wrong_argument(plugin: str, hook: str, parameter: inspect.Parameter, allowed: Sequence[str]) -> Iterator[Finding]:
    name = parameter.name
    if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
        return
    if name not in allowed:
        if parameter.default is not inspect.Parameter.empty:
            return  # its own, which nobody gives it
        close = difflib.get_close_matches(name, allowed, 1, 0.6)
        todo = f"did you mean `{close[0]}`?" if close else f"it may take: {', '.join(allowed) or 'nothing'}"
        yield Finding(plugin, f"{hook} takes `{name}`, which this hook does not have", todo)
    elif parameter.kind is inspect.Parameter.KEYWORD_ONLY:
        yield Finding(plugin, f"{hook} takes `{name}` by keyword only", f"put `{name}` before the `*`")
    elif parameter.default is not inspect.Parameter.empty:
        what = f"{hook} has a default for `{name}`, so it is never given one"
        yield Finding(plugin, what, "take the default off")


def _arguments(function: Any) -> list[str]:
    return [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is inspect.Parameter.empty
        and parameter.kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    ]


def _sections(plugin: str, function: Any, *, reloads: bool) -> Iterator[Finding]:
    hook = "prouter_config_sections"
    if inspect.iscoroutinefunction(function):
        return
    try:
        sections = list(function())
    except (Exception, SystemExit) as error:  # noqa: BLE001
        todo = "it is asked before the configuration is read and may not need anything"
        yield Finding(plugin, f"{hook} fails: {_described(error)}", todo)
        return
    for section in sections:
        if not isinstance(section, ConfigSection):
            todo = "return a list of prouter.model.plugin.ConfigSection"
            yield Finding(plugin, f"{hook} hands over {type(section).__name__} instead of a ConfigSection", todo)
            continue
        if section.reloadable and not reloads:
            what = f"the section {section.name!r} says that it is reloadable, and prouter_reload is not implemented"
            yield Finding(plugin, what, "implement it, or take reloadable=True off")
        for name, schema in section.properties.items():
            yield from _parameter(plugin, f"{section.name}.{name}" if section.name else name, schema)


def _parameter(plugin: str, key: str, schema: Any) -> Iterator[Finding]:
    if not isinstance(schema, Mapping):
        yield Finding(plugin, f"the schema of {key} is {type(schema).__name__}", "a schema is a map of JSON schema")
        return
    try:
        check_schema(key, schema)
    except ValueError as error:
        todo = "each parameter has a default that its schema allows" if "default" not in schema else "see JSON schema"
        yield Finding(plugin, str(error), todo)
    if not str(schema.get("description", "")).strip():
        yield Finding(plugin, f"{key} has no description", "say what it does, and in which unit: --help shows it")


def _described(error: BaseException) -> str:
    """The error in one line, with where in the plugin's own code it came up."""
    text = " ".join(str(error).split())[:300]
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} ({Path(error.filename or '').name} line {error.lineno})"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_machinery(frame.filename)]
    where = f" ({Path(frames[-1].filename).name} line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}{': ' if text else ''}{text}{where}"


def _is_machinery(file: str) -> bool:
    here = str(Path(__file__).parents[1])
    return file.startswith(("<frozen", here)) or "importlib" in file


def _import_advice(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError):
        missing = (error.name or "").partition(".")[0]
        if missing == "prouter":
            return "this prouter is of another version than the one it was written for"
        return f"install {missing}, and name it among the dependencies of the distribution"
    if isinstance(error, FileNotFoundError):
        return "name a file that is there, or look which one the module reads"
    if isinstance(error, AttributeError):
        return "an entry point is MODULE:CLASS, and the class must be in the module"
    if isinstance(error, SyntaxError):
        return "is it written for another version of Python?"
    return f"a module that is imported does nothing else; {RUNS_ON_IMPORT}"
