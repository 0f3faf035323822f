"""Each answer has an X-Request-Id, the client's own where it is sane, by which the log can be asked."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

from prouter.testing import Daemon, Fleet, RouterDaemon, eventually


def said(router: RouterDaemon, request: bytes) -> tuple[int, list[str]]:
    """The status, and the ids in the head."""
    with socket.create_connection(router.address("control"), 20) as connection:
        connection.sendall(request)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    lines = received.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    ids = [line.partition(": ")[2] for line in lines if line.lower().startswith("x-request-id:")]
    return int(lines[0].split()[1]), ids


def get(target: str, *lines: str, host: str = "localhost") -> bytes:
    return "\r\n".join((f"GET {target} HTTP/1.1", f"Host: {host}", *lines, "Connection: close", "", "")).encode()


REFUSED = {
    "no HTTP": (400, b"nonsense\r\nX-Request-Id: %b\r\n\r\n"),
    "two hosts": (400, get("/info", "Host: b", "X-Request-Id: %b")),
    "a long target": (414, get("/" + "a" * 20_000, "X-Request-Id: %b")),
    "a long head": (431, get("/info", "X-Request-Id: %b", "X-Long: " + "a" * 70_000)),
    "too slow a head": (408, b"GET / HTTP/1.1\r\nX-Request-Id: %b\r\nHost: "),
}


def test_what_is_no_request_is_answered_with_an_id_and_counted(fleet: Fleet) -> None:
    router = fleet.router("timeouts.head=0.3")
    for what, (status, request) in REFUSED.items():
        found, [given] = said(router, request.replace(b"%b", b"my-id.1"))
        assert (found, given) == (status, "my-id.1"), what
        found, [made] = said(router, request.replace(b"%b", b"not sane"))
        assert found == status
        assert len(made) == 32, what
    with socket.create_connection(router.address("control"), 20) as connection:
        connection.sendall(get("/metrics"))
        metrics = b""
        while chunk := connection.recv(65536):
            metrics += chunk
    for status, count in ((400, 4), (408, 2), (414, 2), (431, 2)):
        assert f'prouter_requests_total{{route="",status="{status}"}} {count}.0' in metrics.decode()


def test_a_connection_too_many_is_answered_with_an_id_and_counted(fleet: Fleet) -> None:
    router = fleet.router("limits.connections=1")
    with socket.create_connection(router.address("control"), 20) as first:
        for _ in range(3):
            status, ids = said(router, b"")
            assert status == 503
            assert len(ids[0]) == 32
        first.sendall(get("/metrics"))
        metrics = b""
        while chunk := first.recv(65536):
            metrics += chunk
    assert b'prouter_requests_total{route="",status="503"} 3.0' in metrics


async def test_the_log_has_a_line_for_each_request_when_it_is_asked_to(fleet: Fleet) -> None:
    router = fleet.router(flags=("--log-level", "debug"))
    agent = fleet.agent(router)
    await router.agent_is_there(agent)
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid})
        for request_id, verb, path in (
            ("id-of-info", "GET", "/info"),
            ("id-of-nothing", "GET", "/nothing?token=secret"),
            ("id-of-start", "POST", f"{job.path}/start"),
            ("id-of-proxied", "GET", f"{job.path}/http/x"),
        ):
            body = {"args": ["true"], "port_expected_count": 0} if verb == "POST" else None
            headers = {"X-Request-Id": request_id}
            async with client.session.request(verb, client.url + path, json=body, headers=headers) as answer:
                assert answer.headers["X-Request-Id"] == request_id
                line = f"{verb} {path.partition('?')[0]}: {answer.status} in "

            def is_told(line: str = line, request_id: str = request_id) -> bool:
                return any(line in told and f"[request={request_id}" in told for told in router.log.splitlines())

            await eventually(is_told)
    await asyncio.to_thread(said, router, b"nonsense\r\nX-Request-Id: id-of-nonsense\r\n\r\n")
    line = "what 127.0.0.1 sent is not taken: 400 invalid-request [request=id-of-nonsense]"
    await eventually(lambda: line in router.log)
    assert "secret" not in router.log


def lines_with(daemon: Daemon, part: str) -> list[dict[str, Any]]:
    """What its JSON log says of something."""
    lines = [json.loads(line) for line in daemon.log.splitlines() if line.startswith("{") and line.endswith("}")]
    return [line for line in lines if part in line["message"]]


async def test_lines_name_the_job_the_agent_and_the_request_that_they_are_about(fleet: Fleet) -> None:
    """News of a job come over its agent's link, which was begun by a request that has nothing to do with them."""
    router = fleet.router(flags=("--log-format", "json", "--log-level", "debug"))
    agent = fleet.agent(router, flags=("--log-format", "json"))
    await router.agent_is_there(agent)
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid})
        uid = str(job.info["uid"])

        async def post(action: str, request_id: str, body: object = None) -> None:
            url, headers = f"{client.url}{job.path}/{action}", {"X-Request-Id": request_id}
            async with client.session.post(url, json=body, headers=headers) as answer:
                assert answer.status == 200

        await post("start", "the-start", {"args": ["sleep", "60"], "port_expected_count": 0})
        await post("remove", "the-removal")
    about = {"job": uid, "agent": agent.uid}
    for part, request in ((f"job {uid} runs", "the-start"), (f"job {uid} finished", "the-removal")):
        [line] = lines_with(router, part)
        assert {name: line.get(name) for name in ("job", "agent", "request")} == about | {"request": request}
    [line] = lines_with(router, "/start: 200 in")
    assert {name: line.get(name) for name in ("job", "agent", "request")} == about | {"request": "the-start"}
    [line] = lines_with(router, "is connected")
    assert (line["agent"], line.get("job"), line.get("request")) == (agent.uid, None, None)
    for part in ("made for router", "runs (pid", "ended: stopped", "removed"):
        await eventually(lambda part=part: lines_with(agent, f"job {uid} {part}"))
        [line] = lines_with(agent, f"job {uid} {part}")
        assert line["job"] == uid, part
        assert "request" not in line, part


async def test_an_agent_that_was_dialed_logs_no_request_of_its_link(fleet: Fleet) -> None:
    router, agent = fleet.router(), fleet.agent(flags=("--log-format", "json"))
    host, port = agent.address("server")
    async with router.client() as client:
        job = await client.create({"type": "address", "address": f"{host}:{port}", "token": agent.token})
        await job.remove()
    for part in ("linked to router", "made for router", "removed"):
        assert "request" not in lines_with(agent, part)[0]
