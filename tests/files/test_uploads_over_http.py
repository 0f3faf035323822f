"""An upload appears whole or not at all, however it is sent and whoever goes away."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest
from filing import MIB, Filing, content, told

from prouter.testing import eventually

pytestmark = pytest.mark.as_user

OLD, NEW = b"o" * 16 * MIB, b"n" * 16 * MIB
LENGTH, CHUNKED = "Content-Length: 5000000", "Transfer-Encoding: chunked"


async def parts(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 70000):
        yield data[start : start + 70000]


async def test_every_way_to_send_a_file_gives_its_size_and_digest(filing: Filing) -> None:
    data = bytes(range(256)) * 1000
    kinds = ("application/octet-stream", "text/plain; charset=utf-8", "application/x-www-form-urlencoded", "text/x-sh")
    for number, kind in enumerate(kinds):
        for verb in ("POST", "PUT"):
            for body, sent in ((data, data), (parts(data), data), (b"", b"")):
                path = f"new{number}/folder/{verb}"
                answer = await filing.ask(verb, path, body, Content_Type=kind)
                assert (answer.status, answer.json) == (200, told(sent))
                assert (filing.sandbox / path).read_bytes() == sent


async def test_an_executable_file_is_a_program_at_once(filing: Filing) -> None:
    program = f"#!{sys.executable}\nopen('ran', 'w').write('yes')\n".encode()
    await filing.ask("PUT", "plain", program)
    await filing.ask("PUT", "bin/program", program, Content_Type="text/plain")
    assert (await filing.ask("PUT", "bin/program?executable=1", program)).status == 200
    assert (filing.sandbox / "plain").stat().st_mode & 0o777 == 0o644
    await filing.job.start(["bin/program"], port_expected_count=0)
    await filing.job.wait(30)
    assert (await filing.ask("GET", "ran")).content == b"yes"


async def test_who_reads_the_old_file_keeps_it(filing: Filing) -> None:
    await filing.ask("PUT", "f", OLD)
    async with filing.begun(filing.head("GET", "f")) as (reader, _):
        await reader.readuntil(b"\r\n\r\n")
        assert (await filing.ask("PUT", "f", NEW)).status == 200
        assert await reader.readexactly(len(OLD)) == OLD
    assert (await filing.ask("GET", "f")).content == NEW


@pytest.mark.parametrize(
    ("end", "length"),
    [("close", LENGTH), ("close", CHUNKED), ("reset", LENGTH), ("router", CHUNKED), ("agent", LENGTH)],
)
async def test_a_cut_upload_leaves_the_old_file_and_nothing_else(filing: Filing, end: str, length: str) -> None:
    await filing.runs("open('f', 'w').write('old')")
    begun = b"%x\r\n" % (3 * MIB) if length == CHUNKED else b""
    async with filing.begun(filing.head("PUT", "f", length) + begun + b"x" * 2 * MIB) as (_, writer):
        await eventually(lambda: len(filing.left()) == 2, what="the temporary file")
        assert (filing.sandbox / "f").read_bytes() == b"old"
        if end == "reset":
            writer.transport.abort()
        elif end == "router":
            filing.router.kill()
        elif end == "agent":
            filing.agent.kill()
            filing.agent.start()
    await eventually(lambda: filing.left() == ["f"], what="a sandbox without the temporary file")
    assert (filing.sandbox / "f").read_bytes() == b"old"


async def test_of_two_uploads_at_once_one_is_there_whole(filing: Filing) -> None:
    for _ in range(3):
        both = await asyncio.gather(*(filing.ask("PUT", "new/f", parts(data)) for data in (OLD, NEW)))
        assert [answer.json for answer in both] == [told(OLD), told(NEW)]
        assert (filing.sandbox / "new" / "f").read_bytes() in (OLD, NEW)
    assert filing.left() == ["new", "new/f"]


async def test_an_upload_to_a_job_that_is_removed_meanwhile_is_refused_and_leaves_nothing(filing: Filing) -> None:
    async with filing.begun(filing.head("PUT", "f", "Content-Length: 2000000") + b"x" * 1500000) as (reader, writer):
        await eventually(lambda: len(filing.left()) == 1, what="the temporary file")
        await filing.job.remove()
        writer.write(b"x" * 500000)
        head, _ = await content(reader)
        assert 400 <= int(head.split()[1]) < 500, head
    assert not filing.sandbox.exists()


async def test_an_encoded_upload_is_refused(filing: Filing) -> None:
    assert (await filing.ask("PUT", "f", b"x", Content_Encoding="gzip")).status == 415
    assert filing.left() == []
