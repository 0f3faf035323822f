"""What a guardian wrote of a job's end lies where the job may write: whatever is there, the job ends, and so does the
agent's start."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

if sys.platform == "win32":
    pytest.skip("guardians are Linux's", allow_module_level=True)

from prouter.agent.guard import sweep
from prouter.agent.guard.running import GuardedTree
from prouter.model.process import Exit
from prouter.testing import eventually

pytestmark = pytest.mark.as_user

WHOLE = {"exit_code": 3, "reason": "exited", "finished_at": 1.5, "detail": ""}
ABSURD = [
    {"finished_at": float("inf")},
    {"finished_at": float("nan")},
    {"finished_at": 10**400},
    {"finished_at": 1e18},
    {"finished_at": None},
    {"finished_at": "now"},
    {"exit_code": float("inf")},
    {"exit_code": float("nan")},
    {"exit_code": 2**63},
    {"exit_code": [1]},
]


def written(directory: Path, change: dict[str, Any]) -> Path:
    (directory / "exit.json").write_text(json.dumps(WHOLE | change))
    return directory


def test_what_is_whole_is_believed(tmp_path: Path) -> None:
    assert sweep.account_of(written(tmp_path, {})) == Exit(3, "exited", 1.5)
    assert sweep.account_of(written(tmp_path, {"exit_code": None})) == Exit(None, "exited", 1.5)


@pytest.mark.parametrize("change", ABSURD, ids=lambda change: str(change)[:40])
def test_an_absurd_number_is_no_account(tmp_path: Path, change: dict[str, Any]) -> None:
    assert sweep.account_of(written(tmp_path, change)) is None


class Closed:
    """A connection that is none any more."""

    transport = SimpleNamespace(abort=lambda: None)

    def is_closing(self) -> bool:
        return True


async def ended(line: bytes) -> Exit:
    """Of a tree whose guardian said that as its last word; its account can not be read, in a way nobody thought of."""

    async def none_left() -> tuple[int, ...]:
        return ()

    async def account() -> Exit | None:
        raise OverflowError("cannot convert float infinity to integer")

    writer: Any = Closed()
    tree = GuardedTree(1, 1, "", writer, end_hard=lambda *guardian: None, end_rest=none_left, account=account)
    reader = asyncio.StreamReader()
    reader.feed_data(line)
    reader.feed_eof()
    async with asyncio.timeout(10):
        await tree.follow(reader)
        return await tree.wait()


@pytest.mark.parametrize("change", ABSURD, ids=lambda change: str(change)[:40])
async def test_a_live_job_ends_whatever_its_guardian_says_and_wrote(change: dict[str, Any]) -> None:
    assert (await ended(json.dumps(WHOLE | change).encode() + b"\n")).reason == "agent-lost"


@pytest.mark.parametrize("line", [b"7\n", b"null\n", b'{"finished_at": 1}\n', b"[" * 20_000 + b"\n"])
async def test_what_is_no_word_at_all_ends_it_too(line: bytes) -> None:
    assert (await ended(line)).reason == "agent-lost"


async def test_no_survivor_keeps_an_agent_from_starting(fleet) -> None:
    fleet.expected_errors += ["no whole account", "is not known"]
    router, agent = await fleet.pair()
    async with router.client() as client:
        jobs = [await client.create({"type": "uid", "uid": agent.uid}) for _ in range(4)]
        for job in jobs:
            await job.start([sys.executable, "-c", "import time; time.sleep(600)"], port_expected_count=0)
        places = [agent.jobs / job.info["uid"] for job in jobs]
        agent.kill()
        await eventually(lambda: all((place / "exit.json").exists() for place in places), what="the ends of all")
        written(places[0], {"finished_at": float("inf")})
        written(places[1], {"exit_code": 10**400})
        for place, held in zip(
            places[2:], ({"controllers": 7}, {"guardian": {"pid": 10**400}, "cgroup": []}), strict=True
        ):
            told = json.loads((place / "guardian.json").read_text())
            (place / "guardian.json").write_text(json.dumps(told | held))
        agent.start()
        await router.agent_is_there(agent)
        for job in jobs:
            await job.wait(30)
            assert job.info["reason"] == "agent-lost"
