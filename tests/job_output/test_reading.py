"""GET PATH/output of jobs that have said all: order, streams, offsets, tails, bytes unharmed, events."""

from __future__ import annotations

import base64

import aiohttp
import pytest
from telling import events, new_job, output, tell, told

from prouter.client import Client
from prouter.client.client import RequestFailed
from prouter.testing import Fleet, eventually

MIXED = "say('one\\n'); say('two\\n', 2); say('three\\n'); say('four', 2)"


async def test_both_streams_come_in_the_order_in_which_they_were_written(fleet: Fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await told(client, agent, MIXED)
        assert await output(job) == b"one\ntwo\nthree\nfour"
        assert await output(job, stream="stdout") == b"one\nthree\n"
        assert await output(job, stream="stderr") == b"two\nfour"
        assert await job.read(".pagent.stdout") == b"one\nthree\n"
        assert await job.read(".pagent.stderr") == b"two\nfour"
        assert await output(await new_job(client, agent)) == b"", "a job that was not started wrote nothing"


async def test_a_head_says_where_the_answer_would_begin_and_waits_for_nothing(fleet: Fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await tell(await new_job(client, agent), "say('one\\ntwo\\n'); time.sleep(600)")

        async def said() -> bool:
            return await output(job) == b"one\ntwo\n"

        await eventually(said)
        place = f"{client.url}{job.path}/output"
        for query, begins in (("", "0"), ("?follow=1", "0"), ("?tail=1&follow=1", "4"), ("?offset=3", "3")):
            async with client.session.head(place + query, timeout=aiohttp.ClientTimeout(20)) as answer:
                assert (answer.status, answer.headers["X-Output-Offset"]) == (200, begins)
                assert answer.headers["Content-Type"] == "application/octet-stream"
                assert await answer.read() == b""
        async with client.session.head(place, headers={"Accept": "text/event-stream"}) as answer:
            assert answer.headers["Content-Type"] == "text/event-stream"
        async with client.session.head(f"{place}?offset=99") as answer:
            assert answer.status == 416


async def test_offsets_and_tails_count_in_the_view_that_is_asked_for(fleet: Fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await told(client, agent, MIXED)
        assert await output(job, offset=5) == b"wo\nthree\nfour"
        assert await output(job, stream="stdout", offset=5) == b"hree\n"
        assert await output(job, offset=18) == b""
        assert await output(job, tail=1) == b"four"
        assert await output(job, tail=2) == b"three\nfour"
        assert await output(job, stream="stdout", tail=1) == b"three\n"
        assert await output(job, tail=100) == await output(job)
        assert await output(job, tail=0) == b""


async def where_it_begins(client: Client, path: str) -> str:
    async with client.session.head(f"{client.url}{path}") as answer:
        assert (answer.status, await answer.read()) == (200, b"")
        return answer.headers["X-Output-Offset"]


async def test_the_answer_says_where_it_begins(fleet: Fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await told(client, agent, MIXED)
        assert await where_it_begins(client, f"{job.path}/output?tail=1") == "14"
        assert await where_it_begins(client, f"{job.path}/output?offset=3&follow=1") == "3"


REFUSED = [
    ({"offset": 19}, 416),
    ({"offset": -1}, 400),
    ({"tail": "x"}, 400),
    ({"offset": 1, "tail": 1}, 400),
    ({"stream": "stdin"}, 400),
]


async def test_what_can_not_be_answered_is_refused_with_a_sentence(fleet: Fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await told(client, agent, MIXED)
        for query, status in REFUSED:
            with pytest.raises(RequestFailed) as refused:
                await output(job, **query)
            assert refused.value.http_status == status
            assert refused.value.problem["detail"]


async def test_bytes_that_are_no_text_are_unharmed(fleet: Fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await told(client, agent, "say(bytes(range(256)) * 8192)")
        assert await output(job) == bytes(range(256)) * 8192
        [event, end] = (found := await events(client, job))[-2:]
        data = b"".join(base64.b64decode(event.data["base64"]) for event in found[:-1])
        assert data == bytes(range(256)) * 8192
        assert (event.id, end.kind) == (len(data), "end")


async def test_events_have_offsets_as_ids_and_resume_behind_the_last_one(fleet: Fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await told(client, agent, MIXED)
        found = await events(client, job, follow="1")
        assert [(event.kind, event.data.get("text"), event.id) for event in found] == [
            ("stdout", "one\n", 4),
            ("stderr", "two\n", 8),
            ("stdout", "three\n", 14),
            ("stderr", "four", 18),
            ("end", None, None),
        ]
        assert found[-1].data == {"state": "FINISHED", "exit_code": 0, "reason": "exited"}
        assert await events(client, job, last_id=8) == found[2:]
        assert await events(client, job, last_id=8, offset="0") == found[2:], "a browser comes back with the same URL"
        [only, _] = await events(client, job, stream="stderr", last_id=4)
        assert (only.data, only.id) == ({"offset": 4, "text": "four"}, 8)


async def test_output_outlives_an_agent_and_offsets_go_on_when_the_job_runs_again(fleet: Fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await told(client, agent, "say('first run\\n'); say('oh', 2)")
        agent.stop()
        agent.start()
        await router.agent_is_there(agent)
        assert await output(job) == b"first run\noh"
        await client.request("POST", f"{job.path}/restart")
        await job.wait(20)
        assert await output(job) == b"first run\nohfirst run\noh"
        assert await output(job, stream="stderr", offset=2) == b"oh"


async def test_the_output_of_an_unfinished_job_is_there_after_its_agent_was_killed(fleet: Fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await tell(await new_job(client, agent), "say('before'); await_file('never')")

        async def has_begun() -> bool:
            return await output(job) == b"before"

        await eventually(has_begun)
        agent.kill()
        agent.start()
        await router.agent_is_there(agent)
        await job.wait(20)
        assert job.info["reason"] == "agent-lost"
        assert await output(job, follow=True) == b"before"


async def test_a_copy_for_the_agents_own_streams_takes_nothing_away(fleet: Fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await told(client, agent, "say('forwarded words\\n'); say('and errors\\n', 2)", forward_stdout=True)
        assert await output(job) == b"forwarded words\nand errors\n"
        assert "forwarded words\n" in agent.log
        assert "and errors\n" in agent.log
        with pytest.raises(RequestFailed):
            await job.read(".pagent.stdout")


async def test_switched_off_the_path_is_a_polite_404(fleet: Fleet) -> None:
    router = fleet.router(flags=("--no-plugin", "job_output"))
    agent = fleet.agent(router)
    await router.agent_is_there(agent)
    async with router.client() as client:
        job = await told(client, agent, MIXED)
        with pytest.raises(RequestFailed) as refused:
            await output(job)
        assert refused.value.http_status == 404


async def test_a_start_that_fails_tells_the_last_lines_of_both_streams_in_order(fleet: Fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await new_job(client, agent)
        with pytest.raises(RequestFailed) as refused:
            await tell(job, "say('one\\n'); say('two\\n', 2); say('three\\n')", port={"mode": "report"})
        assert refused.value.problem["detail"].endswith("\none\ntwo\nthree")
        assert await output(job, follow=True) == b"one\ntwo\nthree\n"
