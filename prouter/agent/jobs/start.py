"""What a job's process is given: its environment, its directory and its arguments. No process is started here."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prouter.agent.jobs.limits import JobLimits
from prouter.agent.jobs.ports import PortFinder
from prouter.errors import DirectoryMissing, InvalidRequest
from prouter.model.jobs import PortMode, StartRequest
from prouter.model.process import Command

PROPERTY_PREFIX = "DA__PAGENT__"
OWN_PREFIXES = ("PROUTER_", "PAGENT_")
_PLACEHOLDER = re.compile(r"\{(\{|(port|base_path|sandbox|socket)(?::([A-Za-z0-9][A-Za-z0-9_.-]*))?\})")


@dataclass(frozen=True, slots=True)
class Placeholders:
    """What stands for `{port}`, `{base_path}`, `{sandbox}` and `{socket}`; `{port:NAME}` for one port of several.

    Without a name it is the first port of the start that has such a value. `{{` is a brace; other braces stay. Both
    ways of writing text that begins with a brace work: `{{port}` is `{port}`, and JSON needs no escaping.
    """

    sandbox: str
    named: Mapping[str, Mapping[str, str]]
    """By kind ("port", "base_path", "socket"), then by port name."""

    def fill(self, text: str) -> str:
        """Raises InvalidRequest for one that this start does not have."""
        return _PLACEHOLDER.sub(self._value, text)

    def _value(self, match: re.Match[str]) -> str:
        kind, name = match[2], match[3]
        if kind is None:
            return "{"
        if kind == "sandbox" and name is None:
            return self.sandbox
        values = self.named.get(kind, {})
        value = next(iter(values.values()), None) if name is None else values.get(name)
        if value is None:
            raise InvalidRequest(f"Invalid request: {match[0]} has no value in a start with these ports")
        return value


def check_request(request: StartRequest, limits: JobLimits) -> None:
    """What no process can be started with on an agent of these limits. Raises InvalidRequest, NotPossible."""
    if not request.args or not request.args[0]:
        raise InvalidRequest("Invalid request: `args` names no program")
    texts = (*request.args, *request.env, *request.env.values(), request.cwd or "")
    if any("\0" in text for text in texts):
        raise InvalidRequest("Invalid request: args, env and cwd can not hold NUL")
    wrong = [name for name in request.env if not name or "=" in name]
    if wrong:
        raise InvalidRequest(f"Invalid request: {wrong[0]!r} can not be the name of an environment variable")
    if request.cwd is not None and Path(request.cwd).is_absolute():
        raise InvalidRequest("Invalid request: job working directory path must be relative")
    limits.check(request.limits)


def check_places(request: StartRequest, sandbox: Path) -> None:
    """The same of what needs a look at ports and sandbox; blocks on the file system. Raises InvalidRequest."""
    cwd = request.cwd or ""
    if any(port.mode is not PortMode.REPORT for port in request.ports):
        filled = Placeholders(str(sandbox), _expected_values(request))
        for text in (*request.args, *request.env.values()):
            filled.fill(text)
        cwd = filled.fill(cwd)
    _inside(sandbox, cwd)


def _expected_values(request: StartRequest) -> Mapping[str, Mapping[str, str]]:
    """As `_named_values`, before anything is picked."""
    named = {kind: {port.name: "0" for port in request.ports if port.mode is mode} for kind, mode in _KNOWN.items()}
    return named | {"base_path": {port.name: "" for port in request.ports}}


_KNOWN = {"port": PortMode.ASSIGN, "socket": PortMode.UNIX}
"""Before the launch."""


def inherited_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The agent's environment without prouter's own variables, which hold its tokens."""
    return {name: value for name, value in environ.items() if not name.upper().startswith(OWN_PREFIXES)}


def property_environment(properties: Mapping[str, str]) -> dict[str, str]:
    """The agent's properties as jobs see them."""
    return {PROPERTY_PREFIX + name: value for name, value in properties.items()}


def build_command(
    request: StartRequest,
    inherited: Mapping[str, str],
    finders: Sequence[PortFinder],
    sandbox: Path,
    limits: JobLimits,
    *,
    output_files: bool,
) -> Command:
    """Everything resolved; blocks on the file system, so it is called off the event loop.

    The environment, later ones winning: inherited, what the ports tell, what the start names. Raises InvalidRequest
    for a cwd outside the sandbox, DirectoryMissing for one that is not there.
    """
    env = dict(inherited)
    for finder in finders:
        env |= finder.environment()
    args, named, cwd = request.args, dict(request.env), request.cwd or ""
    if any(finder.replaces for finder in finders):
        filled = Placeholders(str(sandbox), _named_values(request, finders))
        args = tuple(filled.fill(arg) for arg in args)
        named = {name: filled.fill(value) for name, value in named.items()}
        cwd = filled.fill(cwd)
    return Command(
        args=args,
        env=env | named,
        cwd=resolve_cwd(sandbox, cwd),
        timeout_seconds=request.timeout_seconds,
        limits=limits.of(request.limits),
        forward_stdout=request.forward_stdout,
        output_files=output_files,
    )


def _named_values(request: StartRequest, finders: Sequence[PortFinder]) -> Mapping[str, Mapping[str, str]]:
    pairs = list(zip(request.ports, finders, strict=True))
    return {
        "port": {port.name: str(finder.number) for port, finder in pairs if finder.number is not None},
        "socket": {port.name: finder.socket for port, finder in pairs if finder.socket is not None},
        "base_path": {port.name: request.base_paths.get(port.name, "") for port in request.ports},
    }


def resolve_cwd(sandbox: Path, cwd: str) -> str:
    """An absolute directory in the sandbox, symlinks followed. Raises InvalidRequest, DirectoryMissing."""
    found = _inside(sandbox, cwd)
    if not Path(found).is_dir():
        raise DirectoryMissing(f"the working directory {cwd!r} is not in the job's sandbox")
    return found


def _inside(sandbox: Path, cwd: str) -> str:
    """Raises InvalidRequest."""
    root = os.path.realpath(sandbox)
    found = os.path.realpath(Path(root, cwd))
    if found != root and not found.startswith(root + os.sep):
        raise InvalidRequest(f"Invalid request: the working directory {cwd!r} is outside the job's sandbox")
    return found
