"""Starting a job's main process: pipes for its output, its own session, its cgroup and limits, then the program.

What fails before or at the exec comes back as the OSError that it was, by a pipe that the exec closes; its `filename`
is then PROGRAM or DIRECTORY, whichever it was about.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
from dataclasses import dataclass
from typing import Any

from . import cgroup, controllers, trees
from .outlet import Copy, Forward, NewestFile, NoCopy, Outlet
from .segments import STDERR, STDOUT, Offsets
from .spool import NO_LIMIT, Spool

PROGRAM = "program"
DIRECTORY = "directory"

FILES = {STDOUT: ".pagent.stdout", STDERR: ".pagent.stderr"}
"""In the sandbox."""
NET_FACTOR = 4
NET_TASKS = 1024
"""Processes and threads of the same user that may come while a job runs, and leave it its own."""
NET_BYTES = 1 << 30
"""More than the stacks of a hundred threads."""
TAG = "PROUTER_JOB"
"""In the environment of every job, with its uid: what is left when keeper and guardian died together is found by it."""


@dataclass(frozen=True)
class Launched:
    """A main process that runs."""

    pid: int
    outlets: tuple[Outlet, ...]
    spool: Spool
    cgroup: str
    """Its path, empty when there is none."""
    controllers: controllers.Controllers
    begins_at: Offsets
    """Where the output of this run begins."""


def launch(job: str, directory: str, command: dict[str, Any]) -> Launched:
    """Start it. Raises OSError; nothing is left then."""
    limits = command.get("limits", {})
    group = cgroup.make(job) if command.get("cgroups") else ""
    kernel = controllers.Controllers()
    outlets: list[Outlet] = []
    writers: list[int] = []
    report = reporter = -1
    try:
        if command.get("cgroups"):
            kernel = controllers.claim(job, group, limits)
        spool = Spool(directory, int(limits.get("output_bytes", NO_LIMIT)))
        begins_at = spool.end
        report, reporter = os.pipe2(os.O_CLOEXEC)
        for stream, name in FILES.items():
            copy: Copy
            if command.get("forward_stdout"):
                copy = Forward(stream)
            elif not command.get("output_files", True):
                copy = NoCopy()
            else:
                copy = NewestFile(f"{directory}/sandbox/{name}", spool.limit_bytes)
            reader, writer = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(reader, False)
            outlets.append(Outlet(reader, stream, spool, copy))
            writers.append(writer)
        pid = os.fork()
        if pid == 0:
            _child(job, command, writers, reporter, kernel)
        os.close(reporter)
        reporter = -1
        failure = _failure(report)
        if failure is not None:
            os.waitpid(pid, 0)
            raise failure
    except BaseException:
        for outlet in outlets:
            outlet.close()
        kernel.remove()
        if group:
            cgroup.remove(group)
        raise
    finally:
        for fd in (*writers, report, reporter):
            if fd >= 0:
                os.close(fd)
    return Launched(pid, tuple(outlets), spool, group, kernel, begins_at)


def _failure(report: int) -> OSError | None:
    data = b""
    while part := os.read(report, 4096):
        data += part
    if not data:
        return None
    number, _, name = data.partition(b" ")
    return OSError(int(number), os.strerror(int(number)), name.decode())


def _child(
    job: str, command: dict[str, Any], writers: list[int], reporter: int, kernel: controllers.Controllers
) -> None:
    """In the fork: never returns."""
    step = ""
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, max(0, os.getpriority(os.PRIO_PROCESS, os.getpid())))
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(writers[0], 1)
        os.dup2(writers[1], 2)
        if kernel.group:
            cgroup.enter(kernel.group)
        kernel.enter()
        _set_limits(command.get("limits", {}), kernel)
        step = DIRECTORY
        os.chdir(command["cwd"])
        step = PROGRAM
        _close_others(reporter)
        os.execve(_program(command), command["args"], command["env"] | {TAG: job})  # noqa: S606
    except OSError as error:
        os.write(reporter, b"%d %s" % (error.errno or 1, step.encode()))
    finally:
        os._exit(127)


MAX_NAME_BYTES = 255
"""Of one name in a directory."""


def _program(command: dict[str, Any]) -> str:
    """The file to execute. Raises FileNotFoundError, PermissionError.

    As execvp looks on PATH, but a directory there that may not be searched says nothing about the program.
    """
    name: str = command["args"][0]
    if "/" in name:
        return name
    found = [os.path.join(place, name) for place in os.get_exec_path(command["env"])]
    there = [path for path in found if os.path.isfile(path)]
    for path in there:
        if os.access(path, os.X_OK):
            return path
    too_long = len(os.fsencode(name)) > MAX_NAME_BYTES
    raise OSError(errno.EACCES if there else errno.ENAMETOOLONG if too_long else errno.ENOENT, "")


def _close_others(keep: int) -> None:
    highest = os.sysconf("SC_OPEN_MAX")
    os.closerange(3, keep)
    os.closerange(keep + 1, highest)


def _set_limits(limits: dict[str, int], kernel: controllers.Controllers) -> None:
    """What the kernel keeps for each process; nets below what the guardian sees (bounds.py), should it be late.

    Processes, where no cgroup has them: RLIMIT_NPROC counts all of the user's, later ones of other jobs too, so that it
    has room for many of those (NET_TASKS) and yet leaves the guardian time to see a storm of forks. CPU time: SIGXCPU
    comes a second after the guardian should have looked. Memory, where no cgroup has it: RLIMIT_DATA and not RLIMIT_AS,
    since address space that is only reserved (Go, Java, JavaScript) costs nothing; it counts whole stacks of threads,
    and a program that meets it ends in its own way, so that it stands well above the limit.
    """
    if "processes" in limits and not kernel.tasks:
        net = trees.all_tasks() + NET_FACTOR * limits["processes"] + NET_TASKS
        _lower(resource.RLIMIT_NPROC, net, resource.RLIM_INFINITY)
    if "cpu_seconds" in limits:
        _lower(resource.RLIMIT_CPU, limits["cpu_seconds"] + 1, limits["cpu_seconds"] + 5)
    if "file_bytes" in limits:
        _lower(resource.RLIMIT_FSIZE, limits["file_bytes"], limits["file_bytes"])
    if "memory_bytes" in limits and not kernel.memory:
        net = NET_FACTOR * limits["memory_bytes"] + NET_BYTES
        _lower(resource.RLIMIT_DATA, net, net)


def _lower(kind: int, soft: int, hard: int) -> None:
    """Never above what holds for us already."""
    most = resource.getrlimit(kind)[1]
    if most != resource.RLIM_INFINITY:
        hard = most if hard == resource.RLIM_INFINITY else min(hard, most)
    soft = soft if hard == resource.RLIM_INFINITY else min(soft, hard)
    resource.setrlimit(kind, (soft, hard))
