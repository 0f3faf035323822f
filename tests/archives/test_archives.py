"""Archives of a sandbox through the API: down in each form, up all or nothing."""

from __future__ import annotations

import asyncio
import gzip
import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from packing import FILES, fetched, sandbox, send, tarred, there, untarred

from prouter.testing import eventually

pytestmark = pytest.mark.as_user


async def test_the_sandbox_comes_down_as_tar_gzip_and_zip(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await sandbox(client, agent)
        (agent.sandbox(job) / "link").symlink_to("a.txt")
        kind, data = await fetched(client, job)
        whole = untarred(data)
        assert kind == "application/x-tar"
        assert {name: content for name, content in whole.items() if content is not None} == FILES
        assert {name for name, content in whole.items() if content is None} == {"dir", "dir/deep"}
        kind, data = await fetched(client, job, compress="1")
        assert (kind, untarred(data, "r:gz")) == ("application/gzip", whole)
        kind, data = await fetched(client, job, format="zip")
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            assert archive.testzip() is None
            assert {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")} == FILES
        assert kind == "application/zip"


async def test_masks_are_of_the_relative_path_and_a_star_crosses_slashes(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await sandbox(client, agent)
        for query, wanted in (
            ({"include": "*.txt"}, {"a.txt", "dir/c.txt", "dir/ü.txt"}),
            ({"include": "*.txt", "exclude": "dir/c*"}, {"a.txt", "dir/ü.txt"}),
            ({"exclude": "dir*"}, {"a.txt", "empty"}),
            ({"path": "dir", "include": "*.bin"}, {"deep/b.bin"}),
        ):
            assert set(untarred((await fetched(client, job, **query))[1])) == wanted
        for query, status in (({"path": "nowhere"}, 404), ({"path": "../x"}, 400), ({"format": "rar"}, 400)):
            async with client.session.get(f"{client.url}{job.path}/archive", params=query) as answer:
                assert answer.status == status


async def test_what_goes_up_is_what_comes_down(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job, copy = await sandbox(client, agent), await client.create({"type": "uid", "uid": agent.uid})
        strange = agent.sandbox(job) / os.fsdecode(b"no \xff text\n%")
        strange.write_bytes(b"strange")
        (agent.sandbox(job) / "a.txt").chmod(0o755)
        for compress in ("0", "1"):
            _, data = await fetched(client, job, compress=compress)
            status, told = await send(client, copy, data)
            assert (status, told["bytes"]) == (200, sum(map(len, FILES.values())) + 7)
            assert there(agent, copy) == there(agent, job)
        assert os.access(agent.sandbox(copy) / "a.txt", os.X_OK)


async def test_what_is_there_is_kept_replaced_or_in_the_way(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await sandbox(client, agent)
        before = there(agent, job)
        assert (await send(client, job, tarred({"dir/c.txt": b"new", "dir/more": b"m"})))[0] == 200
        assert there(agent, job) == before | {"dir/c.txt": b"new", "dir/more": b"m"}
        before = there(agent, job)
        for files in ({"0": b"x", "a.txt/below": b"x"}, {"0": b"x", "dir": b"x"}):
            assert (await send(client, job, tarred(files)))[0] == 409
            assert there(agent, job) == before, "nothing of it appeared"


async def test_directories_are_what_the_archive_says(fleet) -> None:
    """Named as `tar cf - a/.` and others do, of their modes, and never passed over."""
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid})
        (agent.sandbox(job) / "there").mkdir(mode=0o750)
        sink = io.BytesIO()
        with tarfile.open(fileobj=sink, mode="w") as archive:
            for name, mode in (("./", 0o700), ("a/./", 0o700), ("a/./b", 0o2555), ("...", 0o711), ("there", 0o700)):
                info = tarfile.TarInfo(name)
                info.type, info.mode = tarfile.DIRTYPE, mode
                archive.addfile(info)
            archive.addfile(tarfile.TarInfo("a/./b/c/f"))
        assert (await send(client, job, sink.getvalue()))[0] == 200
        modes = {"a": 0o700, "a/b": 0o755, "a/b/c": 0o755, "...": 0o711, "there": 0o750}
        found = {name: (agent.sandbox(job) / name).stat().st_mode & 0o7777 for name in modes}
        assert found == modes
        data = untarred((await fetched(client, job, path="a"))[1])
        assert data == {"b": None, "b/c": None, "b/c/f": b""}
        assert (await send(client, job, tarred({"../": b""}, type=tarfile.DIRTYPE)))[0] == 400
        assert (await send(client, job, gzip.compress(tarred({"padded": b"x"})) + bytes(10_240)))[0] == 200
        assert (await send(client, job, gzip.compress(tarred({"x": b"x"})) + bytes(10) + b"x"))[0] == 400
        assert (agent.sandbox(job) / "padded").exists()


@pytest.mark.parametrize(
    "files",
    [{"../evil": b"x"}, {"/evil": b"x"}, {"dir/../../evil": b"x"}, {"out/evil": b"x"}, {"n": b"", "n/": b""}],
)
async def test_nothing_gets_outside_and_nothing_of_it_appears(fleet, files, tmp_path: Path) -> None:
    router, agent = await fleet.pair()
    outside = tmp_path / "outside"
    outside.mkdir()
    async with router.client() as client:
        job = await sandbox(client, agent)
        (agent.sandbox(job) / "out").symlink_to(outside)
        before = there(agent, job)
        status, _ = await send(client, job, tarred({"first": b"x"} | files))
        assert status in (400, 409)
        assert there(agent, job) == before
    assert not list(outside.iterdir())
    assert not list(agent.sandbox(job).parent.glob(".unpacking*"))


async def test_limits_and_broken_archives_leave_nothing(fleet) -> None:
    router, agent = await fleet.pair(
        "archives.max_entries=5", "archives.max_bytes=100000", "archives.max_ratio=100", "archives.max_gzip_members=3"
    )
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid})
        good = tarred({"a": b"x" * 1000})
        assert (await send(client, job, gzip.compress(good[:700]) + gzip.compress(good[700:])))[0] == 200
        await client.request("DELETE", f"{job.path}/file/a")
        for data, status in (
            (tarred({str(n): b"" for n in range(6)}), 413),
            (tarred({"a": bytes(100001)}), 413),
            (gzip.compress(bytes(20 * 1024 * 1024)), 413),
            (gzip.compress(b"") * 4, 413),
            (good[:700], 400),
            (b"nonsense" * 200, 400),
            (tarred({"a": b""}, type=tarfile.SYMTYPE, linkname="b"), 400),
        ):
            got, problem = await send(client, job, data)
            assert got == status, problem
        assert there(agent, job) == {}
        assert (await send(client, job, good))[0] == 200
        assert there(agent, job) == {"a": b"x" * 1000}


async def test_an_upload_that_is_cut_leaves_nothing(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid})
        host, port = router.address("control")
        _, writer = await asyncio.open_connection(host, port)
        data = tarred({"a": bytes(3_000_000)})
        head = f"POST {job.path}/archive HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {len(data)}\r\n\r\n"
        writer.write(head.encode() + data[:2_500_000])
        await writer.drain()
        place = agent.sandbox(job).parent
        await eventually(lambda: list(place.glob(".unpacking*")), what="the staging place")
        writer.close()
        await writer.wait_closed()
        await eventually(lambda: not list(place.glob(".unpacking*")), what="its end")
        assert there(agent, job) == {}


async def test_a_large_sandbox_streams_with_flat_memory(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid})
        with (agent.sandbox(job) / "large").open("wb") as large:
            large.truncate(128 * 1024 * 1024)
        await fetched(client, job, include="none")
        before = agent.memory_bytes() + router.memory_bytes()
        read = 0
        async with client.session.get(f"{client.url}{job.path}/archive") as answer:
            async for chunk in answer.content.iter_any():
                read += len(chunk)
        assert read > 128 * 1024 * 1024
        assert agent.memory_bytes() + router.memory_bytes() - before < 48 * 1024 * 1024
