"""Archives that go up beside other changes of the same sandbox: each is whole, and undoes nothing but its own."""

from __future__ import annotations

import asyncio
import io

import pytest
from packing import send, tarred, there

from prouter.client import Client, Job
from prouter.testing import eventually

pytestmark = pytest.mark.as_user
MANY = {f"m{number:04}": b"" for number in range(3000)}


async def put(client: Client, job: Job, name: str, content: bytes) -> int:
    async with client.session.put(f"{client.url}{job.path}/file/{name}", data=io.BytesIO(content)) as answer:
        await answer.read()
        return answer.status


async def test_an_archive_that_fails_undoes_no_upload_of_somebody_else(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid})
        await put(client, job, "zz/x", b"")
        names = [f"a{number:04}" for number in range(1000)]
        data = tarred(dict.fromkeys(names, b"archive") | MANY | {"zz": b"in the way"})
        archive = asyncio.create_task(send(client, job, data))
        mine = {"zz/x": b""}
        for name in names:
            assert await put(client, job, name, b"mine") == 200
            mine[name] = b"mine"
            if archive.done():
                break
        assert (await archive)[0] == 409
        assert there(agent, job) == mine


async def test_a_file_that_an_archive_replaces_is_never_missing(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid})
        await put(client, job, "x", b"0")
        place = agent.sandbox(job) / "x"
        for number in range(40):
            archive = asyncio.create_task(send(client, job, tarred({"x": b"%d" % number})))
            while not archive.done():
                for _ in range(100):
                    place.lstat()
                await asyncio.sleep(0)
            assert (await archive)[0] == 200


async def test_archives_sent_at_once_are_all_taken_each_whole(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid})
        for turn in range(6):
            names = [f"{turn}/deep/{name}" for name in range(10)]
            archives = [tarred(dict.fromkeys(names, b"%d" % sender)) for sender in range(8)]
            answers = await asyncio.gather(*(send(client, job, data) for data in archives))
            assert [status for status, _ in answers] == [200] * 8, answers
            found = there(agent, job)
            assert len({found[name] for name in names}) == 1, "the files of several archives are mixed"


async def test_a_job_that_is_removed_while_an_archive_comes_stays_removed(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid})
        data = tarred({"x": bytes(1_000_000), "d/e": bytes(3_000_000), "d2/e2/f": bytes(1_000_000)})
        host, port = router.address("control")
        async with asyncio.timeout(30):
            reader, writer = await asyncio.open_connection(host, port)
            head = f"POST {job.path}/archive HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {len(data)}\r\n\r\n"
            writer.write(head.encode() + data[:2_500_000])
            await eventually(lambda: list(agent.sandbox(job).parent.glob(".unpacking*/d/e")), what="the staging place")
            await job.remove()
            writer.write(data[2_500_000:])
            assert (await reader.readuntil(b"\r\n")).split()[1] == b"404"
            writer.close()
            await writer.wait_closed()
        await eventually(lambda: not list(agent.jobs.iterdir()), what="nothing of it")
        again = await client.create({"type": "uid", "uid": agent.uid}, uid=str(job.info["uid"]))
        assert again.path == job.path


async def test_archives_beside_uploads_that_make_and_leave_the_same_directories(fleet) -> None:
    """An upload that is refused takes its directories away; the archive needs them in the same moment."""
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid})

        async def refused() -> int:
            url, wrong = f"{client.url}{job.path}/file/d/e/mine", {"If-Match": '"nothing"'}
            async with client.session.put(url, data=b"x", headers=wrong) as answer:
                return answer.status

        async def removed() -> int:
            async with client.session.delete(f"{client.url}{job.path}/file/d/e/f") as answer:
                return answer.status

        for _ in range(20):
            asked = (send(client, job, tarred({"d/e/f": b"x"})), refused(), removed(), removed())
            (status, told), first, *gone = await asyncio.gather(*asked)
            assert (status, first) == (200, 412), told
            assert set(gone) <= {204, 404}
