"""What plugins make of a job's output is all that clients see of it, from wherever they begin to read."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from telling import new_job, output, tell, told

from prouter import hookimpl
from prouter.agent.guard.held.segments import STDERR, STDOUT
from prouter.agent.guard.held.spool import Spool
from prouter.agent.jobs.changed_output import ChangedOutput
from prouter.agent.jobs.runs import Run
from prouter.agent.output.limits import LineLimits
from prouter.client import Client, Job, RequestFailed
from prouter.model.jobs import JobRecord
from prouter.model.output import OutputStream

SECRET = b"hunter2"
MASK = b"*" * len(SECRET)
STREAMS = {STDOUT: OutputStream.STDOUT, STDERR: OutputStream.STDERR}


class Masker:
    @hookimpl
    def prouter_job_output(self, data: bytes, record: JobRecord, stream: OutputStream | None) -> bytes | None:
        return data.replace(SECRET, MASK) if SECRET in data else None


class Strange:
    """What the job is called says what is wrong."""

    @hookimpl
    async def prouter_job_output(self, data: bytes, record: JobRecord) -> Any:
        match record.name:
            case "longer":
                return data + b"!"
            case "a text":
                return data.decode()
            case "raises":
                raise LookupError
            case "slow":
                await asyncio.sleep(600)
        return None


PLUGINS = {"masker": Masker, "strange": Strange}
SETTINGS = ("plugins.deadlines={'prouter_job_output': 0.5}",)
EXPECTED_ERRORS = ("plugin strange", "Traceback")


async def events_from(client: Client, job: Job, last_id: int) -> bytes:
    """The text of all events from an id on."""
    headers = {"Accept": "text/event-stream", "Last-Event-ID": str(last_id)}
    async with client.session.get(f"{client.url}{job.path}/output", headers=headers) as answer:
        assert answer.status == 200
        lines = (await answer.text()).splitlines()
    found = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    return "".join(event.get("text", "") for event in found).encode()


SPLIT = "say('a hun'); say('err hun', 2); say('ter2 b\\nx'); say('ter2\\n', 2); say('hunter'); say('2\\nhunter2')"


async def test_no_offset_and_no_view_shows_a_half_of_what_is_masked(place) -> None:
    router, agent = place
    async with router.client() as client:
        job = await told(client, agent, SPLIT)
        masked = b"a ***err ******* b\nx****\n*******\n*******"
        whole = {None: masked, "stdout": b"a ******* b\nx*******\n*******", "stderr": b"err *******\n"}
        for stream, expected in whole.items():
            for offset in range(len(expected) + 1):
                assert await output(job, stream=stream, offset=offset) == expected[offset:], (stream, offset)
            for lines in range(5):
                tail = await output(job, stream=stream, tail=lines)
                assert expected.endswith(tail)
        for offset in range(len(masked) + 1):
            assert await events_from(client, job, offset) == masked[offset:]
        async with client.session.get(f"{client.url}{job.path}/file/.pagent.stdout") as answer:
            assert answer.status == 404, "no copy in the sandbox by which it could be seen"


async def test_a_line_is_waited_for_and_what_comes_of_it_later_is_masked_as_well(place) -> None:
    router, agent = place
    async with router.client() as client:
        quick = await tell(await new_job(client, agent), "say('hun'); time.sleep(0.1); say('ter2\\n'); time.sleep(600)")
        seen = b""
        async for chunk in quick.output(follow=True):
            seen += chunk
            if len(seen) == len(SECRET) + 1:
                break
        assert seen == MASK + b"\n"
        slow = await tell(await new_job(client, agent), "say('hun'); await_file('go'); say('ter2\\nend\\n')")
        seen = b""
        async for chunk in slow.output(follow=True):
            if not seen:
                assert chunk == b"hun", "a prompt without an end is shown after a while"
                async with client.session.post(f"{client.url}{slow.path}/file/go", data=b"") as answer:
                    assert answer.status == 200
            seen += chunk
        assert seen == b"hun****\nend\n"
        assert await output(slow) == MASK + b"\nend\n"


async def test_messages_that_quote_the_last_lines_are_masked(place) -> None:
    router, agent = place
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid}, "job")
        program = "import os; os.write(1, b'hun'); os.write(1, b'ter2\\n' + 9000 * b'x' + b'hunter2'); os._exit(3)"
        with pytest.raises(RequestFailed) as failed:
            await job.start([sys.executable, "-c", program], port={"mode": "assign"})
        detail = failed.value.detail
        assert "exited with status 3" in detail
        assert detail.endswith("x*******")
        assert "hunter2" not in detail


async def test_a_failure_of_the_plugin_is_one_of_the_reading(place) -> None:
    router, agent = place
    said = {
        "longer": "it made 4 bytes of 3 bytes, which must stay as many",
        "a text": "",
        "raises": "LookupError",
        "slow": "did not answer within 0.5 s",
    }
    async with router.client() as client:
        for name, words in said.items():
            job = await client.create({"type": "uid", "uid": agent.uid}, name)
            await (await tell(job, "say('abc')")).wait(20)
            with pytest.raises(RequestFailed) as failed:
                await output(job)
            assert failed.value.http_status == 500
            assert "plugin 'strange' failed in prouter_job_output" in failed.value.detail
            assert words in failed.value.detail
            with pytest.raises(aiohttp.ClientPayloadError):  # begun already
                await output(job, follow=True)
        good = await client.create({"type": "uid", "uid": agent.uid}, "good")
        await (await tell(good, "say('abc')")).wait(20)
        assert await output(good) == b"abc"


# --- the same without sockets, for what can not be had by a job at will ---


class Hooks:
    changes_output = True

    async def output(self, data: bytes, record: object, stream: object) -> bytes:
        return data.replace(SECRET, MASK)


def reader_of(place: Path, line_bytes: int = 64) -> ChangedOutput:
    job: Any = SimpleNamespace(
        directory=SimpleNamespace(path=place),
        run=Run(begun=True),
        record=SimpleNamespace(ended=True, state="FINISHED", started_at=1.0),
        removing=False,
    )
    hooks: Any = Hooks()
    return ChangedOutput(job, hooks, LineLimits(0.0, line_bytes))


async def read(reader: ChangedOutput, stream: OutputStream | None, offset: int) -> bytes:
    """Dropped bytes as zeros."""
    seen = b""
    async for pieces in reader.read(stream, offset, follow=False):
        for piece in pieces:
            assert piece.offset == offset + len(seen)
            seen += piece.data if piece.stream is not None else bytes(piece.dropped_bytes)
    return seen


def pieces_of(random_: random.Random, lines: int) -> list[tuple[int, bytes]]:
    """Writes of two streams that do not keep to lines."""
    left = dict.fromkeys(STREAMS, b"")
    for stream in STREAMS:
        for _ in range(lines):
            words = [random_.choice((SECRET, b"hunt", b"er2", b" ")) for _ in range(random_.randrange(6))]
            left[stream] += b"".join(words) + b"\n"
    made = []
    while any(left.values()):
        stream = random_.choice([stream for stream in STREAMS if left[stream]])
        size = random_.randrange(1, 9)
        made.append((stream, left[stream][:size]))
        left[stream] = left[stream][size:]
    return made


async def test_whatever_is_written_how_every_view_and_offset_shows_the_same(tmp_path: Path) -> None:
    random_ = random.Random(7)
    written = pieces_of(random_, 12)
    spool = Spool(str(tmp_path))
    for stream, data in written:
        spool.write(stream, memoryview(data))
    spool.close()
    of = {stream: b"".join(data for one, data in written if one == stream) for stream in STREAMS}
    left = {stream: whole.replace(SECRET, MASK) for stream, whole in of.items()}
    expected: dict[OutputStream | None, bytes] = {STREAMS[stream]: whole for stream, whole in left.items()}
    mixed = b""
    for stream, data in written:
        mixed += left[stream][: len(data)]
        left[stream] = left[stream][len(data) :]
    expected[None] = mixed
    assert SECRET in b"".join(of.values())
    for view, whole in expected.items():
        for offset in range(len(whole) + 1):
            assert await read(reader_of(tmp_path), view, offset) == whole[offset:], (view, offset)


async def test_what_is_left_of_a_line_whose_beginning_was_dropped_is_dropped_too(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path), 2000)
    line = b"it is hunter2, " * 3 + b"\n"
    whole = line * 200
    for start in range(0, len(whole), 30):
        spool.write(STDOUT, memoryview(whole[start : start + 30]))
    spool.close()
    masked = whole.replace(SECRET, MASK)
    complete = await read(reader_of(tmp_path), OutputStream.STDOUT, 0)
    kept = complete.lstrip(b"\0")
    assert masked.endswith(b"\n" + kept), "it begins with a line"
    assert 500 < len(kept) < 2000
    for view in (OutputStream.STDOUT, None):
        begins = len(whole) - len(kept)
        for offset in (*range(begins - 100, begins + 100), *range(0, len(whole), 501)):
            assert await read(reader_of(tmp_path), view, offset) == complete[offset:], (view, offset)


async def test_of_long_lines_a_plugin_sees_enough_on_both_sides(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path))
    whole = (b"x" * 150 + SECRET + b"y" * 61) * 2
    for start in range(0, len(whole), 11):
        spool.write(STDERR, memoryview(whole[start : start + 11]))
    spool.close()
    masked = whole.replace(SECRET, MASK)
    for offset in range(len(whole) + 1):
        assert await read(reader_of(tmp_path), None, offset) == masked[offset:], offset


async def test_nothing_is_built_where_nobody_changes_output(fleet) -> None:
    """Also the copies in the sandbox, by which originals show output, are there."""
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await told(client, agent, "say('hunter2\\n')")
        assert await output(job) == b"hunter2\n"
        assert await job.read(".pagent.stdout") == b"hunter2\n"
    from prouter.agent.jobs.changed_output import output_of
    from prouter.agent.jobs.output import FollowedOutput

    around = SimpleNamespace(hooks=SimpleNamespace(changes_output=False))
    assert type(output_of(SimpleNamespace(around=around))) is FollowedOutput  # type: ignore[arg-type]
