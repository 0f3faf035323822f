"""`prouter plugins new NAME --kind KIND`: the project of a new plugin, typed and with a passing test.

Belongs here: names, and putting the templates (templates/) in their places. Does not: what a plugin looks like.
"""

from __future__ import annotations

import argparse
import json
import keyword
import re
import shlex
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template
from urllib.parse import urlsplit
from urllib.request import url2pathname

from importlib_metadata import entry_points

from prouter import __version__

ABOUT = "Write the project of a new plugin: typed, with a test that passes, ready to be installed."
NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
MAX_NAME = 40
PREFIX = "prouter"


@dataclass(frozen=True, slots=True)
class Kind:
    """What there is a template for."""

    summary: str
    side: str = "router"


KINDS = {
    "selector": Kind("a way to choose the agent for a job"),
    "auth": Kind("who makes a request, by a key in a header"),
    "proxy": Kind("headers of requests that are passed on to jobs"),
    "lifecycle": Kind("what is to be done when a job's state changes"),
    "driver": Kind("a way to run a job's program on its agent", side="agent"),
}


class NotMade(Exception):
    """Why there is no new project; the text is for who asked for it."""


def run(words: Sequence[str]) -> int:
    """Exit status: 0, or 2 for a name or a directory that can not be taken."""
    kinds = "; ".join(f"{name}: {kind.summary}" for name, kind in KINDS.items())
    parser = argparse.ArgumentParser(prog="prouter plugins new", description=ABOUT, allow_abbrev=False)
    add = parser.add_argument
    add("name", metavar="NAME", help="of the plugin: small letters, digits, dashes")
    add("--kind", choices=KINDS, required=True, help=kinds)
    add("--directory", type=Path, metavar="DIRECTORY", help=f"where to write it; default {PREFIX}-NAME, here")
    given = parser.parse_args(words)
    try:
        place = make(given.name, given.kind, given.directory)
    except NotMade as error:
        print(f"prouter: {error}", file=sys.stderr)
        return 2
    print(f"{place} is there. Next:\n")
    own = installed_from(_direct_url())
    commands = [f"cd {shlex.quote(str(place))}", "python3 -m venv .venv"]
    if own:  # no index need have it, or what has its name there is another's
        commands.append(f".venv/bin/pip install {shlex.quote(own)}")
    for command in (*commands, ".venv/bin/pip install -e '.[dev]'", ".venv/bin/pytest"):
        print(f"    {command}")
    return 0


def installed_from(direct_url: str) -> str:
    """What pip is told to install this same prouter with its kit, by the note of its own installation (PEP 610).

    Empty where it came from an index, or nobody knows.
    """
    try:
        note = json.loads(direct_url)
        url = urlsplit(note["url"])
        if vcs := note.get("vcs_info"):
            return f"prouter[testing] @ {vcs['vcs']}+{note['url']}@{vcs['commit_id']}"
        if url.scheme == "file" and "dir_info" in note:
            return f"{url2pathname(url.path)}[testing]"
        return f"prouter[testing] @ {note['url']}"
    except (ValueError, KeyError, TypeError):
        return ""


def _direct_url() -> str:
    try:
        return distribution(PREFIX).read_text("direct_url.json") or ""
    except PackageNotFoundError:
        return ""


def make(name: str, kind: str, directory: Path | None = None) -> Path:
    """The directory of the new project, which was empty or is new. Raises NotMade."""
    plugin = checked_name(name)
    place = directory if directory is not None else Path(f"{PREFIX}-{plugin.replace('_', '-')}")
    try:
        if place.exists() and not (place.is_dir() and not any(place.iterdir())):
            raise NotMade(f"{place} is there already and not empty; name another --directory")
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-plugin-", dir=place.absolute().parent) as made:
            whole = Path(made, "project")
            _write(whole, plugin, kind)
            place.mkdir(exist_ok=True)
            for part in whole.iterdir():
                part.rename(place / part.name)
    except OSError as error:
        raise NotMade(f"{place} can not be written: {error.strerror}") from None
    return place


def checked_name(name: str) -> str:
    """The plugin's name, as its entry point and configuration have it: "my-plugin" is my_plugin. Raises NotMade."""
    short = name.removeprefix(f"{PREFIX}-").removeprefix(f"{PREFIX}_")
    if not NAME.fullmatch(short) or len(short) > MAX_NAME:
        raise NotMade(
            f"{name!r} is no name of a plugin: up to {MAX_NAME} small letters and digits, the first a letter; "
            "words with a dash between them"
        )
    plugin = short.replace("-", "_")
    if keyword.iskeyword(plugin):
        raise NotMade(f"{plugin!r} is a word of Python and can not be the name of a plugin")
    for group in ("prouter.plugins", "prouter.agent_plugins"):
        for point in entry_points(group=group, name=plugin):
            of = point.dist.name if point.dist is not None else "an unknown distribution"
            raise NotMade(f"there is a plugin {plugin!r} already, of {of}; take another name")
    return plugin


def _write(whole: Path, plugin: str, kind: str) -> None:
    templates = files(__package__) / "templates"
    side = KINDS[kind].side
    words = {
        "name": plugin,
        "upper": plugin.upper(),
        "package": f"{PREFIX}_{plugin}",
        "distribution": f"{PREFIX}-{plugin.replace('_', '-')}",
        "class_name": "".join(word.title() for word in plugin.split("_")),
        "summary": KINDS[kind].summary,
        "side": side,
        "group": "prouter.plugins" if side == "router" else "prouter.agent_plugins",
        "version": __version__,
    }
    words["usage"] = _filled(templates / kind / "usage.md.txt", words)
    package = whole / "src" / words["package"]
    wanted = {
        whole / "pyproject.toml": templates / "pyproject.toml.txt",
        whole / "README.md": templates / "README.md.txt",
        package / "__init__.py": templates / kind / "plugin.py.txt",
        whole / "tests" / f"test_{plugin}.py": templates / kind / "test.py.txt",
    }
    for path, template in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_filled(template, words), "utf-8")
    (package / "py.typed").touch()
    (whole / ".gitignore").write_text("__pycache__/\n.venv/\n*.egg-info/\ndist/\n", "utf-8")


def _filled(template: Traversable, words: dict[str, str]) -> str:
    return Template(template.read_text("utf-8")).substitute(words)
