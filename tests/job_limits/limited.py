"""Jobs with limits, and programs that go beyond them or stay below."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from prouter.client import Client, Job
from prouter.testing import AgentDaemon, RouterDaemon

MIB = 1024 * 1024
CGROUPS = ["off"] if os.environ.get("PROUTER_TEST_CGROUPS") == "off" else ["auto", "off"]

WAITS = """
import os, time
while not os.path.exists("go"):
    time.sleep(0.01)
"""
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


class Place:
    """A router, an agent, and jobs with limits."""

    def __init__(self, router: RouterDaemon, agent: AgentDaemon, client: Client) -> None:
        self.router, self.agent, self.client = router, agent, client

    async def runs(self, program: str, *args: object, timeout: float | None = None, **limits: int) -> Job:
        job = await self.client.create({"type": "uid", "uid": self.agent.uid}, "limited")
        words = [sys.executable, "-S", "-c", program, *map(str, args)]
        return await job.start(words, port_expected_count=0, timeout=timeout, limits=limits)

    async def ended(self, program: str, *args: object, timeout: float | None = None, **limits: int) -> dict[str, Any]:
        """How such a job ended, with what it wrote to stderr."""
        job = await (await self.runs(program, *args, timeout=timeout, **limits)).wait(30)
        assert job.info["state"] == "FINISHED", "it still runs"
        return job.info | {"stderr": (self.agent.sandbox(job) / ".pagent.stderr").read_text()}

    def facts(self, job: Job) -> dict[str, Any]:
        """What its guardian says of itself."""
        facts: dict[str, Any] = json.loads((self.agent.jobs / job.info["uid"] / "guardian.json").read_text())
        return facts

    async def kept(self) -> dict[str, str]:
        """How the agent says that it keeps each limit."""
        (shown,) = (await self.client.request("GET", "/agents"))["agents"]
        kinds: dict[str, str] = shown["limits"]
        return kinds
