"""Plugins have a say in whatever clients write into a sandbox, by every way; what is refused leaves nothing."""

from __future__ import annotations

import asyncio
import io
import tarfile
from pathlib import Path

import aiohttp
import pytest
from bare_peer import greeted
from witness import Told, tell

from prouter import hookimpl
from prouter.client import Client, Job
from prouter.model.access import Refusal
from prouter.model.jobs import JobRecord
from prouter.model.writes import FileWrite, WriteWay
from prouter.testing import AgentDaemon

LIMIT = 1000
OCTETS = {"Content-Type": "application/octet-stream"}
OSTREAM = 40


class Quota:
    """No file of more than LIMIT bytes, nothing named `secret`; fails and hangs where the name says so."""

    @hookimpl
    async def prouter_before_file_write(self, record: JobRecord, write: FileWrite) -> Refusal | None:
        tell(f"{record.name} {write.way} {write.path} {write.size_bytes}")
        name = write.path.rpartition("/")[2]
        if name == "hangs":
            await asyncio.sleep(600)
        if name == "raises":
            raise ValueError("no idea")
        if name == "secret" or (name == "whole" and write.way is WriteWay.FILE):
            return Refusal("there are no secrets here")
        if write.size_bytes is not None and write.size_bytes > LIMIT:
            return Refusal(f"{write.size_bytes} bytes are more than {LIMIT}")
        return None


PLUGINS = {"quota": Quota}
SETTINGS = ("plugins.deadlines={'prouter_before_file_write': 0.5}",)
EXPECTED_ERRORS = ("plugin quota", "Traceback")


async def made(client: Client, agent: AgentDaemon) -> Job:
    return await client.create({"type": "uid", "uid": agent.uid}, "job")


async def put(
    client: Client, job: Job, path: str, data: bytes, *, verb: str = "PUT", chunked: bool = False, **headers: str
) -> aiohttp.ClientResponse:
    async def pieces():
        yield data

    body = pieces() if chunked else io.BytesIO(data)
    url = f"{client.url}{job.path}/{path}"
    answer = await client.session.request(verb, url, data=body, headers=OCTETS | headers)
    await answer.read()
    return answer


async def reason(answer: aiohttp.ClientResponse) -> str:
    assert answer.content_type == "application/problem+json"
    return str((await answer.json())["detail"])


def left(agent: AgentDaemon, job: Job) -> list[str]:
    """All files and directories of the job but its record."""
    found = [path.relative_to(agent.sandbox(job).parent) for path in agent.sandbox(job).parent.rglob("*")]
    return sorted(str(path) for path in found if str(path) not in ("record.json", "sandbox", "trail.json", "uploads"))


def tar_of(**files: bytes) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name.replace("__", "/"))
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return made.getvalue()


async def test_an_upload_is_asked_about_with_its_size(place, told: Told) -> None:
    router, agent = place
    async with router.client() as client:
        job = await made(client, agent)
        assert (await put(client, job, "file/below/./small", b"x" * LIMIT)).status == 200
        assert told.lines() == [f"job file below/small {LIMIT}"]
        refused = await put(client, job, "file/deep/below/large", b"x" * (LIMIT + 1))
        assert refused.status == 403
        assert await reason(refused) == f"'deep/below/large' is not taken: {LIMIT + 1} bytes are more than {LIMIT}"
        assert left(agent, job) == ["sandbox/below", "sandbox/below/small"]


async def test_a_size_that_was_not_said_is_asked_about_before_the_file_takes_its_place(place, told: Told) -> None:
    router, agent = place
    async with router.client() as client:
        job = await made(client, agent)
        assert (await put(client, job, "file/kept", b"first")).status == 200
        told.clear()
        assert (await put(client, job, "file/kept", b"second", chunked=True)).status == 200
        refused = await put(client, job, "file/kept", b"x" * (LIMIT + 1), chunked=True)
        assert refused.status == 403
        assert told.lines() == [f"job file kept {size}" for size in (None, 6, None, LIMIT + 1)]
        assert await job.read("kept") == b"second"
        assert left(agent, job) == ["sandbox/kept"]


async def test_an_upload_in_parts_is_refused_with_its_first_and_forgotten(place, told: Told) -> None:
    router, agent = place
    async with router.client() as client:
        job = await made(client, agent)
        for number, status in ((0, 202), (400, 200)):
            part = {"Content-Range": f"bytes {number}-{number + 399}/800"}
            assert (await put(client, job, "file/parts", b"x" * 400, **part)).status == status
        assert told.lines() == ["job part parts 800", "job part parts 800", "job file parts 800"]
        refused = await put(client, job, "file/large", b"x" * 400, **{"Content-Range": f"bytes 0-399/{LIMIT + 1}"})
        assert (refused.status, "more than" in await reason(refused)) == (403, True)
        for number, status in ((0, 202), (400, 403)):
            part = {"Content-Range": f"bytes {number}-{number + 399}/800"}
            assert (await put(client, job, "file/whole", b"x" * 400, **part)).status == status
        assert left(agent, job) == ["sandbox/parts"], "also what had come is gone"


