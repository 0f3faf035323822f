"""Jobs in bubblewrap on a live agent; where bubblewrap can not run, what would be asked of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from prouter_bubblewrap_driver import BubblewrapDriver, mount_options

from prouter.client import Client, Job, RequestFailed
from prouter.errors import ConfigError
from prouter.testing import AgentHere, InProcess, RouterHere, Setup, assert_contract, eventually

PLUGIN = {"bubblewrap_driver": BubblewrapDriver}
CHOSEN = ["jobs.driver='bubblewrap'"]
INTERPRETER = str(Path(sys.executable).resolve())
SERVES = """
import http.server, socketserver, sys
class Server(socketserver.UnixStreamServer):
    def get_request(self):
        return super().get_request()[0], ("local", 0)
class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args): pass
Server(sys.argv[1], Handler).serve_forever()
"""


def why_not() -> str:
    """Why bubblewrap can not run here; empty when it can."""
    if shutil.which("bwrap") is None:
        return "there is no bubblewrap here (apt-get install bubblewrap)"
    tried = subprocess.run(["bwrap", "--unshare-all", "--ro-bind", "/", "/", "true"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else f"bubblewrap does not work here: {tried.stderr.decode()}"


WHY_NOT = why_not()
runs = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)


@pytest.fixture
def prouter_setup() -> Setup:
    return Setup(agent_plugins=PLUGIN, agent_settings=[*CHOSEN, f"bubblewrap.show=[{sys.base_prefix!r}]"])


@pytest.fixture
async def client(router: RouterHere, agent: AgentHere) -> AsyncIterator[Client]:
    async with router.client() as made:
        yield made


async def told(agent: AgentHere, job: Job, expression: str, **env: str) -> Any:
    """What a program within says of itself, by its file in the sandbox."""
    program = f"import glob, json, os, socket, subprocess; json.dump({expression}, open('said', 'w'))"
    await job.start([INTERPRETER, "-c", program], env=env, port_expected_count=0)
    assert (await job.wait(20)).info["exit_code"] == 0, (agent.sandbox(job) / "stderr.log").read_text()
    return json.loads((agent.sandbox(job) / "said").read_text())


@runs
async def test_the_sandbox_is_home_and_all_else_can_not_be_written(agent: AgentHere, job: Job) -> None:
    tries = "[subprocess.run(['touch', place + '/x'], stderr=-3).returncode for place in ('.', '/usr', '/etc', '/')]"
    found = await told(agent, job, f"[os.environ['HOME'], os.getcwd(), os.path.expanduser('~'), {tries}]")
    sandbox = str(agent.sandbox(job))
    assert found == [sandbox, sandbox, sandbox, [0, 1, 1, 1]]
    assert (agent.sandbox(job) / "x").exists()


@runs
async def test_other_jobs_and_processes_are_not_to_be_seen(agent: AgentHere, job: Job, client: Client) -> None:
    other = await client.create({"type": "uid", "uid": agent.uid}, "other")
    (agent.sandbox(other) / "secret").write_text("secret")
    found = await told(agent, job, "[os.listdir('../..'), len(glob.glob('/proc/[0-9]*')), os.listdir('/run')]")
    assert found[0] == [job.info["uid"]]
    assert found[1] < 5
    assert found[2] == []


@runs
async def test_there_is_no_network_but_its_own_loopback(agent: AgentHere, job: Job, router: RouterHere) -> None:
    port = router.address("control")[1]
    found = await told(agent, job, f"[socket.if_nameindex(), socket.socket().connect_ex(('127.0.0.1', {port}))]")
    assert [name for _, name in found[0]] == ["lo"]
    assert found[1] != 0


@runs
async def test_a_unix_socket_in_the_sandbox_is_reached(job: Job, client: Client) -> None:
    await job.start([INTERPRETER, "-c", SERVES, "web.sock"], port={"mode": "unix", "path": "web.sock"})
    async with client.session.get(job.url()) as answer:
        assert answer.status == 200
        assert "web.sock" in await answer.text()


@runs
async def test_a_port_that_nobody_could_reach_is_refused(job: Job) -> None:
    for mode in ("assign", "detect", "report"):
        with pytest.raises(RequestFailed, match="with the mode unix") as refused:
            await job.start([INTERPRETER, "-c", SERVES], port={"mode": mode})
        assert refused.value.http_status == 403
    assert (await job.refresh()).info["state"] == "NEW"


@runs
async def test_a_program_has_its_time_to_end(agent: AgentHere, job: Job) -> None:
    program = (
        "import signal, sys, time\n"
        "def end(*_):\n    open('ended-well', 'w').close()\n    sys.exit(3)\n"
        "signal.signal(signal.SIGTERM, end)\nopen('ready', 'w').close()\n"
        "while True: time.sleep(0.1)\n"
    )
    await job.start([INTERPRETER, "-c", program], port_expected_count=0)
    await eventually((agent.sandbox(job) / "ready").exists)
    await job.stop()
    assert (await job.wait(20)).info["exit_code"] == 3
    assert (agent.sandbox(job) / "ended-well").exists()


@runs
async def test_nothing_of_a_tree_is_left(agent: AgentHere, job: Job) -> None:
    """Its program does not end by itself, and has children that left its group; the kit sees what is left."""
    program = "trap '' TERM; setsid sleep 1000 & setsid sleep 1000 & touch ready; while :; do sleep 1; done"
    await job.start(["sh", "-c", program], port_expected_count=0)
    await eventually((agent.sandbox(job) / "ready").exists)
    await job.stop(grace_seconds=0.2)
    assert (await job.wait(20)).info["reason"] == "stopped"


@runs
async def test_it_keeps_what_is_promised_of_a_driver(agent: AgentHere, tmp_path: Path) -> None:
    driver = agent.plugin("bubblewrap_driver")
    await assert_contract(driver, "driver", tmp_path / "jobs", python=INTERPRETER, sees_ports=False)


@runs
async def test_a_program_that_is_missing_is_named(agent: AgentHere, client: Client) -> None:
    for name in ("no-such-program", "./neither"):
        job = await client.create({"type": "uid", "uid": agent.uid}, "job")
        with pytest.raises(RequestFailed, match=name) as refused:
            await job.start([name], port_expected_count=0)
        assert refused.value.http_status == 422


async def test_an_agent_without_bubblewrap_does_not_start_and_says_so(in_process: InProcess) -> None:
    with pytest.raises(ConfigError, match="install bubblewrap"):
        await in_process.agent(None, *CHOSEN, "bubblewrap.command='no-such-bwrap'", plugins=PLUGIN)


async def test_bubblewrap_that_can_not_run_is_told(in_process: InProcess, tmp_path: Path) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(ConfigError, match="does not work here: bwrap: setting up uid map"):
        await in_process.agent(None, *CHOSEN, f"bubblewrap.command={str(broken)!r}", plugins=PLUGIN)


def test_what_is_mounted_where(tmp_path: Path) -> None:
    sandbox = tmp_path / "jobs" / "uid" / "sandbox"
    sandbox.mkdir(parents=True)
    hidden_file = tmp_path / "tokens"
    hidden_file.touch()
    options = mount_options(sandbox, ["/root", str(hidden_file), "/not/there"], ["/root/venv"])
    assert options[:3] == ["--ro-bind", "/", "/"]
    text = " ".join(options)
    hidden = f"--tmpfs /root --ro-bind /dev/null {hidden_file} --tmpfs {tmp_path / 'jobs'}"
    assert text.endswith(f"{hidden} --ro-bind-try /root/venv /root/venv --bind {sandbox} {sandbox}")
    assert "/not/there" not in text
