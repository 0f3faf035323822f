"""Requests to a live router, and the lines of its file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from prouter_audit_log import AuditLog

from prouter.client.client import RequestFailed
from prouter.testing import InProcess, eventually

WRONG = {"agent": {"type": "uid", "uid": "nobody"}, "name": "x"}


def lines(place: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in place.read_text().splitlines()] if place.exists() else []


async def test_who_did_what_with_which_outcome(in_process: InProcess, tmp_path: Path) -> None:
    place = tmp_path / "logs" / "audit.jsonl"
    settings = [f"audit_log.file={str(place)!r}", "control.tokens=['a-token-of-this-test']"]
    router = await in_process.router(*settings, plugins=[AuditLog])
    agent = await in_process.agent(router)
    async with router.client("a-token-of-this-test") as client:
        await client.jobs()
        job = await client.create({"type": "uid", "uid": agent.uid}, "x")
        with pytest.raises(RequestFailed):
            await client.request("POST", "/jobs/create", WRONG)
    async with router.client("a-wrong-token") as client:
        with pytest.raises(RequestFailed):
            await client.jobs()
    await eventually(lambda: len(lines(place)) == 4)
    joined, made, missing, stranger = lines(place)
    assert (joined["action"], joined["agent"], joined["status"]) == ("agent.connect", agent.uid, 101)
    assert (made["action"], made["status"], made["authenticator"]) == ("job.create", 200, "token_auth")
    assert made["job"] == job.info["uid"]
    assert missing["status"] >= 400
    assert "nobody" in missing["reason"]
    assert (stranger["status"], stranger["principal"]) == (401, "anonymous")
    assert "a-token-of-this-test" not in place.read_text()
    assert "a-wrong-token" not in place.read_text()


async def test_a_full_file_is_kept_beside_a_new_one(in_process: InProcess, tmp_path: Path) -> None:
    place = tmp_path / "audit.jsonl"
    settings = [f"audit_log.file={str(place)!r}", "audit_log.reads=True", "audit_log.max_bytes=4000"]
    router = await in_process.router(*settings, plugins=[AuditLog])
    async with router.client() as client:
        for _ in range(20):
            await client.jobs()
    await eventually(lambda: (tmp_path / "audit.jsonl.1").exists())
    assert (tmp_path / "audit.jsonl.1").stat().st_size <= 4000


async def test_a_file_that_can_not_be_written_makes_the_router_not_ready(in_process: InProcess, tmp_path: Path) -> None:
    place = tmp_path / "audit.jsonl"
    place.mkdir()
    in_process.expected_errors += ["prouter_audit", "Traceback", "IsADirectoryError"]
    router = await in_process.router(f"audit_log.file={str(place)!r}", "audit_log.reads=True", plugins=[AuditLog])
    async with router.client() as client:
        await client.jobs()

        async def told() -> bool:
            async with client.session.get(f"{client.url}/readyz") as answer:
                return answer.status == 503 and "can not be written" in await answer.text()

        await eventually(told)
