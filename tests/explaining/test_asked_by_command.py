"""`prouter explain`: for people, on a terminal."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest
from reasons import router_with

from prouter.testing import Fleet, eventually

TOKEN = "a-token-of-a-client-0123456789abcdef"


async def command(*words: str, url: str, typed: str = "") -> tuple[int, str]:
    """Exit status and all that it says."""

    def run() -> subprocess.CompletedProcess[str]:
        environ = {"PROUTER_URL": url, "PROUTER_TOKEN": TOKEN}
        command = [sys.executable, "-m", "prouter", "explain", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environ, input=typed)

    done = await asyncio.to_thread(run)
    return done.returncode, done.stdout + done.stderr


async def test_a_person_asks_of_a_job_and_of_a_new_one(fleet: Fleet, tmp_path: Path) -> None:
    tokens = {"PROUTER_CONTROL__TOKENS": json.dumps([TOKEN])}
    router = router_with(fleet, tmp_path, "renamer", "quota", environ=tokens)
    agent = fleet.agent(router)
    async with router.client(TOKEN) as client:
        await eventually(client.agents)
        job = await client.create({"type": "uid", "uid": agent.uid})
        assert (await job.explain())["creation"]["chosen"] == agent.uid
        assert (await client.explain({"type": "uid", "uid": agent.uid}))["chosen"] == agent.uid
    url = router.url()
    for what in (job.path, str(job.info["uid"])):
        status, said = await command(what, url=url)
        assert status == 0, said
        assert said.startswith(f"agent {agent.uid}\nselector uid of selector_uid, ")
        assert "driver process of process_driver" in said
        assert "job_spec by renamer: changed (name, labels.team), " in said
        assert TOKEN not in said
    locator = json.dumps({"type": "uid", "uid": agent.uid})
    status, said = await command("-", "--label", "size=huge", url=url, typed=locator)
    assert status == 0, said
    assert said.startswith("refused, 403: the job is not admitted: nobody may have")
    assert "admit_job by quota: refused: nobody may have huge jobs, " in said
    status, said = await command("--json", "--resource", "gpu=1", locator, url=url)
    assert (status, json.loads(said)["refused"]["status"]) == (0, 503)
    status, said = await command("0" * 32, url=url)
    assert (status, "not found" in said, "Traceback" in said) == (1, True, False)


@pytest.mark.parametrize("words", [("{not json",), ("x", "--label", "novalue"), ("x", "--resource", "gpu=many"), ()])
async def test_words_that_make_no_sense_are_told(words: tuple[str, ...]) -> None:
    status, said = await command(*words, url="http://127.0.0.1:9")
    assert (status, "Traceback" in said) == (2, False), said
