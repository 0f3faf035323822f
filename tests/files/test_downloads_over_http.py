"""A download is the file as it is, or a cut; no reader holds up another."""

from __future__ import annotations

import asyncio
import os

import pytest
from filing import MIB, Filing, content, open_files

from prouter.testing import eventually

pytestmark = pytest.mark.as_user

SIZE = 32 * MIB
"""More than all buffers on the way."""


async def test_a_download_tells_its_length_and_kind_and_head_tells_the_same(filing: Filing) -> None:
    (filing.sandbox / "f.html").write_bytes(b"<p>hello")
    for verb, body in (("GET", b"<p>hello"), ("HEAD", b"")):
        answer = await filing.ask(verb, "f.html")
        assert (answer.status, answer.content) == (200, body)
        assert answer.headers["Content-Length"] == "8"
        assert answer.headers["Content-Type"] == "application/octet-stream"
    (filing.sandbox / "empty").touch()
    answer = await filing.ask("GET", "empty")
    assert (answer.content, answer.headers["Content-Length"]) == (b"", "0")


async def test_removing_by_reading_takes_the_file_once_it_was_sent_whole(filing: Filing) -> None:
    (filing.sandbox / "f").write_bytes(b"x" * SIZE)
    assert (await filing.ask("HEAD", "f?remove=1")).status == 200
    async with filing.begun(filing.head("GET", "f?remove=1")) as (reader, _):
        await reader.readuntil(b"\r\n\r\n")
    await eventually(lambda: open_files(filing.agent, "sandbox/f") == 0, what="a closed file")
    assert filing.left() == ["f"]
    assert len((await filing.ask("GET", "f?remove=1")).content) == SIZE
    await eventually(lambda: filing.left() == [], what="its removal")
    assert (await filing.ask("GET", "f?remove=1")).status == 404


async def test_removing_by_reading_takes_no_file_that_was_not_sent(filing: Filing) -> None:
    """Uploaded anew, or written on by the job, while the one before was sent."""
    for change in ("upload", "write"):
        (filing.sandbox / "f").write_bytes(b"old" + b"x" * SIZE)
        async with filing.begun(filing.head("GET", "f?remove=1")) as (reader, _):
            await reader.readuntil(b"\r\n\r\n")
            if change == "upload":
                assert (await filing.ask("PUT", "f", b"new")).status == 200
            else:
                with (filing.sandbox / "f").open("ab") as file:
                    file.write(b"new")
            assert (await reader.readexactly(SIZE + 3)).startswith(b"old")
            await eventually(lambda: open_files(filing.agent, "sandbox/f") == 0, what="a closed file")
        assert (filing.sandbox / "f").read_bytes().endswith(b"new"), change


async def test_a_file_that_shrinks_while_it_is_sent_is_a_cut(filing: Filing, fleet) -> None:
    fleet.expected_errors.append("became shorter")
    (filing.sandbox / "f").write_bytes(b"x" * SIZE)
    async with filing.begun(filing.head("GET", "f?remove=1")) as (reader, _):
        await reader.readuntil(b"\r\n\r\n")
        os.truncate(filing.sandbox / "f", MIB)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await reader.readexactly(SIZE)
    assert filing.left() == ["f"]


async def test_slow_readers_hold_up_nobody(filing: Filing) -> None:
    (filing.sandbox / "big").write_bytes(b"x" * SIZE)
    (filing.sandbox / "small").write_bytes(b"y")
    request = filing.head("GET", "big")
    async with (
        filing.begun(request) as (one, _),
        filing.begun(request) as (two, _),
        filing.begun(request) as (three, _),
    ):
        for reader in (one, two, three):
            await reader.readuntil(b"\r\n\r\n")
        assert (await filing.ask("GET", "small")).content == b"y"
        assert (await filing.ask("PUT", "other", b"z" * MIB)).status == 200
        assert len(await one.readexactly(SIZE)) == SIZE


async def test_a_client_that_goes_away_frees_the_file(filing: Filing) -> None:
    (filing.sandbox / "big").write_bytes(b"x" * SIZE)
    for reset in (False, True):
        async with filing.begun(filing.head("GET", "big")) as (reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            assert open_files(filing.agent, "sandbox/big") == 1
            if reset:
                writer.transport.abort()
        await eventually(lambda: open_files(filing.agent, "sandbox/big") == 0, what="a closed file")
    async with filing.begun(filing.head("GET", "big")) as (reader, _):
        assert len((await content(reader))[1]) == SIZE
