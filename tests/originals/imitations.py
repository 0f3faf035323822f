"""The imitated originals as processes of a test: started, asked where they listen, ended, searched for violations."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from prouter.testing.nursery import Forked, Nursery, usable
from prouter.testing.processes import TAG, tagged_processes

HERE = Path(__file__).parent
START_SECONDS = 30.0
STOP_SECONDS = 30.0
GONE_SECONDS = 5.0
COMPLAINTS = ("VIOLATION", "Traceback", "Task exception", "Unhandled")


class Imitation:
    """One program of this directory, with its log in `place`."""

    def __init__(self, place: Path, program: str, words: list[str], tag: str) -> None:
        place.mkdir(parents=True)
        self.place = place
        self.ready: dict[str, Any] = {}
        """What its line READY says: pid, uid, and the ports "server", "control", of an agent also "report"."""
        self._log = place / "log"
        self._forgotten = 0
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("PROUTER_", "PAGENT_"))}
        environ |= {TAG: tag}
        path = HERE / program
        with self._log.open("ab") as log:
            if usable({}):  # a fork of a process that has aiohttp, as our own daemons in tests
                forked = Nursery.here().start(words, environ, place, log.fileno(), path)
                self.process: subprocess.Popen[bytes] | Forked = forked
            else:
                command = [sys.executable, str(path), *words]
                self.process = subprocess.Popen(
                    command, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=place
                )

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not (lines := self.lines("READY ")):
            alive = self.process.poll() is None and time.monotonic() < deadline
            assert alive, f"the imitation did not come up:\n{self.log}"
            time.sleep(0.02)
        self.ready = json.loads(lines[0].removeprefix("READY "))

    @property
    def uid(self) -> str:
        return str(self.ready["uid"])

    @property
    def log(self) -> str:
        return self._log.read_text("utf-8", "replace")

    def lines(self, prefix: str) -> list[str]:
        """Whole lines of its log that begin so: "VIOLATION", "STALL", "LINK ", "LINK ENDED", "CALLED", ..."""
        lines = self.log[self._forgotten :].splitlines(keepends=True)
        return [line for line in lines if line.startswith(prefix) and line.endswith("\n")]

    def forget(self) -> None:
        """Lines until now count no more, for a program that several tests use."""
        self._forgotten = len(self.log)

    def open_links(self) -> int:
        ended = len(self.lines("LINK ENDED"))
        return len(self.lines("LINK ")) - ended - ended

    def address(self, endpoint: str = "server") -> str:
        """HOST:PORT of an endpoint."""
        return f"127.0.0.1:{self.ready[endpoint]}"

    def url(self) -> str:
        """Of its control API."""
        return f"http://{self.address('control')}"

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """SIGKILL; its jobs stay, as an original's do, and are ended with the test."""
        self.process.kill()
        self.process.wait()


class Originals:
    """Starts imitations and ends them all."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.tag = secrets.token_hex(8)
        self.started: list[Imitation] = []
        self.expected_violations: list[str] = []
        """Parts of VIOLATION lines that a test causes on purpose."""

    def agent(
        self, *words: str, router: str | None = None, token: str = "", uid: str = "old-agent", name: str = "old agent"
    ) -> Imitation:
        """Dials `router` (HOST:PORT) with `token`; without one it waits to be dialed and accepts `token`.

        It is connected at once, unlike an original, which for some turns of its loop loses calls (`--connected-turns`):
        a test that creates a job as soon as the router knows the agent would fail now and then on a busy machine.
        """
        place = self._place("original-agent")
        how = ["--router", router, "--token", token] if router else ["--listen", "--accept-token", token]
        known = ["--uid", uid, "--name", name, "--root", str(place.parent), "--connected-turns", "0"]
        return self._begin(Imitation(place, "pagent.py", [*how, *known, *words], self.tag))

    def router(self, *words: str, token: str = "", uid: str = "old-router", name: str = "old router") -> Imitation:
        """A router that accepts agents with `token`."""
        known = ["--accept-token", token, "--uid", uid, "--name", name]
        return self._begin(Imitation(self._place("original-router"), "prouter_v0.py", [*known, *words], self.tag))

    def close(self) -> None:
        """End all, and what their jobs left behind."""
        for imitation in reversed(self.started):
            imitation.stop()
        deadline = time.monotonic() + GONE_SECONDS
        while left := tagged_processes(self.tag):
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            assert time.monotonic() < deadline, f"processes are left over: {left}"
            time.sleep(0.02)

    def complaints(self) -> list[str]:
        """Violations that no test expects, and tracebacks of the imitations themselves."""
        bad = [line for each in self.started for start in COMPLAINTS for line in each.lines(start)]
        return [line for line in bad if not any(part in line for part in self.expected_violations)]

    def _begin(self, imitation: Imitation) -> Imitation:
        self.started.append(imitation)
        imitation.wait_until_ready()
        return imitation

    def _place(self, kind: str) -> Path:
        return self.place / f"{kind}-{len(self.started)}"
