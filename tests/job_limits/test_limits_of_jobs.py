"""Each limit ends the job that goes beyond it, with its reason, and a job below it lives; in cgroups and without."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from prouter.client import Client, Job
from prouter.client.client import RequestFailed
from prouter.testing import AgentDaemon, Fleet, RouterDaemon, eventually

pytestmark = [
    pytest.mark.as_user,
    pytest.mark.skipif(sys.platform != "linux", reason="guardians are Linux's"),
]

MIB = 1024 * 1024
CGROUPS = ["off"] if os.environ.get("PROUTER_TEST_CGROUPS") == "off" else ["auto", "off"]

HOLDS = """
import sys, time
held = []
for _ in range(int(sys.argv[1])):
    held.append(bytearray(b"x") * 1048576)
    time.sleep(0.0005)
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""
"""As many MiB, for so many seconds."""
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
BUSY = """
import subprocess, sys
def busy(seconds):
    return [sys.executable, "-S", "-c", f"import time\\nwhile time.process_time() < {seconds}: pass"]
if sys.argv[1] == "short":
    for _ in range(int(sys.argv[2])):
        subprocess.run(busy(0.15))
elif sys.argv[1] == "forgotten":
    import signal
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for _ in range(int(sys.argv[2])):
        subprocess.call(busy(0.4))
else:
    subprocess.run(busy(float(sys.argv[2])))
"""
WRITES_ON = """
import os, sys, time
deep = os.path.join(*"abcdefgh")
os.makedirs(deep)
with open(os.path.join(deep, "file"), "wb") as file:
    for _ in range(int(sys.argv[1])):
        file.write(os.urandom(1048576))
        file.flush()
time.sleep(float(sys.argv[2]))
"""

ONE_FILE = "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_DFL); open('f', 'wb').write(b'x' * 3000000)"
MANY = "import subprocess, time; p = [subprocess.Popen(['sleep', '600']) for _ in range(9)]; time.sleep(600)"
LINKS = """
import os, sys, time
os.symlink(sys.argv[1], "out")
open("data", "wb").write(os.urandom(6 * 1048576))
for i in range(5):
    os.link("data", f"again{i}")
os.truncate(os.open("sparse", os.O_CREAT | os.O_RDWR), 1 << 30)
time.sleep(1.2)
"""
"""6 MiB, and much that looks like more."""


class Place:
    """A router, an agent, and jobs with limits."""

    def __init__(self, router: RouterDaemon, agent: AgentDaemon, client: Client) -> None:
        self.router, self.agent, self.client = router, agent, client

    async def runs(self, program: str, *args: object, **limits: int) -> Job:
        job = await self.client.create({"type": "uid", "uid": self.agent.uid}, "limited")
        words = [sys.executable, "-S", "-c", program, *map(str, args)]
        return await job.start(words, port_expected_count=0, limits=limits)

    async def ended(self, program: str, *args: object, **limits: int) -> dict[str, Any]:
        """How such a job ended, with what it wrote to stderr."""
        job = await (await self.runs(program, *args, **limits)).wait(30)
        assert job.info["state"] == "FINISHED", "it still runs"
        return job.info | {"stderr": (self.agent.sandbox(job) / ".pagent.stderr").read_text()}


@pytest.fixture(params=CGROUPS)
async def place(fleet: Fleet, request: pytest.FixtureRequest) -> Any:
    router = fleet.router()
    agent = fleet.agent(router, f"jobs.cgroups={request.param}")
    await router.agent_is_there(agent)
    async with router.client() as client:
        yield Place(router, agent, client)


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


async def test_files_sandboxes_and_processes(place: Place, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(os.urandom(12 * MIB))
    file, sandbox, processes, below, links = await asyncio.gather(
        place.ended(ONE_FILE, file_bytes=2 * MIB),
        place.ended(WRITES_ON, 20, 600, sandbox_bytes=8 * MIB),
        place.ended(MANY, processes=5),
        place.ended(WRITES_ON, 7, 1.2, sandbox_bytes=8 * MIB, file_bytes=8 * MIB, cpu_seconds=20),
        place.ended(LINKS, tmp_path, sandbox_bytes=8 * MIB),
    )
    assert (file["reason"], file["exit_code"]) == ("limit", -signal.SIGXFSZ)
    assert "a file of it grew beyond its limit of 2 MiB" in file["stderr"]
    assert sandbox["reason"] == "limit"
    assert "its sandbox grew beyond its limit of 8 MiB" in sandbox["stderr"]
    assert processes["reason"] == "limit"
    assert "more processes than its limit of 5" in processes["stderr"]
    assert (below["reason"], below["exit_code"]) == ("exited", 0)
    assert (links["reason"], links["exit_code"]) == ("exited", 0), links["stderr"]


async def test_kills_by_others_are_no_limits_and_leave_no_groups(place: Place, fleet: Fleet) -> None:
    fleet.expected_errors += ["guardian"]
    job = await place.runs("import time; time.sleep(600)", memory_bytes=64 * MIB, cpu_seconds=5)
    os.kill(job.info["pid"], signal.SIGKILL)
    info = (await job.wait(30)).info
    assert (info["reason"], info["exit_code"]) == ("signaled", -9)
    (shown,) = (await place.client.request("GET", "/agents"))["agents"]
    assert shown["limits"]["file_bytes"] == "rlimit"
    assert shown["limits"]["sandbox_bytes"] == shown["limits"]["processes"] == "watched"
    assert shown["limits"]["memory_bytes"] in ("cgroup2", "cgroup1", "watched")
    assert all(shown["limits"].values())
    job = await place.runs("import time; time.sleep(600)", memory_bytes=64 * MIB, cpu_seconds=5)
    facts = json.loads((place.agent.jobs / job.info["uid"] / "guardian.json").read_text())
    groups = [Path(path) for path in (facts["cgroup"], *facts["controllers"]) if path]
    assert all(group.is_dir() for group in groups)
    os.kill(facts["guardian"]["pid"], signal.SIGKILL)
    assert (await job.wait(30)).info["reason"] == "agent-lost"
    await eventually(lambda: not any(group.exists() for group in groups), what="the end of the job's groups")


async def test_ceilings_and_defaults_of_the_agent(fleet: Fleet) -> None:
    router = fleet.router()
    agent = fleet.agent(router, "jobs.limits.memory_bytes=48000000", "jobs.limits.max.memory_bytes=96000000")
    await router.agent_is_there(agent)
    async with router.client() as client:
        place = Place(router, agent, client)
        with pytest.raises(RequestFailed, match="this agent allows a job at most 96000000 memory_bytes, not") as error:
            await place.runs("pass", memory_bytes=96000001)
        assert error.value.http_status == 400
        assert (await place.ended(HOLDS, 300, 600))["reason"] == "out-of-memory", "by default"
        assert (await place.ended(HOLDS, 60, 0, memory_bytes=96000000))["reason"] == "exited"
        job = await client.create({"type": "uid", "uid": agent.uid}, "limited")
        words = [sys.executable, "-S", "-c", HOLDS, "400", "600"]
        why = r"was ended \(it used more memory than its limit of 32 MiB\) before it served"
        with pytest.raises(RequestFailed, match=why) as error:
            await job.start(words, limits={"memory_bytes": 32 * MIB})
        assert error.value.http_status == 422
