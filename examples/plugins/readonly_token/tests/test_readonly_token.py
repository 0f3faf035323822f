"""Tokens that read, beside tokens that write, against a live router, its agent and a job there."""

from __future__ import annotations

import aiohttp
import pytest

from prouter.errors import ConfigError
from prouter.testing import AnyAgent, AnyRouter, InProcess, Setup, eventually

READER, WRITER = "reader-token-5f0c", "writer-token-91ab"


@pytest.fixture
def prouter_setup() -> Setup:
    return Setup(
        settings=[
            "access.authenticators=['readonly_token', 'token_auth']",
            f"readonly_token.tokens=[{READER!r}]",
            f"control.tokens=[{WRITER!r}]",
        ],
        token=WRITER,
    )


ASKED = [
    (READER, "GET", "/jobs", 200),
    (READER, "GET", "/agents", 200),
    (READER, "POST", "/jobs/create", 403),
    (READER, "POST", "/shutdown", 403),
    ("unknown", "GET", "/jobs", 401),
    (None, "GET", "/jobs", 401),
    (WRITER, "GET", "/jobs", 200),
    (WRITER, "POST", "/shutdown", 200),
]


async def test_a_reader_looks_and_a_writer_changes(router: AnyRouter) -> None:
    async with aiohttp.ClientSession() as session:
        for token, verb, path, status in ASKED:
            headers = {"X-Prouter-Token": token} if token else {}
            async with session.request(verb, router.url() + path, headers=headers) as answer:
                assert answer.status == status, (token, verb, path)
                if status == 403:
                    assert "this token may only read" in (await answer.json())["detail"]


async def test_a_reader_may_not_remove_by_reading(router: AnyRouter, agent: AnyAgent) -> None:
    async with router.client(WRITER) as writer, router.client(READER) as reader:
        job = await writer.create({"type": "uid", "uid": agent.uid}, "job")
        kept = agent.sandbox(job) / "kept"
        kept.write_text("kept")
        url = f"{router.url()}{job.path}/file/kept"
        async with reader.session.get(url) as answer:
            assert (answer.status, await answer.text()) == (200, "kept")
        async with reader.session.get(url, params={"remove": "1"}) as answer:
            assert answer.status == 403
        assert kept.exists()
        async with writer.session.get(url, params={"remove": "1"}) as answer:
            assert answer.status == 200
            await answer.read()
        await eventually(lambda: not kept.exists())


async def test_a_token_that_can_be_guessed_opens_no_door_to_others(in_process: InProcess) -> None:
    with pytest.raises(ConfigError, match="at least 128 bits"):
        await in_process.router(
            "access.authenticators=['readonly_token']",
            f"readonly_token.tokens=[{READER!r}]",
            "control.interface=::",
        )
