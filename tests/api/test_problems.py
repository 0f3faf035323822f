"""Every error is a problem document (RFC 9457), and says what was wrong with which part of the request."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import aiohttp
from asking import Answer, ask, created, on, sleeping

NO_JSON = {
    "cut": b'{"agent": {',
    "empty": b"",
    "NaN": b'{"agent": {"type": "uid", "uid": NaN}}',
    "Infinity": b'{"agent": -Infinity}',
    "too large a number": b'{"agent": 1e999}',
    "too many digits": b'{"agent": ' + b"9" * 10_000 + b"}",
    "a name twice": b'{"agent": {"type": "uid", "uid": "a", "uid": "b"}}',
    "nested deeply": b"[" * 100_000,
    "not UTF-8": b'{"agent": "\xff"}',
    "a mark of order": b'\xef\xbb\xbf{"agent": 1}',
    "two documents": b"{} {}",
}


async def test_a_body_that_is_no_json_is_an_invalid_request(fleet) -> None:
    router = fleet.router()
    for what, raw in NO_JSON.items():
        for target in ("/jobs/create", "/jobs/create?x=1"):
            problem = (await ask(router, "POST", target, raw=raw)).problem(400, "invalid-request")
            assert "Invalid request" in problem["detail"], what
            assert problem["title"] == "Invalid request"
            assert not problem["retryable"]


async def test_a_json_body_beyond_the_limit_is_too_large(fleet) -> None:
    router = fleet.router("limits.json_body_bytes=2000")

    async def in_parts(size: int) -> AsyncIterator[bytes]:
        for _ in range(size // 100):
            yield b" " * 100

    for fits, too_large in ((b" " * 2000, b" " * 2001), (in_parts(2000), in_parts(2100))):
        (await ask(router, "POST", "/jobs/create", raw=fits)).problem(400, "invalid-request")
        (await ask(router, "POST", "/jobs/create", raw=too_large)).problem(413, "too-large")
    assert (await ask(router, "GET", "/info")).status == 200


def pointers(answer: Answer) -> dict[str, str]:
    problem = answer.problem(400, "schema")
    assert "Invalid request" in problem["detail"]
    for mistake in problem["errors"]:
        assert mistake.keys() == {"pointer", "message"}
        assert mistake["message"]
    return {mistake["pointer"]: mistake["message"] for mistake in problem["errors"]}


async def test_each_mistake_against_a_schema_is_pointed_at(fleet) -> None:
    router, agent = await fleet.pair()
    path = (await created(router, on(agent)))["path"]
    create, start = "/jobs/create", f"{path}/start"
    for target, body, where in (
        (create, [], {""}),
        (create, {}, {""}),
        (create, {"agent": {"type": "uid"}}, {"/agent"}),
        (create, {"agent": {"type": "uid", "uid": ""}}, {"/agent/uid"}),
        (create, {"agent": {"type": "uid", "uid": 1}}, {"/agent/uid"}),
        (create, {"agent": {"type": "address", "address": 1, "token": 2}}, {"/agent/address", "/agent/token"}),
        (create, on(agent, labels={"a/b~c": 1}), {"/labels/a~1b~0c"}),
        (create, on(agent, unknown=1), {""}),
        (start, {"args": []}, {"/args"}),
        (start, {"args": ["x", 1], "env": {"A": None}}, {"/args/1", "/env/A"}),
        (start, {"args": ["x"], "port": {"mode": "wild"}}, {"/port/mode"}),
        (start, {"args": ["x"], "timeout": -1}, {"/timeout"}),
        (start, {"args": ["x"], "limits": {"memory_bytes": 0.5}}, {"/limits/memory_bytes"}),
        (f"{path}/signal", {}, {""}),
        (f"{path}/stop", {"grace": "long"}, {"/grace"}),
    ):
        assert pointers(await ask(router, "POST", target, body)).keys() == where, (target, body)
    assert (await ask(router, "GET", f"{path}/info")).json["state"] == "NEW"


async def test_a_locator_of_a_type_that_nobody_brings_names_those_that_there_are(fleet) -> None:
    router = fleet.router()
    for kind in ("moon", "", "uid\n"):
        answer = await ask(router, "POST", "/jobs/create", {"agent": {"type": kind}})
        problem = answer.problem(400, "invalid-request")
        assert "Invalid request" in problem["detail"]
        assert "address, labels, select, uid" in problem["detail"]


async def test_a_verb_that_is_not_served_says_which_are(fleet) -> None:
    router, agent = await fleet.pair()
    path = (await created(router, on(agent)))["path"]
    for verb, target, allowed in (
        ("POST", "/info", {"GET", "HEAD"}),
        ("GET", "/jobs/create", {"POST"}),
        ("GET", f"{path}/start", {"POST"}),
        ("PUT", f"{path}/wait", {"POST"}),
        ("PATCH", path, {"DELETE", "GET", "HEAD"}),
        ("OPTIONS", "/shutdown", {"POST"}),
        ("BREW", "/info", {"GET", "HEAD"}),
    ):
        answer = await ask(router, verb, target)
        answer.problem(405, "method-not-allowed")
        assert set(answer.headers["Allow"].split(", ")) == allowed


async def test_a_path_where_nothing_is_says_so(fleet) -> None:
    router = fleet.router()
    for target in (
        "/",
        "/nothing",
        "/jobs/x",
        "/jobs/x/y/z",
        "/jobs//",
        "/infos",
        "/info%00",
        "/%2e%2e/info",
        "/rpc/v1",
    ):
        assert (await ask(router, "GET", target)).status in (404, 405), target
    problem = (await ask(router, "GET", "/nothing")).problem(404, "route-not-found")
    assert "/nothing" in problem["detail"]


async def test_a_number_of_the_query_that_is_none_is_an_invalid_request(fleet) -> None:
    router, agent = await fleet.pair()
    path = (await created(router, on(agent)))["path"]
    for timeout in ("x", "", "-1", "nan", "inf", "1e99", "%FF", "1+1"):
        answer = await ask(router, "POST", f"{path}/wait?timeout={timeout}")
        assert "Invalid request" in answer.problem(400, "invalid-request")["detail"], timeout


async def test_an_answer_bears_the_request_id_of_a_sane_client_or_one_of_ours(fleet) -> None:
    router, agent = await fleet.pair()
    path = (await created(router, on(agent)))["path"]
    for target in ("/info", f"{path}/info", "/nothing", "/jobs/unknown/info", f"{path}/http/"):
        assert (await ask(router, "GET", target, X_Request_Id="client:1.a-B_2")).headers[
            "X-Request-Id"
        ] == "client:1.a-B_2"
        for insane in ("", "a b", "x" * 129, "ü", "a;b", '"'):
            ours = await ask(router, "GET", target, X_Request_Id=insane)
            assert re.fullmatch("[0-9a-f]{32}", ours.headers["X-Request-Id"]), insane
    first, second = [(await ask(router, "GET", "/info")).headers["X-Request-Id"] for _ in range(2)]
    assert first != second


async def test_what_fails_on_our_side_is_in_the_log_with_its_request_id(fleet) -> None:
    router, agent = await fleet.pair()
    path = (await created(router, on(agent)))["path"]
    await ask(router, "POST", f"{path}/start", sleeping())
    agent.kill()
    answer = await ask(router, "POST", f"{path}/stop", {}, X_Request_Id="stop-1")
    assert answer.status == 503
    assert "Retry-After" in answer.headers
    (line,) = [line for line in router.log.splitlines() if " 503 " in line]
    assert "stop-1" in line
    assert path in line


async def test_who_takes_nothing_of_what_a_route_has_is_told_so(fleet) -> None:
    router, agent = await fleet.pair()
    job = await created(router, on(agent))
    address = router.url()
    taken = (
        "*/*",
        "application/json",
        "application/*;q=0.1, text/html",
        "Text/HTML, Application/JSON; charset=utf-8",
        "",
    )
    left_out = ("text/html", "application/json;q=0, */*", "image/*, application/xml", "*/*;q=0.0")
    async with aiohttp.ClientSession() as session:

        async def status(method: str, path: str, accept: str) -> int:
            async with session.request(method, address + path, headers={"Accept": accept}) as answer:
                if answer.status == 406 and method == "GET":
                    assert answer.content_type == "application/problem+json"
                    assert (await answer.json())["type"] == "urn:prouter:not-acceptable"
                return answer.status

        for accept in taken:
            assert await status("GET", "/jobs", accept) == 200, accept
        for accept in left_out:
            assert await status("GET", "/jobs", accept) == 406, accept
            assert await status("HEAD", "/info", accept) == 406, accept
        assert await status("GET", "/docs", "text/html") == 200
        assert await status("GET", "/events", "application/json") == 406
        assert await status("GET", "/nowhere", "text/html") == 404
        assert await status("GET", f"{job['path']}/output", "text/html") == 200, "bytes are of whatever type a job made"
        assert await status("POST", f"{job['path']}/remove", "text/html") == 200, "what changes something is done"
