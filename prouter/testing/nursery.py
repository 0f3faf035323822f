"""Daemons of tests as forks of a process that has everything imported already: half of a test's time was imports.

They run what `prouter ARGUMENTS` runs, each in a process with an environment and a log of its own. Linux only;
elsewhere, and for a daemon whose environment changes what is imported, processes.py starts the command itself.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from prouter.model.agents import this_platform
from prouter.pluginkit.discovery import Switches, find
from prouter.pluginkit.schema import check_schema

MESSAGE_BYTES = 1024 * 1024
START_SECONDS = 60.0
POLL_SECONDS = 0.01
IMPORTED = (
    *("prouter.core.app", "prouter.agent.app", "prouter.agent.guard.client", "prouter.cli.router", "prouter.cli.agent"),
    *("prouter.cli.daemon", "prometheus_client", "uvloop", "encodings.idna", "ctypes"),
)
TAG = "PT_KIT_RUN"
"""An environment variable by which whatever a test left behind is found; jobs inherit it."""


def usable(environ: Mapping[str, str]) -> bool:
    """Whether a daemon with these variables may be a fork."""
    return sys.platform == "linux" and "PYTHONPATH" not in environ and os.environ.get("PROUTER_TEST_FORK") != "off"


class Forked:
    """What tests use of a subprocess.Popen, of a process whose parent is the nursery."""

    def __init__(self, pid: int, nursery: Nursery) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._nursery = nursery

    def poll(self) -> int | None:
        self._nursery.hear()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Raises subprocess.TimeoutExpired."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
            self._nursery.wait(POLL_SECONDS)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it ended, and we are not told yet
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Nursery:
    """One for each test process; it ends with it."""

    _only: Nursery | None = None

    def __init__(self) -> None:
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-c", f"from prouter.testing.nursery import serve; serve({theirs.fileno()})"]
        environ = {name: value for name, value in os.environ.items() if name != TAG}  # it outlives the test
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, env=environ)
        theirs.close()
        self._owner = os.getpid()
        self._running: dict[int, Forked] = {}
        atexit.register(self.close)

    @classmethod
    def here(cls) -> Nursery:
        """That of this process, made when first asked for."""
        if cls._only is None or cls._only._owner != os.getpid():
            cls._only = Nursery()
        return cls._only

    def start(
        self, arguments: Sequence[str], environ: Mapping[str, str], place: Path, log: int, program: Path | None = None
    ) -> Forked:
        """`prouter ARGUMENTS` in `place`, its output in the open file `log`; or `python PROGRAM ARGUMENTS`."""
        request = {"arguments": list(arguments), "environ": dict(environ), "place": str(place)}
        if program is not None:
            request["program"] = str(program)
        socket.send_fds(self._line, [json.dumps(request).encode()], [log])
        while True:
            if not select.select([self._line], [], [], START_SECONDS)[0]:
                raise RuntimeError("the nursery of daemons does not answer")
            told = self._told()
            if "started" in told:
                forked = Forked(told["started"], self)
                self._running[forked.pid] = forked
                return forked

    def hear(self) -> None:
        """Take what it tells of processes that ended."""
        while select.select([self._line], [], [], 0)[0]:
            self._told()

    def wait(self, seconds: float) -> None:
        """Until it tells something, or for so long."""
        select.select([self._line], [], [], seconds)

    def close(self) -> None:
        if self._owner == os.getpid():
            self._line.close()
            self._process.wait(START_SECONDS)

    def _told(self) -> dict[str, Any]:
        data = self._line.recv(MESSAGE_BYTES)
        if not data:
            raise RuntimeError("the nursery of daemons is gone")
        told: dict[str, Any] = json.loads(data)
        if "ended" in told and (forked := self._running.pop(told["ended"], None)) is not None:
            forked.returncode = told["status"]
        return told


def serve(line_number: int) -> None:
    """The nursery's own process: forks what it is asked for, tells whose end it saw, ends with the line."""
    _import_all()
    line = socket.socket(fileno=line_number)
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(far.fileno(), warn_on_full_buffer=False)
    gc.collect()
    gc.freeze()
    while True:
        ready, _, _ = select.select([line, near], [], [])
        if near in ready:
            near.recv(4096)
            _tell_ended(line)
        if line in ready:
            data, logs, _, _ = socket.recv_fds(line, MESSAGE_BYTES, 1)
            if not data:
                return
            pid = os.fork()
            if pid == 0:
                _become(json.loads(data), logs[0], (line, near, far))
            os.close(logs[0])
            line.send(json.dumps({"started": pid}).encode())


def _import_all() -> None:
    """What daemons import at each start, the plugins that ship too; others are for the daemon that loads them."""
    for name in IMPORTED:
        with contextlib.suppress(ImportError):  # uvloop is no must
            import_module(name)
    for group in ("prouter.plugins", "prouter.agent_plugins"):
        for plugin in find(group, Switches(safe=True)):
            with contextlib.suppress(Exception):  # the daemon says what is wrong with it
                plugin.load()
    check_schema("any", {})  # makes what it checks against
    this_platform()  # asks a program, once


def _tell_ended(line: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        line.send(json.dumps({"ended": pid, "status": os.waitstatus_to_exitcode(status)}).encode())


def _become(request: Mapping[str, Any], log: int, mine: Sequence[socket.socket]) -> None:
    """In the fork: be the daemon, and never return."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for own in mine:
            own.close()
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        os.environ.clear()
        os.environ.update(request["environ"])
        os.chdir(request["place"])
        if program := request.get("program"):
            sys.argv = [program, *request["arguments"]]
            sys.path.insert(0, str(Path(program).parent))
            runpy.run_path(program, run_name="__main__")
            status = 0
        else:
            sys.argv = ["prouter", *request["arguments"]]
            status = import_module("prouter.cli.main").main(request["arguments"])
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001 -- the end of this process, whatever it is
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
