"""Each limit ends the job that goes beyond it, with its reason, and a job below it lives; in cgroups and without."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from limited import BUSY, HOLDS, MIB, WAITS, Place

from prouter.testing import Fleet, eventually

pytestmark = [
    pytest.mark.as_user,
    pytest.mark.skipif(sys.platform != "linux", reason="guardians are Linux's"),
]

FORKS = """
import os, time
for _ in range({}):
    if os.fork() == 0:
        time.sleep(600)
"""
KERNELS = ("memory_bytes", "cpu_seconds", "processes")
"""What a kernel with cgroups can keep."""

CHILDREN_HOLD = f"""
import subprocess, sys, time
for _ in range(int(sys.argv[1])):
    subprocess.Popen([sys.executable, "-S", "-c", {HOLDS!r}, sys.argv[2], "600"])
time.sleep(600)
"""
FORKS_SHARE = """
import os, sys, time
held = bytearray(b"x") * (40 * 1048576)
for _ in range(4):
    if os.fork() == 0:
        time.sleep(1.5)
        os._exit(0)
for _ in range(4):
    os.wait()
"""
"""Five processes that share 40 MiB."""


async def test_memory(place: Place) -> None:
    one, several, shared, below = await asyncio.gather(
        place.ended(HOLDS, 600, 600, memory_bytes=64 * MIB),
        place.ended(CHILDREN_HOLD, 4, 40, memory_bytes=128 * MIB),
        place.ended(FORKS_SHARE, memory_bytes=96 * MIB),
        place.ended(HOLDS, 48, 0.3, memory_bytes=64 * MIB),
    )
    assert (one["reason"], one["exit_code"]) == ("out-of-memory", -9)
    assert one["stderr"].endswith("\n[the job was ended: it used more memory than its limit of 64 MiB]\n")
    assert "out-of-memory, exit code -9: it used more memory than its limit of 64 MiB" in place.agent.log
    assert several["reason"] == "out-of-memory", "four children of 40 MiB are more than 128"
    assert (shared["reason"], shared["exit_code"]) == ("exited", 0), "what processes share counts once"
    assert (below["reason"], below["exit_code"], below["stderr"]) == ("exited", 0, "")


async def test_cpu_time_of_the_whole_tree(place: Place) -> None:
    *over, below = await asyncio.gather(
        *(place.ended(BUSY, how, 60, cpu_seconds=1) for how in ("long", "short", "forgotten")),
        place.ended(BUSY, "long", 0.5, cpu_seconds=2),
    )
    for info in over:
        assert info["reason"] == "limit"
        assert "it used more CPU time than its limit of 1 s" in info["stderr"]
    assert (below["reason"], below["exit_code"]) == ("exited", 0)


async def test_kills_by_others_are_no_limits_and_leave_no_groups(place: Place, fleet: Fleet) -> None:
    fleet.expected_errors += ["guardian"]
    job = await place.runs("import time; time.sleep(600)", memory_bytes=64 * MIB, cpu_seconds=5)
    os.kill(job.info["pid"], signal.SIGKILL)
    info = (await job.wait(30)).info
    assert (info["reason"], info["exit_code"]) == ("signaled", -9)
    kept = await place.kept()
    assert kept["file_bytes"] == "rlimit"
    assert kept["sandbox_bytes"] == "watched"
    assert {kept[name] for name in KERNELS} <= {"cgroup2", "cgroup1", "watched"}
    assert all(kept.values())
    job = await place.runs("import time; time.sleep(600)", memory_bytes=64 * MIB, cpu_seconds=5)
    facts = place.facts(job)
    groups = [Path(path) for path in (facts["cgroup"], *facts["controllers"]) if path]
    assert all(group.is_dir() for group in groups)
    os.kill(facts["guardian"]["pid"], signal.SIGKILL)
    assert (await job.wait(30)).info["reason"] == "agent-lost"
    await eventually(lambda: not any(group.exists() for group in groups), what="the end of the job's groups")


async def test_processes_of_other_jobs_take_none_of_a_jobs_own(place: Place) -> None:
    """The kernel's limit for a process counts all that its user has, and these jobs have one user."""
    few = await place.runs(WAITS + FORKS.format(10), processes=30)
    many = await place.runs(FORKS.format(400) + "open('all', 'w'); time.sleep(600)", processes=500)
    all_are_there = place.agent.sandbox(many) / "all"
    await eventually(all_are_there.exists, what="many processes of another job")
    (place.agent.sandbox(few) / "go").touch()
    info = (await few.wait(30)).info
    assert (info["reason"], info["exit_code"]) == ("exited", 0)
    await many.stop()
