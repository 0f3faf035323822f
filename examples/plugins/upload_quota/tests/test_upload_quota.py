"""Uploads of every kind to a live agent with small limits."""

from __future__ import annotations

import io
import tarfile
from collections.abc import AsyncIterator
from typing import Any

import pytest
from prouter_upload_quota import UploadQuota

from prouter.client import Client, Job
from prouter.testing import AgentHere, InProcess, RouterHere, Setup, assert_contract

LIMITS = ["upload_quota.file_bytes=1000", "upload_quota.job_bytes=2500"]


@pytest.fixture
def prouter_setup() -> Setup:
    return Setup(agent_plugins={"upload_quota": UploadQuota}, agent_settings=LIMITS)


@pytest.fixture
async def client(router: RouterHere, agent: AgentHere) -> AsyncIterator[Client]:
    async with router.client() as made:
        yield made


async def send(client: Client, job: Job, path: str, data: Any, verb: str = "PUT", **headers: str) -> tuple[int, str]:
    """The status, and what was said."""
    url = client.url + job.path + path
    body = io.BytesIO(data) if isinstance(data, bytes) else data
    async with client.session.request(verb, url, data=body, headers=headers) as answer:
        return answer.status, await answer.text()


async def put(client: Client, job: Job, name: str, size: int) -> int:
    return (await send(client, job, f"/file/{name}", b"x" * size))[0]


async def in_pieces(*pieces: bytes) -> AsyncIterator[bytes]:
    """A body without a Content-Length."""
    for piece in pieces:
        yield piece


def packed(**files: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, size in files.items():
            member = tarfile.TarInfo(name)
            member.size = size
            archive.addfile(member, io.BytesIO(b"x" * size))
    return buffer.getvalue()


async def test_a_file_has_so_many_bytes_and_no_more(agent: AgentHere, job: Job, client: Client) -> None:
    assert await put(client, job, "fits", 1000) == 200
    status, said = await send(client, job, "/file/large", b"x" * 1001)
    assert status == 403
    assert "large: 1001 bytes, a file may have 1000 here" in said
    assert sorted(path.name for path in agent.sandbox(job).iterdir()) == ["fits"]


async def test_a_file_of_unknown_length_is_judged_when_it_is_there(agent: AgentHere, job: Job, client: Client) -> None:
    assert (await send(client, job, "/file/fits", in_pieces(b"x" * 600, b"x" * 400)))[0] == 200
    status, said = await send(client, job, "/file/large", in_pieces(b"x" * 600, b"x" * 401))
    assert status == 403
    assert "1001 bytes" in said
    assert sorted(path.name for path in agent.sandbox(job).iterdir()) == ["fits"]


async def test_a_job_has_so_many_bytes_and_what_replaces_a_file_counts_once(job: Job, client: Client) -> None:
    for name in ("one", "two", "one", "two"):
        assert await put(client, job, name, 1000) == 200
    assert await put(client, job, "three", 501) == 403
    assert await put(client, job, "three", 500) == 200
    assert await put(client, job, "one", 400) == 200
    assert await put(client, job, "four", 600) == 200


async def test_moving_a_file_away_makes_no_room(job: Job, client: Client) -> None:
    assert await put(client, job, "one", 1000) == 200
    await job.move("one", "away")
    assert await put(client, job, "one", 1000) == 200
    await job.move("one", "away-too")
    assert await put(client, job, "one", 1000) == 403


async def test_an_archive_comes_whole_or_not_at_all(agent: AgentHere, job: Job, client: Client) -> None:
    tar = {"Content-Type": "application/x-tar"}
    assert (await send(client, job, "/archive", packed(a=900, b=900), "POST", **tar))[0] == 200
    status, said = await send(client, job, "/archive", packed(c=500, d=201), "POST", **tar)
    assert status == 403
    assert "d: with it 2501 bytes were uploaded" in said
    assert sorted(path.name for path in agent.sandbox(job).iterdir()) == ["a", "b"]


async def test_an_upload_in_parts_counts_as_one_file(job: Job, client: Client) -> None:
    for first, last in ((0, 399), (400, 799)):
        piece = b"x" * (last - first + 1)
        status, said = await send(client, job, "/file/p", piece, **{"Content-Range": f"bytes {first}-{last}/800"})
        assert status < 300, said
    assert await put(client, job, "rest", 1000) == 200
    assert await put(client, job, "last", 701) == 403
    assert await put(client, job, "last", 700) == 200
    status, _ = await send(client, job, "/file/big", b"x" * 10, **{"Content-Range": "bytes 0-9/1001"})
    assert status == 403


async def test_jobs_have_their_own_and_give_it_back(agent: AgentHere, client: Client) -> None:
    for _ in range(2):
        job = await client.create({"type": "uid", "uid": agent.uid}, "job")
        assert [await put(client, job, name, 1000) for name in "abc"] == [200, 200, 403]
        await job.remove()
    assert agent.plugin("upload_quota")._jobs == {}


async def test_what_was_there_before_the_agent_counts(agent: AgentHere, job: Job, client: Client) -> None:
    """As after a restart: nothing is remembered, and the sandbox is not empty."""
    (agent.sandbox(job) / "left").write_bytes(b"x" * 2000)
    assert await put(client, job, "more", 501) == 403
    assert await put(client, job, "more", 500) == 200


@pytest.mark.prouter(agent_settings=["upload_quota.need_length=True"])
async def test_a_length_can_be_asked_for(job: Job, client: Client) -> None:
    status, said = await send(client, job, "/file/any", in_pieces(b"x"))
    assert status == 403
    assert "Content-Length is needed" in said
    assert await put(client, job, "any", 1) == 200


async def test_without_limits_it_is_in_nobodys_way(in_process: InProcess) -> None:
    router = await in_process.router()
    agent = await in_process.agent(router, plugins={"upload_quota": UploadQuota})
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid}, "job")
        assert await put(client, job, "large", 100_000) == 200


async def test_it_keeps_what_is_promised_of_any_plugin() -> None:
    await assert_contract(UploadQuota, "plugin", name="upload_quota")
