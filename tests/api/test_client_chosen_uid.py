"""A client that chooses its job's uid may ask again as often as it likes."""

from __future__ import annotations

import asyncio
import secrets

from asking import ask, at, created, on


async def test_the_same_again_gives_the_same_job_and_other_arguments_a_conflict(fleet) -> None:
    router, agent = await fleet.pair()
    body = on(agent, "one", labels={"a": "b"}, uid=secrets.token_hex(16))
    first = await created(router, body)
    assert first["uid"] == body["uid"]
    assert await created(router, body) == first
    for other in ({"name": "two"}, {"labels": {}}, {"labels": {"a": "c"}}):
        problem = (await ask(router, "POST", "/jobs/create", body | other)).problem(409, "conflict")
        assert not problem["retryable"]
    assert len((await ask(router, "GET", "/jobs")).json["jobs"]) == 1


async def test_many_at_once_make_one_job(fleet) -> None:
    router, agent = await fleet.pair()
    body = on(agent, uid=secrets.token_hex(16))
    made = await asyncio.gather(*(created(router, body) for _ in range(16)))
    assert all(info == made[0] for info in made)
    assert len((await ask(router, "GET", "/jobs")).json["jobs"]) == 1


async def test_of_many_that_differ_one_wins(fleet) -> None:
    router, agent = await fleet.pair()
    uid = secrets.token_hex(16)
    answers = await asyncio.gather(
        *(ask(router, "POST", "/jobs/create", on(agent, f"name {n}", uid=uid)) for n in range(8))
    )
    assert sorted(answer.status for answer in answers) == [200] + [409] * 7


async def test_the_uid_holds_over_a_restart_of_router_and_agent(fleet) -> None:
    router, agent = fleet.router(), fleet.agent()
    body = at(agent) | {"uid": secrets.token_hex(16)}
    first = await created(router, body)
    router.kill()
    router.start()
    assert (await created(router, body))["uid"] == first["uid"]
    assert len((await ask(router, "GET", "/jobs")).json["jobs"]) == 1
    (await ask(router, "POST", "/jobs/create", body | {"name": "other"})).problem(409, "conflict")


async def test_a_uid_is_32_lower_case_hex_digits(fleet) -> None:
    router, agent = await fleet.pair()
    for uid in ("", "x", "A" * 32, "0" * 31, "0" * 33, "0" * 31 + "\n", "0" * 32 + "\n", 1, None, "../" + "0" * 29):
        problem = (await ask(router, "POST", "/jobs/create", on(agent, uid=uid))).problem(400, "schema")
        assert problem["errors"][0]["pointer"] == "/uid"
