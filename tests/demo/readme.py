"""The commands and programs that README.md shows, as they stand there."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prouter.testing.processes import TAG, tagged_processes

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text("utf-8")
URL = "http://127.0.0.1:8080"
"""Of the API, as the README writes it."""


def section(title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## )", TEXT, re.MULTILINE | re.DOTALL)
    assert found, f"README.md has no section {title!r}"
    return found[1]


def commands(title: str) -> list[list[str]]:
    """The indented blocks of a section, each as its command lines; continued ones are joined."""
    blocks = re.findall(r"(?:^    .*\n)+", re.sub(r"```.*?```", "", section(title), flags=re.DOTALL), re.MULTILINE)
    return [textwrap.dedent(block).replace("\\\n", " ").splitlines() for block in blocks]


def python(title: str) -> str:
    """The Python program of a section."""
    found = re.search(r"```python\n(.*?)```", section(title), re.DOTALL)
    assert found
    return found[1]


class Machine:
    """A shell with a directory and a home of its own; `prefix` is what a command is run by (a network namespace)."""

    def __init__(self, place: Path, prefix: Sequence[str] = ()) -> None:
        self.place = place
        self._prefix = list(prefix)
        self._tag = secrets.token_hex(8)
        self._running: list[subprocess.Popen[bytes]] = []
        (place / "home").mkdir(parents=True)
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("PROUTER_", "PAGENT_", "XDG_"))
        }
        path = os.pathsep.join([str(Path(sys.executable).parent), kept["PATH"]])
        self.environ = kept | {"PATH": path, "HOME": str(place / "home"), TAG: self._tag}

    @property
    def log(self) -> str:
        return (self.place / "log").read_text()

    def run(self, command: str) -> str:
        """To its end; what it wrote. `curl` fails for an answer that is an error."""
        shell = 'curl() { command curl -sS --fail-with-body --max-time 30 "$@"; }\n' + command
        done = subprocess.run(
            [*self._prefix, "bash", "-c", shell], cwd=self.place, env=self.environ, capture_output=True, timeout=60
        )
        assert done.returncode == 0, f"{command}\n{done.stdout!r}\n{done.stderr!r}"
        return done.stdout.decode()

    def ask(self, command: str) -> Any:
        """The JSON that a command writes."""
        return json.loads(self.run(command))

    def begin(self, command: str) -> subprocess.Popen[bytes]:
        """A command that goes on until the end of the test, or until it ends by itself."""
        with (self.place / "log").open("ab") as log:
            begun = subprocess.Popen(
                [*self._prefix, "bash", "-c", f"exec {command}"],
                cwd=self.place,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._running.append(begun)
        return begun

    def end(self) -> None:
        """SIGTERM for what was begun; nothing may be left."""
        running, self._running = self._running, []
        for process in running:
            process.send_signal(signal.SIGTERM)  # to those that have not ended by themselves
        ended = [process.wait(20) for process in running]
        left = tagged_processes(self._tag)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        assert left == {}
        assert not any(ended), self.log
