"""The plugins of the pages work as the pages say, and are typed."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from pathlib import Path

import aiohttp
from pages import files, write

from our_mypy import mypy
from prouter.client import Client
from prouter.testing import ECHO, Fleet, InProcess
from prouter.testing.fleet import serving_job


def loading(*places: Path) -> str:
    return f"plugins.load={[str(place) for place in places]!r}"


def test_mypy_finds_nothing_wrong_with_them(tmp_path: Path) -> None:
    for name in files():
        write(name, tmp_path)
    status, said = mypy(tmp_path)
    assert status == 0, said


async def test_near_prefers_the_agent_with_the_data_and_keeps_off_those_of_others(fleet: Fleet, tmp_path: Path) -> None:
    router = fleet.router(loading(write("near.py", tmp_path)))
    far = fleet.agent(router)
    near = fleet.agent(router, "properties.data='climate'")
    kept = fleet.agent(router, "properties.data='climate'", "properties.kept_for='ada'")
    for agent in (far, near, kept):
        await router.agent_is_there(agent)
    async with router.client() as client:
        for _ in range(2):
            job = await client.create({"type": "near", "data": "climate"}, "x")
            assert job.info["agent"]["uid"] == near.uid
        explained = await client.request("POST", "/jobs/explain", {"agent": {"type": "near", "data": "climate"}})
    told = {agent["agent"]: agent for agent in explained["agents"]}
    assert "kept for ada" in told[kept.uid]["reason"]
    assert "it has the data" in json.dumps(told[near.uid])


async def test_the_urgent_wait_less_long(fleet: Fleet, tmp_path: Path) -> None:
    router = fleet.router(loading(write("urgent.py", tmp_path)))
    async with router.client() as client:
        for when in ("some day", "whenever", "now", "today"):
            await client.create({"type": "labels", "match": {}}, labels={"when": when}, queue_seconds=60)
        queues = {job.info["labels"]["when"]: job.info["queue"] for job in await client.jobs()}
    assert {when: queue["position"] for when, queue in queues.items()} == {
        "now": 1,
        "today": 2,
        "whenever": 3,
        "some day": 4,
    }
    assert queues["now"]["priority"] == 100


async def test_teams_see_only_their_own_jobs(fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "teams.txt").write_text("blue blue-key\nred red-key\n")
    router = fleet.router(
        loading(write("teams.py", tmp_path)),
        "access.authenticators=['token_auth', 'teams']",
        f"teams.file={str(tmp_path / 'teams.txt')!r}",
    )
    agent = fleet.agent(router)
    async with aiohttp.ClientSession(router.url(), headers={"X-Team-Key": "blue-key"}) as blue:
        while True:
            async with blue.get("/agents") as answer:
                if (await answer.json())["agents"]:
                    break
        body = {"agent": {"type": "uid", "uid": agent.uid}, "name": "x"}
        async with blue.post("/jobs/create", json=body) as answer:
            path = f"/jobs/{agent.uid}/{(await answer.json())['uid']}/info"
        for key, status in (("blue-key", 200), ("red-key", 403), ("no-key", 401)):
            async with blue.get(path, headers={"X-Team-Key": key}) as answer:
                assert answer.status == status, key
    async with aiohttp.ClientSession(router.url()) as nobody, nobody.get(path) as answer:
        assert answer.status == 401
        assert "or what this router's other authenticators take" in await answer.text()


async def test_who_tells_jobs_who_asks_and_counts(fleet: Fleet, tmp_path: Path) -> None:
    router = fleet.router(loading(write("who.py", tmp_path)))
    agent = fleet.agent(router)
    await router.agent_is_there(agent)
    async with router.client() as client:
        job = await serving_job(client, agent, ECHO)
        async with client.session.get(job.url(), headers={"X-Remote-User": "root"}) as answer:
            seen = json.loads(await answer.read())
            assert seen["X-Remote-User"] == "anonymous"
            assert answer.headers["X-Frame-Options"] == "SAMEORIGIN"
        async with client.session.get(f"{client.url}/metrics") as answer:
            assert 'prouter_who_sent_bytes_total{principal="anonymous"}' in await answer.text()


async def test_a_licence_file_is_in_each_sandbox_and_stays(fleet: Fleet, tmp_path: Path) -> None:
    _, agent = await fleet.pair(loading(write("licence_file.py", tmp_path)))
    router = fleet.daemons[0]
    async with Client(router.url()) as client:
        job = await client.create({"type": "uid", "uid": agent.uid}, "solve")
        assert await job.read("licence.txt") == b"granted to solve\n"
        async with client.session.put(f"{client.url}{job.path}/file/licence.txt", data=io.BytesIO(b"mine")) as answer:
            assert answer.status == 403
            assert "not yours to change" in await answer.text()
        program = "import os; open('seen', 'w').write(open(os.environ['LICENCE_NAME']).read())"
        await job.start([sys.executable, "-c", program], port_expected_count=0)
        await job.wait()
        assert await job.read("seen") == b"granted to solve\n"


async def test_a_motto_has_a_route_a_command_and_a_line_of_health(fleet: Fleet, tmp_path: Path) -> None:
    settings = [loading(write("motto.py", tmp_path)), "motto.text='slow and sure'"]
    router = fleet.router(*settings)
    async with aiohttp.ClientSession(router.url()) as session:
        async with session.get("/motto") as answer:
            assert await answer.json() == {"motto": "slow and sure"}
        async with session.get("/readyz") as answer:
            assert "beats" in await answer.text()
        async with session.get("/openapi.json") as answer:
            assert "/motto" in (await answer.json())["paths"]
    words = [word for setting in settings for word in ("--set", setting)]
    said = subprocess.run(
        [sys.executable, "-m", "prouter", "motto", *words], capture_output=True, text=True, timeout=60
    )
    assert said.stdout == "slow and sure\n", said.stderr


async def test_passwords_are_checked(fleet: Fleet, tmp_path: Path) -> None:
    place = write("passwords.py", tmp_path)
    router = fleet.router(loading(place), "access.authenticators=['token_auth', 'passwords']")
    for name, password, status in (("ada", "lovelace", 200), ("ada", "x", 401), ("eve", "lovelace", 401)):
        credentials = {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}
        async with aiohttp.ClientSession(router.url()) as session, session.get("/jobs", headers=credentials) as answer:
            assert answer.status == status


async def test_the_two_halves_of_usage(in_process: InProcess, tmp_path: Path) -> None:
    place = write("usage.py", tmp_path)
    router = await in_process.router(plugins={"usage": f"{place}:Usage"})
    agent = await in_process.agent(router, plugins={"usage": f"{place}:AgentUsage"})
    lone = await in_process.agent(router)
    async with router.client() as client:
        for there, usage, summary in ((agent, 200, 200), (lone, 404, 501)):
            job = await client.create({"type": "uid", "uid": there.uid}, "x")
            (there.sandbox(job) / "five").write_text("12345")
            for action, status in (("usage", usage), ("summary", summary)):
                async with client.session.get(f"{client.url}{job.path}/{action}") as answer:
                    assert answer.status == status, await answer.text()
                    assert status != 200 or (await answer.json())["bytes"] == 5
