"""A prouter daemon as a process of its own: started, asked where it listens, ended in every way."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prouter.errors import StartupError
from prouter.testing import nursery
from prouter.testing.network import reserved_port

START_SECONDS = 30.0
STOP_SECONDS = 30.0
TAG = nursery.TAG


class Daemon:
    """`prouter ARGUMENTS` with a ready file and a log in `place`, a directory of its own."""

    forks = False
    """Whether it may be a fork of a process that has all imported (nursery.py) instead of a command of its own."""

    def __init__(self, place: Path, arguments: Sequence[str], environ: Mapping[str, str], tag: str) -> None:
        place.mkdir(parents=True, exist_ok=True)
        self.place = place
        self._arguments = list(arguments)
        self._environ = dict(environ) | {TAG: tag}
        self._ready = place / "ready.json"
        self._process: subprocess.Popen[bytes] | nursery.Forked | None = None
        self._kept: list[int] = []
        self._held = contextlib.ExitStack()
        self.ready: dict[str, Any] = {}
        """What the ready file says."""

    @property
    def process(self) -> subprocess.Popen[bytes] | nursery.Forked:
        assert self._process is not None
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def uid(self) -> str:
        return str(self.ready["uid"])

    @property
    def log(self) -> str:
        """All that it wrote to stderr and stdout, over all its starts."""
        return (self.place / "log").read_text("utf-8", "replace")

    def address(self, endpoint: str) -> tuple[str, int]:
        """Where "control", "server" or "report" listens."""
        found = self.ready[endpoint]
        return found["host"], found["port"]

    def url(self, endpoint: str = "control") -> str:
        return str(self.ready[endpoint]["url"])

    def stay_put(self, *endpoints: str) -> None:
        """Whenever it is started again it listens where it does now; nobody else gets these ports while it is down."""
        for endpoint in endpoints:
            port = self.address(endpoint)[1]
            self._arguments += ["--set", f"{endpoint}.port={port}"]
            self._kept.append(port)

    def launch(self) -> None:
        """Start without waiting, for starts that are meant to fail."""
        self._ready.unlink(missing_ok=True)
        command = [sys.executable, "-m", "prouter", *self._arguments, "--ready-file", str(self._ready)]
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("PROUTER_", "PAGENT_"))}
        environ |= self._environ
        with (self.place / "log").open("ab") as log:
            if self.forks and nursery.usable(self._environ):
                self._process = nursery.Nursery.here().start(command[3:], environ, self.place, log.fileno())
            else:
                self._process = subprocess.Popen(
                    command, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.place
                )

    def start(self) -> None:
        """Until it listens. Raises StartupError with its log when it does not come up."""
        self.launch()
        deadline = time.monotonic() + START_SECONDS
        while not self._ready.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise StartupError(f"prouter {self._arguments} did not come up:\n{self.log}")
            time.sleep(0.02)
        self.ready = json.loads(self._ready.read_text())
        self._held.close()

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        if self._process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.ended()

    def ended(self, timeout_seconds: float = STOP_SECONDS) -> int:
        """Its exit status once it has ended by itself."""
        try:
            status = self.process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        self._hold_ports()
        return status

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()
        self._hold_ports()

    def close(self) -> None:
        """Once it has ended for good."""
        self._held.close()

    def _hold_ports(self) -> None:
        for port in self._kept:
            with contextlib.suppress(OSError):  # somebody was quicker; its next start tells
                self._held.enter_context(reserved_port(port))

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def memory_bytes(self) -> int:
        """The most that it ever had in memory (Linux)."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
        return 0


async def eventually(
    probe: Callable[[], Any], *, seconds: float = 20.0, what: str = "the state that was waited for"
) -> Any:
    """Ask `probe` until its answer is true, and return that. Raises AssertionError at the deadline.

    A probe that raises AssertionError is asked again, too; its last failure is shown.
    """
    deadline = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < deadline:
        try:
            found = probe()
            value = await found if inspect.isawaitable(found) else found
            if value:
                return value
            last = value
        except AssertionError as error:
            last = error
        await asyncio.sleep(0.02)
    raise AssertionError(f"{what} did not come within {seconds:g} s; last: {last!r}")


def tagged_processes(tag: str) -> dict[int, str]:
    """Processes that were started with the tag, and their command lines (Linux; empty elsewhere)."""
    found = {}
    wanted = f"{TAG}={tag}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                found[int(entry.name)] = line
        except OSError:
            continue
    return found