async def test_of_an_archive_each_file_is_asked_about_and_none_is_there_when_one_is_refused(place, told: Told) -> None:
    router, agent = place
    async with router.client() as client:
        job = await made(client, agent)
        good = tar_of(one=b"1", below__two=b"22")
        assert (await put(client, job, "archive", good, verb="POST")).status == 200
        assert told.lines() == ["job archive one 1", "job archive below/two 2"]
        before = left(agent, job)
        for bad in (tar_of(three=b"3", four__secret=b""), tar_of(three=b"3", large=b"x" * (LIMIT + 1))):
            refused = await put(client, job, "archive", bad, verb="POST")
            assert (refused.status, "is not taken" in await reason(refused)) == (403, True)
            assert left(agent, job) == before


async def test_directories_and_moves_are_asked_about(place, told: Told) -> None:
    router, agent = place
    async with router.client() as client:
        job = await made(client, agent)
        await job.mkdir("some/where")
        await job.mkdir("some/thing")
        await job.move("some/thing", "some/body")
        assert told.lines() == [
            "job directory some/where None",
            "job directory some/thing None",
            "job move some/body None",
        ]
        before = left(agent, job)
        for change in ({"mkdir": "a/secret"}, {"move": "some/body", "to": "b/secret"}):
            answer = await client.session.post(f"{client.url}{job.path}/files", json=change)
            assert answer.status == 403, await answer.text()
            assert "there are no secrets here" in await reason(answer)
        assert left(agent, job) == before


@pytest.mark.parametrize("how", ["raises", "hangs"])
async def test_what_can_not_be_asked_is_not_written(place, told: Told, how: str) -> None:
    router, agent = place
    async with router.client() as client:
        job = await made(client, agent)
        failed = await put(client, job, f"file/{how}", b"x")
        assert (failed.status, "plugin 'quota' failed in prouter_before_file_write" in await reason(failed)) == (
            500,
            True,
        )
        assert left(agent, job) == []
        assert (await put(client, job, "file/other", b"x")).status == 200


async def test_what_an_original_router_uploads_is_asked_about(place, told: Told) -> None:
    """It never says the size before."""
    _, agent = place
    host, port = agent.address("server")
    async with greeted(f"{host}:{port}", agent.token) as peer:
        uid = (await peer.call(1, "job_create", "theirs"))[2]["uid"]

        async def uploaded(number: int, method: str, *args: str, data: bytes) -> list:
            await peer.say(2, number, OSTREAM, method, [uid, *args], {})
            await peer.say(4, number, data)
            await peer.say(5, number)
            return await peer.hear()

        assert (await uploaded(2, "file_upload", "small", data=b"12345"))[3] == 0
        assert (await uploaded(3, "archive_upload", data=tar_of(one=b"1")))[3] == 0
        for number, method, args, data in (
            (4, "file_upload", ["large"], b"x" * (LIMIT + 1)),
            (5, "file_upload", ["secret"], b""),
            (6, "archive_upload", [], tar_of(two=b"2", secret=b"")),
        ):
            refused = await uploaded(number, method, *args, data=data)
            assert refused[3] != 0
            assert "is not taken" in str(refused)
        sizes = [line.partition(" ")[2] for line in told.lines()]
        assert sizes[:3] == ["file small None", "file small 5", "archive one 1"]
        assert sorted(path.name for path in (agent.jobs / uid / "sandbox").iterdir()) == ["one", "small"]


def test_nothing_is_built_where_nobody_asks() -> None:
    from contextlib import AbstractAsyncContextManager
    from types import SimpleNamespace
    from typing import Any

    from prouter.agent.jobs.registry import JobRegistry

    opened: Any = object()
    hooks: Any = SimpleNamespace(guards_writes=False)
    nothing: Any = SimpleNamespace(root=Path())
    registry = JobRegistry(nothing, lambda _: opened, nothing, hooks, nothing, max_jobs=1, stop_grace_seconds=1)  # type: ignore[arg-type,return-value]
    job: Any = SimpleNamespace(directory=SimpleNamespace(sandbox=Path()))
    registry._jobs["a"] = job  # type: ignore[index]
    files: AbstractAsyncContextManager[Any] = registry.files("a")  # type: ignore[arg-type]
    assert files is opened
