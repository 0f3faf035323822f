"""Plugins of other people that take part in choosing agents, as files that a router loads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from prouter.testing import Fleet, RouterDaemon

HEAD = """
import asyncio, math, pathlib
from prouter import hookimpl
from prouter.errors import ProuterError
from prouter.model.access import Refusal, Secret
from prouter.model.plugin import Score

HERE = pathlib.Path(__file__).parent

"""


def router_with(fleet: Fleet, place: Path, *settings: str, **plugins: str) -> RouterDaemon:
    """`plugins` by name: what is in the class."""
    paths = []
    for name, text in plugins.items():
        path = place / f"{name}.py"
        path.write_text(f"{HEAD}class Plugin:{text}")
        paths.append(str(path))
    return fleet.router(f"plugins.load={paths!r}", *settings)


def explained_in_words(router: RouterDaemon, what: str) -> str:
    """What `prouter explain` says."""
    done = subprocess.run(
        [sys.executable, "-m", "prouter", "explain", what],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PROUTER_URL": router.url()},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def locator(kind: str = "labels", **more: Any) -> str:
    return json.dumps({"type": kind, "match": {}} | more if kind == "labels" else {"type": kind} | more)
