"""A job that hands a part of itself to others, or makes groups of its own, is ended all the same, and in time.

Its output may be held by processes that are none of its tree, and groups below its own hold processes of it.
"""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from prouter.agent.guard.held import cgroup
from prouter.agent.guard.held.bounds import Bounds
from prouter.agent.guard.held.controllers import Controllers
from prouter.testing import Fleet, eventually

pytestmark = [
    pytest.mark.as_user,
    pytest.mark.skipif(sys.platform != "linux", reason="guardians are Linux's"),
]

SECONDS = 20.0
WRITERS = 4
PIPE_BYTES = 1 << 20
"""So that one reader hardly ever sees it empty."""
GIVES_AWAY = """
import socket, sys
with socket.socket(socket.AF_UNIX) as friend:
    friend.connect("\\0" + sys.argv[1])
    socket.send_fds(friend, [b"x"], [1])
    friend.recv(1)
print("last words", flush=True)
"""
"""Its standard output, to who listens there; ends when told to."""
GOES_BELOW = """
import os, subprocess, sys, time

def below(controller):
    mounts = [line.split(" - ") for line in open("/proc/self/mountinfo")]
    for line in open("/proc/self/cgroup"):
        _, names, where = line.strip().split(":", 2)
        for before, after in mounts:
            kind, _, options = after.split()
            found = kind == "cgroup2" if not names else kind == "cgroup" and names in options.split(",")
            if names == controller and found:
                return before.split()[4] + where

for controller in ("", "memory", "cpuacct"):
    own = below(controller)
    if own and "prouter-job-" in own:
        os.makedirs(own + "/other/empty")
        os.makedirs(own + "/a/b")
        open(own + "/a/b/cgroup.procs", "w").write("0")
words = sys.argv[1:]
if words[0] == "left":
    open(os.path.dirname(below("").partition("/a/b")[0]) + "/cgroup.procs", "w").write("0")
if words[0] in ("many", "left"):
    several = [subprocess.Popen(["sleep", "600"]) for _ in range(int(words[1]))]
if words[0] == "holds":
    held = [bytearray(b"x") * 1048576 for _ in range(int(words[1]))]
if words[0] == "busy":
    while time.process_time() < float(words[1]):
        pass
open("below", "w").close()
time.sleep(float(words[2]))
"""
"""Into groups below those that it has, or out of them, which root may do."""
MIB = 1 << 20
may_make_groups = pytest.mark.skipif(not cgroup.parent(), reason="this user can not make cgroups")


def groups_of(uid: str) -> list[Path]:
    """All that there are of a job; others come and go meanwhile."""
    return [Path(place) for place in cgroup.below("/sys/fs/cgroup") if place.endswith(uid)]


@contextmanager
def writing_without_end(to: int) -> Iterator[None]:
    writers = [subprocess.Popen(["cat", "/dev/zero"], stdout=to) for _ in range(WRITERS)]
    try:
        yield
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()


async def test_who_writes_on_into_its_output_does_not_keep_a_job_from_ending(fleet: Fleet, tmp_path: Path) -> None:
    router, agent = await fleet.pair()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{tmp_path}")
        listener.listen()
        listener.settimeout(SECONDS)
        async with router.client() as client:
            job = await client.create({"type": "uid", "uid": agent.uid}, "generous")
            words = [sys.executable, "-S", "-c", GIVES_AWAY, str(tmp_path)]
            await job.start(words, port_expected_count=0, limits={"output_bytes": 4096})
            friend, _ = listener.accept()
            with friend:
                _, (output,), _, _ = socket.recv_fds(friend, 1, 1)
                fcntl.fcntl(output, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
                with writing_without_end(output):
                    os.close(output)
                    friend.send(b"x")
                    await job.wait(SECONDS)
            assert (job.info["state"], job.info["exit_code"]) == ("FINISHED", 0), "it waits for who is none of it"


@may_make_groups
async def test_groups_that_a_job_makes_below_its_own_hide_nothing_and_go_with_it(fleet: Fleet) -> None:
    router, agent = await fleet.pair("jobs.cgroups=auto")
    async with router.client() as client:

        async def begun(*words: object, **limits: int) -> Any:
            job = await client.create({"type": "uid", "uid": agent.uid}, str(words[0]))
            program = [sys.executable, "-S", "-c", GOES_BELOW, *map(str, words)]
            return await job.start(program, port_expected_count=0, limits=limits)

        many = await begun("many", 9, 600, processes=5)
        holds = await begun("holds", 600, 600, memory_bytes=64 * MIB)
        busy = await begun("busy", 60, 600, cpu_seconds=1)
        below = await begun("many", 3, 0.5, processes=5, memory_bytes=256 * MIB, cpu_seconds=60)
        left = await begun("left", 9, 600, processes=5)
        stopped = await begun("many", 3, 600)
        await eventually((agent.sandbox(stopped) / "below").exists, what="a job in a group below its own")
        assert [place for place in groups_of(stopped.info["uid"]) if (place / "a" / "b").exists()]
        await stopped.stop(grace_seconds=0)
        for job in (many, holds, busy, below, left):
            await job.wait(SECONDS)
    jobs = (many, holds, busy, below, left, stopped)
    assert [job.info["reason"] for job in jobs] == ["limit", "out-of-memory", "limit", "exited", "limit", "stopped"]
    assert not [group for job in jobs for group in groups_of(job.info["uid"])]


@may_make_groups
async def test_memory_that_nobody_but_the_guardian_limits_is_counted_in_groups_below(tmp_path: Path) -> None:
    group = cgroup.make(f"test-{os.getpid()}")
    inner = Path(group, "a", "b")
    inner.mkdir(parents=True)
    program = "held = bytearray(b'x') * (96 << 20); print('held', flush=True); input()"
    with subprocess.Popen([sys.executable, "-S", "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as held:
        try:
            (inner / "cgroup.procs").write_text(str(held.pid))
            assert held.stdout is not None
            assert held.stdout.readline() == b"held\n"
            bounds = Bounds({"memory_bytes": 64 * MIB}, group, Controllers(group=group), str(tmp_path))
            reason, _ = bounds.excess() or ("", "")
            assert reason == "out-of-memory"
        finally:
            held.kill()
            held.wait()
            cgroup.remove(group)
    assert not Path(group).exists()
