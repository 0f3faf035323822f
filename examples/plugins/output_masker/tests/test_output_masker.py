"""What clients see of the output of jobs that print their secrets, on a live agent."""

from __future__ import annotations

import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prouter_output_masker import OutputMasker

from prouter.client import Client, Job, RequestFailed
from prouter.errors import ConfigError
from prouter.testing import AgentHere, Fleet, InProcess, RouterHere, Setup, assert_contract

PLUGIN = {"output_masker": OutputMasker}
KEY = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG\nx\n-----END KEY-----"
SAYS = "import os, sys; print(os.environ['A_TOKEN'], 'and', os.environ['PLAIN']); print(os.environ.get('KEY_SECRET'))"


@pytest.fixture
def prouter_setup() -> Setup:
    return Setup(agent_plugins=PLUGIN, agent_settings=[r"output_masker.patterns=['ghp_\\w+', 'password=(\\S+)']"])


@pytest.fixture
async def client(router: RouterHere, agent: AgentHere) -> AsyncIterator[Client]:
    async with router.client() as made:
        yield made


async def ran(job: Job, program: str, **env: str) -> Job:
    await job.start([sys.executable, "-c", program], env=env, port_expected_count=0)
    return await job.wait(20)


async def output(client: Client, job: Job, **query: str) -> str:
    async with client.session.get(f"{client.url}{job.path}/output", params=query) as answer:
        assert answer.status == 200
        return await answer.text()


async def test_values_of_secret_variables_are_stars_of_the_same_length(
    agent: AgentHere, job: Job, client: Client
) -> None:
    await ran(job, SAYS, A_TOKEN="hunter2", PLAIN="daylight")
    assert await output(client, job) == "******* and daylight\nNone\n"
    assert not [file for file in agent.sandbox(job).rglob("*") if b"hunter2" in file.read_bytes()]


async def test_each_line_of_a_value_is_masked_and_what_is_short_is_not(job: Job, client: Client) -> None:
    await ran(job, SAYS, A_TOKEN="yes", PLAIN="daylight", KEY_SECRET=KEY)
    lines = (await output(client, job)).splitlines()
    assert lines == ["yes and daylight", "*" * 19, "*" * 20, "x", "*" * 17]


async def test_what_looks_like_a_secret_is_masked(job: Job, client: Client) -> None:
    await ran(job, "import sys; print('ghp_abc123 password=letmein!', file=sys.stderr)")
    assert await output(client, job) == "********** password=********\n"


async def test_an_error_that_quotes_the_last_lines_is_masked(job: Job) -> None:
    program = "import os, sys; print(os.environ['A_TOKEN']); sys.exit(3)"
    with pytest.raises(RequestFailed) as told:
        await job.start([sys.executable, "-c", program], env={"A_TOKEN": "hunter2"}, port={"mode": "assign"})
    assert "hunter2" not in str(told.value)
    assert "*******" in str(told.value)


async def test_reading_from_amid_a_secret_shows_nothing_of_it(job: Job, client: Client) -> None:
    await ran(job, "import os; print('it is', os.environ['A_TOKEN'])", A_TOKEN="hunter2")
    for offset in range(6, 13):
        assert await output(client, job, offset=str(offset)) == "it is *******\n"[offset:]


@pytest.mark.prouter(agent_settings=["jobs.environment.keep=['LAB_*']"])
async def test_the_values_of_all_starts_are_masked(job: Job, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that jobs inherit of the agent are others at another start, and the output of the first is still there."""
    monkeypatch.setenv("LAB_SECRET", "the-first-one")
    await ran(job, "import os; print(os.environ['LAB_SECRET'])")
    monkeypatch.setenv("LAB_SECRET", "the-second")
    await job.restart()
    await job.wait(20)
    assert await output(client, job) == "*" * 13 + "\n" + "*" * 10 + "\n"


async def test_a_restart_of_the_agent_shows_nothing(fleet: Fleet) -> None:
    router = fleet.router()
    agent = fleet.agent(router, plugins=PLUGIN)
    await router.agent_is_there(agent)
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid}, "job")
        await ran(job, SAYS, A_TOKEN="hunter2", PLAIN="day")
        agent.stop()
        agent.start()
        await router.agent_is_there(agent)
        assert (await output(client, job)).startswith("******* and day")
        kept = kept_files(agent.place)
        assert [stat.S_IMODE(file.stat().st_mode) for file in kept] == [0o600]
        await job.remove()
        assert kept_files(agent.place) == []


def kept_files(place: Path) -> list[Path]:
    return [file for file in place.rglob("plugins/output_masker/*") if file.is_file()]


async def test_a_pattern_that_is_none_is_a_wrong_configuration(in_process: InProcess) -> None:
    with pytest.raises(ConfigError, match=r"output_masker\.patterns"):
        await in_process.agent(None, "output_masker.patterns=['(']", plugins=PLUGIN)


async def test_it_keeps_what_is_promised_of_any_plugin() -> None:
    await assert_contract(OutputMasker, "plugin", name="output_masker")
