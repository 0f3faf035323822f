"""What /agents says of cgroups is so: read back from the kernel's own files while jobs run; and rlimits without."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from limited import CGROUPS, MIB, WAITS, Place

if sys.platform == "win32":
    pytest.skip("guardians are Linux's", allow_module_level=True)

from prouter.agent.guard import sweep
from prouter.agent.guard.held import cgroup, controllers
from prouter.testing import Fleet, eventually

pytestmark = [
    pytest.mark.as_user,
    pytest.mark.skipif(sys.platform != "linux", reason="guardians are Linux's"),
]

KINDS = controllers.kinds() if "auto" in CGROUPS and sys.platform == "linux" else {}
"""How the kernel can limit here: /agents has to say the same."""
counts_tasks = pytest.mark.skipif("processes" not in KINDS, reason="no cgroup for tasks can be made here")
of_version_1 = pytest.mark.skipif("cgroup1" not in KINDS.values(), reason="no cgroup of version 1 can be made here")

LIMITS = {"memory_bytes": 64 * MIB, "processes": 50, "cpu_seconds": 60, "file_bytes": 2 * MIB}
TASKS = 4 * 50 + 1024
SLEEPS = "import time; time.sleep(600)"
FORKS = """
import os, time
count = 1
try:
    while True:
        if os.fork() == 0:
            time.sleep(600)
        count += 1
except BlockingIOError:
    open("count", "w").write(str(count))
time.sleep(600)
"""
"""Until the kernel refuses."""
THREADS = """
import threading, time
try:
    while True:
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
except RuntimeError:
    time.sleep(600)
