"""R5: at the door of a job's guardian, `g.sock`, other users are not heard, whatever modes files and directories have;
root, who may end any process, is."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from prouter.testing import Fleet

NOBODY = 65534
ASKS = """
import os, socket, sys
directory, user = sys.argv[1:]
os.chdir(directory)
os.setgroups([])
os.setresgid(int(user), int(user), int(user))
os.setresuid(int(user), int(user), int(user))
knocks = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
knocks.settimeout(20)
try:
    knocks.connect("g.sock")
    for said in ("status", "hello", "kill"):
        knocks.sendall(b'{"op": "%s"}\\n' % said.encode())
    knocks.shutdown(socket.SHUT_WR)
    print(knocks.makefile("rb").read(1000))
except OSError as error:
    print(type(error).__name__)
"""
"""Goes into the directory while it may, becomes that user, and says what may be said."""
GUARDS = """
import os, select, sys
from prouter.agent.guard.held.door import Door
user = int(sys.argv[1])
os.setgroups([])
os.setresgid(user, user, user)
os.setresuid(user, user, user)
door = Door(".")
print("listens", flush=True)
while True:
    select.select([door.fd], [], [])
    admitted = door.admit(tuple)
    if admitted is not None:
        admitted[0].makefile("rb").read()
        admitted[0].sendall(b"heard")
        admitted[0].close()
"""
"""The door of an ordinary user's guardian."""
NOT_HEARD = ("b''", "BrokenPipeError", "ConnectionResetError")

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.skipif(
        sys.platform != "linux" or os.geteuid() != 0, reason="needs Linux, and root to be somebody else"
    ),
]


async def said_to(directory: Path, user: int) -> str:
    words = [sys.executable, "-c", ASKS, str(directory), str(user)]
    asking = await asyncio.create_subprocess_exec(*words, stdout=subprocess.PIPE)
    told, _ = await asking.communicate()
    return told.decode().strip()


def loosen(job: Path) -> None:
    for path in (job, job / "g.sock"):
        path.chmod(0o777)


async def test_whom_modes_let_in_is_not_heard_either(fleet: Fleet) -> None:
    fleet.expected_errors.append("unfinished when the agent ended")
    router = fleet.router()
    agent = fleet.agent(router, "jobs.survive_agent=True")
    await router.agent_is_there(agent)
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid}, "guarded")
        await job.start(["sleep", "600"], port_expected_count=0)
        directory = agent.jobs / job.info["uid"]
        assert await said_to(directory, NOBODY) == "PermissionError"
        loosen(directory)
        assert await said_to(directory, NOBODY) in NOT_HEARD
        guardian = json.loads((directory / "guardian.json").read_text())["guardian"]["pid"]
        agent.kill()  # nobody holds the door now, who would be told from others
        assert await said_to(directory, NOBODY) in NOT_HEARD
        assert Path(f"/proc/{guardian}").exists()
        agent.start()
        await router.agent_is_there(agent)
        assert (await job.refresh()).info["state"] == "RUNNING"
        told = await said_to(directory, 0)
        assert '"status"' in told
        assert "is the agent of this job, and lives" in told
        assert (await job.wait(20)).info["state"] == "FINISHED", "root's word is taken"


async def test_an_ordinary_users_guardian_hears_root_and_nobody_else(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    words = [sys.executable, "-c", GUARDS, str(NOBODY)]
    guarding = await asyncio.create_subprocess_exec(*words, cwd=tmp_path, stdout=subprocess.PIPE)
    try:
        assert guarding.stdout is not None
        assert await guarding.stdout.readline() == b"listens\n"
        assert await said_to(tmp_path, NOBODY - 1) == "PermissionError"
        (tmp_path / "g.sock").chmod(0o777)
        assert await said_to(tmp_path, NOBODY - 1) in NOT_HEARD
        for user in (0, NOBODY):
            assert await said_to(tmp_path, user) == "b'heard'"
    finally:
        guarding.kill()
        await guarding.wait()
