"""A large upload over a bad line: it goes on where it was, and the file appears when all of it is there."""

from __future__ import annotations

import asyncio
import hashlib
import os

import pytest
from storing import Answer, Store

from prouter.testing import eventually

pytestmark = pytest.mark.as_user

DATA = os.urandom(3_000_000)
TOTAL = len(DATA)


async def put(
    store: Store, first: int, stop: int, rest: str = "file/in/f", total: int = TOTAL, **headers: str
) -> Answer:
    """These bytes of DATA."""
    return await store.ask("PUT", rest, DATA[first:stop], Content_Range=f"bytes {first}-{stop - 1}/{total}", **headers)


async def offset(store: Store, rest: str = "file/in/f") -> int:
    answer = await store.ask("PUT", rest, b"", Content_Range=f"bytes */{TOTAL}")
    assert answer.status == 202, answer.content
    return int(answer.json["offset"])


async def test_the_file_appears_when_all_parts_are_there_also_after_the_agent_was_restarted(store: Store) -> None:
    assert await offset(store) == 0
    answer = await put(store, 0, 1_000_000)
    assert (answer.status, answer.json) == (202, {"offset": 1_000_000})
    assert (await put(store, 1_000_000, 2_000_000)).json == {"offset": 2_000_000}
    assert await store.names() == []
    await store.job.start(["true"], port_expected_count=0)
    await store.job.wait(30)
    store.agent.kill()
    store.agent.start()
    await eventually(lambda: _answers(store), what="the agent's return")
    assert await offset(store) == 2_000_000
    answer = await put(store, 2_000_000, TOTAL, "file/in/f?executable=1")
    assert (answer.status, answer.json) == (200, {"size": TOTAL, "sha256": hashlib.sha256(DATA).hexdigest()})
    assert (store.sandbox / "in/f").read_bytes() == DATA
    assert (store.sandbox / "in/f").stat().st_mode & 0o777 == 0o755
    assert _kept(store) == []


async def test_a_part_that_is_not_the_next_is_told_which_is(store: Store) -> None:
    await put(store, 0, 1000)
    for first in (0, 999, 1001):
        answer = await put(store, first, 2000)
        assert (answer.status, answer.json["offset"], answer.json["type"]) == (409, 1000, "urn:prouter:conflict")
    assert await offset(store) == 1000
    assert await offset(store, "file/in/other") == 0


async def test_what_came_of_a_part_that_was_cut_is_kept(store: Store) -> None:
    host, port = store.router.address("control")
    _, writer = await asyncio.open_connection(host, port)
    head = f"PUT {store.job.path}/file/in/f HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {TOTAL}\r\n"
    writer.write(head.encode() + f"Content-Range: bytes 0-{TOTAL - 1}/{TOTAL}\r\n\r\n".encode() + DATA[:2_500_000])
    await writer.drain()
    await eventually(lambda: any(place.stat().st_size for place in _kept(store)), what="the first bytes")
    assert not await _free(store)  # two at once would mix
    writer.close()
    await eventually(lambda: _free(store), what="the end of the cut part")
    reached = await offset(store)
    assert 0 < reached <= 2_500_000
    assert (await put(store, reached, TOTAL)).status == 200
    assert (store.sandbox / "in/f").read_bytes() == DATA


async def test_a_condition_is_asked_when_the_file_takes_its_place_and_loses_no_part(store: Store) -> None:
    await store.ask("PUT", "file/in/f", b"old")
    await put(store, 0, 1000)
    assert (await put(store, 1000, TOTAL, If_None_Match="*")).status == 412
    assert (store.sandbox / "in/f").read_bytes() == b"old"
    assert (await store.ask("PUT", "file/in/f", b"", Content_Range=f"bytes */{TOTAL}")).status == 200
    assert (store.sandbox / "in/f").read_bytes() == DATA


async def test_a_part_that_makes_no_sense_is_refused(store: Store) -> None:
    for told in ("bytes 0-9", "bytes 0-9/*", "bytes 9-0/20", "bytes 0-9/9", "bytes 0-8/20", "bytes 0-10/20", "x", ""):
        answer = await store.ask("PUT", "file/f", b"0123456789", Content_Range=told)
        assert answer.status == 400, told
    assert (await store.ask("PUT", "file/f", b"x", Content_Range="bytes */20")).status == 400
    assert (await store.ask("POST", "file/f", b"x", Content_Range="bytes 0-0/20")).status == 400
    assert (await store.ask("PUT", "file/%2e%2e/f", b"x", Content_Range="bytes 0-0/20")).status == 400
    assert await store.names() == []
    assert _kept(store) == []


async def test_a_question_changes_no_file(store: Store) -> None:
    await store.ask("PUT", "file/in/f", b"old")
    for total in (0, 1, TOTAL):
        answer = await store.ask("PUT", "file/in/f", b"", Content_Range=f"bytes */{total}")
        assert answer.status == (202 if total else 400), total
    assert (store.sandbox / "in/f").read_bytes() == b"old"


async def test_unfinished_uploads_are_bounded_in_number_and_age_and_go_with_the_job(fleet) -> None:
    router, agent = await fleet.pair("files.max_unfinished_uploads=2", "files.unfinished_upload_age=60")
    async with router.client() as client:
        store = Store(router, agent, await client.create({"type": "uid", "uid": agent.uid}))
        for name, status in (("a", 202), ("b", 202), ("c", 429), ("a", 409)):
            assert (await put(store, 0, 10, f"file/{name}")).status == status, name
        for place in _kept(store):
            os.utime(place, (1, 1))
        assert (await put(store, 0, 10, "file/c")).status == 202
        assert len(_kept(store)) == 1
        await store.job.remove()
        assert not store.sandbox.parent.exists()


def _kept(store: Store) -> list:
    folder = store.sandbox.parent / "uploads"
    return list(folder.iterdir()) if folder.exists() else []


async def _answers(store: Store) -> bool:
    return (await store.ask("GET", "files")).status == 200


async def _free(store: Store) -> bool:
    return (await store.ask("PUT", "file/in/f", b"", Content_Range=f"bytes */{TOTAL}")).status == 202