"""
STORM = (Path(__file__).parents[1] / "jobs" / "fork_storm.py").read_text()


def may_unshare() -> bool:
    """Whether this user may have a namespace of mounts."""
    words = ["unshare", "-m", "true"]
    return bool(shutil.which(words[0])) and subprocess.run(words, capture_output=True, check=False).returncode == 0


def number(path: Path, name: str = "") -> int:
    """In a file of a group, in its line `NAME NUMBER` where it has names."""
    lines = [line.split() for line in path.read_text().splitlines()]
    return int(next(words[-1] for words in lines if not name or words[0] == name))


def groups(facts: dict[str, Any]) -> dict[str, Path]:
    """Of a job, by the controller whose files are in each."""
    places = [Path(path) for path in (facts["cgroup"], *facts["controllers"]) if path]
    marks = {
        "memory.max": "memory",
        "memory.limit_in_bytes": "memory",
        "pids.max": "pids",
        "cpu.stat": "cpu",
        "cpuacct.usage": "cpu",
    }
    return {name: place for place in places for mark, name in marks.items() if (place / mark).exists()}


@pytest.mark.skipif("auto" not in CGROUPS, reason="this run has no cgroups")
def test_what_a_kernel_of_version_1_offers_is_used() -> None:
    """Looked for here as most systems have it, and not by what is tested."""
    second = Path(cgroup.parent() or "/nowhere", "cgroup.controllers")
    of_second = second.read_text().split() if second.exists() else []
    pairs = {"memory_bytes": "memory", "cpu_seconds": "cpuacct", "processes": "pids"}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, name, own = line.split(":", 2)
        probe = Path(f"/sys/fs/cgroup/{name}{own}", f"test-{secrets.token_hex(8)}")
        with contextlib.suppress(OSError):
            probe.mkdir()
            probe.rmdir()
            for limit in (limit for limit, controller in pairs.items() if controller == name):
                assert KINDS.get(limit) == "cgroup1" or name in of_second or limit == "cpu_seconds", (limit, KINDS)


@pytest.mark.skipif(not KINDS, reason="no cgroup that limits anything can be made here")
async def test_a_running_job_is_in_groups_that_have_its_limits(fleet: Fleet) -> None:
    router, agent = await fleet.pair("jobs.cgroups=auto")
    async with router.client() as client:
        place = Place(router, agent, client)
        kept = await place.kept()
        assert {name: kind for name, kind in kept.items() if kind.startswith("cgroup")} == KINDS
        job = await place.runs(SLEEPS, **LIMITS)
        found = groups(place.facts(job))
        pid = job.info["pid"]
        if "memory_bytes" in KINDS:
            limit = "memory.max" if KINDS["memory_bytes"] == "cgroup2" else "memory.limit_in_bytes"
            assert number(found["memory"] / limit) == LIMITS["memory_bytes"]
        if "processes" in KINDS:
            assert number(found["pids"] / "pids.max") == TASKS
            assert number(found["pids"] / "pids.current") == 1
        if KINDS.get("cpu_seconds") == "cgroup2":
            assert number(found["cpu"] / "cpu.stat", "usage_usec") > 0
        elif "cpu_seconds" in KINDS:
            assert number(found["cpu"] / "cpuacct.usage") > 0
        for group in found.values():
            assert pid in map(int, (group / "cgroup.procs").read_text().split())
        await job.stop(grace_seconds=0)
        assert not any(group.exists() for group in found.values())


async def test_without_cgroups_it_has_rlimits(fleet: Fleet) -> None:
    router, agent = await fleet.pair("jobs.cgroups=off")
    async with router.client() as client:
        place = Place(router, agent, client)
        kept = await place.kept()
        assert [kept[name] for name in LIMITS] == ["watched", "watched", "watched", "rlimit"]
        job = await place.runs(SLEEPS, **LIMITS)
        facts = place.facts(job)
        assert (facts["cgroup"], facts["controllers"]) == ("", [])
        assert not [one for one in cgroup.below("/sys/fs/cgroup") if one.endswith(job.info["uid"])]
        lines = Path(f"/proc/{job.info['pid']}/limits").read_text().splitlines()
        soft = {line[:26].strip(): line[26:].split()[0] for line in lines}
    assert soft["Max file size"] == str(LIMITS["file_bytes"])
    assert soft["Max cpu time"] == str(LIMITS["cpu_seconds"] + 1)
    assert soft["Max data size"] == str(4 * LIMITS["memory_bytes"] + (1 << 30))
    assert int(soft["Max processes"]) >= 4 * LIMITS["processes"]


@counts_tasks
async def test_no_storm_takes_the_machine_however_late_its_guardian_is(fleet: Fleet) -> None:
    router, agent = await fleet.pair("jobs.cgroups=auto")
    async with router.client() as client:
        place = Place(router, agent, client)
        job = await place.runs(WAITS + FORKS, processes=50)
        facts = place.facts(job)
        group, guardian = groups(facts)["pids"], facts["guardian"]["pid"]
        os.kill(guardian, signal.SIGSTOP)
        try:
            (agent.sandbox(job) / "go").touch()
            counted = agent.sandbox(job) / "count"
            await eventually(lambda: counted.exists() and counted.read_text(), seconds=30, what="a fork too many")
            assert int(counted.read_text()) == number(group / "pids.current") == TASKS
            assert number(group / "pids.events", "max") > 0
        finally:
            os.kill(guardian, signal.SIGCONT)
        await job.wait(30)
        assert job.info["reason"] == "limit"
        stderr = (agent.sandbox(job) / ".pagent.stderr").read_text()
        assert "it had more processes than its limit of 50" in stderr
        threads = await place.ended(THREADS, processes=2)
        assert threads["reason"] == "limit"
        assert "more than the 1032 processes and threads that its limit of 2 processes allows" in threads["stderr"]
        assert not group.exists()
        await storm_is_ended(place)


async def storm_is_ended(place: Place) -> None:
    job = await place.runs(WAITS + STORM, processes=50)
    group = groups(place.facts(job))["pids"]
    (place.agent.sandbox(job) / "go").touch()
    most = 0

    def over() -> bool:
        nonlocal most
        with contextlib.suppress(OSError):
            most = max(most, number(group / "pids.current"))
        return not group.exists()

    await eventually(over, seconds=30, what="the end of a storm")
    await job.wait(30)
    assert job.info["reason"] == "limit"
    assert 0 < most <= TASKS


@of_version_1
def test_groups_that_no_guardian_told_of_go_with_what_is_left_of_a_job() -> None:
    job = secrets.token_hex(16)
    made = controllers.claim(job, "", LIMITS).made
    assert sorted(made.values()) == controllers.of(job) != []
    sweep.end_tagged(job, "")
    assert controllers.of(job) == []


WITHOUT_VERSION_1 = r"""
import json, os, subprocess, sys
for line in open("/proc/self/mountinfo"):
    before, _, after = line.partition(" - ")
    if after.startswith("cgroup "):
        subprocess.run(["umount", before.split()[4]], check=True)
from prouter.agent.guard.held import cgroup, controllers
group = cgroup.make(sys.argv[1])
found = controllers.claim(sys.argv[1], group, {"memory_bytes": 1 << 26, "processes": 5, "cpu_seconds": 9})
has = [os.path.exists(f"{group}/{name}") for name in ("memory.max", "pids.max", "cpu.stat")]
cgroup.remove(group)
print(json.dumps([group, has, [found.memory, found.tasks, found.cpu], controllers.kinds()]))
"""
"""In a namespace of mounts of its own."""


@pytest.mark.skipif(
    "auto" not in CGROUPS or not cgroup.parent() or not may_unshare(),
    reason="no cgroup of version 2 can be made here, or no namespace of mounts",
)
def test_of_version_2_alone_is_used_what_it_has_and_told_what_is_missing() -> None:
    """On most machines that have both versions, the second has no controllers."""
    words = ["unshare", "-m", sys.executable, "-c", WITHOUT_VERSION_1, secrets.token_hex(16)]
    told = subprocess.run(words, capture_output=True, check=True, text=True, timeout=60).stdout
    group, has, found, kinds = json.loads(told)
    assert group
    assert found == ["cgroup2" if there else "" for there in has]
    pairs = zip(("memory_bytes", "processes", "cpu_seconds"), found, strict=True)
    assert kinds == {name: kind for name, kind in pairs if kind}
    assert kinds["cpu_seconds"] == "cgroup2"
