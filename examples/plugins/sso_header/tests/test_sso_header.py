"""A proxy in front that says who it is, and people who say so themselves, against a live router, agent and job."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator

import aiohttp
import pytest

from prouter.client import Job
from prouter.errors import ConfigError
from prouter.model.access import Peer
from prouter.model.http import RequestHead
from prouter.testing import AgentHere, InProcess, RouterHere, Setup, assert_contract

SHOWS_HEADERS = """
import http.server, json, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(self.headers.items()).encode()
        self.send_response(200)
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""
ADMIN = "token-of-the-admin-7f3a"
FORGED = {"X-Remote-User": "root", "x_remote_user": "root", "X-FORWARDED_USER": "root"}


@pytest.fixture
def prouter_setup(request: pytest.FixtureRequest) -> Setup:
    return setup("127.0.0.0/8")


def setup(*proxies: str) -> Setup:
    return Setup(
        settings=[
            "access.authenticators=['sso_header', 'token_auth']",
            f"control.tokens=[{ADMIN!r}]",
            f"sso_header.proxies={json.dumps(proxies)}",
        ],
        token=ADMIN,
    )


@pytest.fixture
async def job(router: RouterHere, agent: AgentHere) -> AsyncIterator[Job]:
    """Shows which headers it gets."""
    async with router.client(ADMIN) as client:
        job = await client.create({"type": "uid", "uid": agent.uid}, "job")
        yield await job.start([sys.executable, "-c", SHOWS_HEADERS], port={"mode": "assign"})


async def get(url: str, headers: dict[str, str]) -> tuple[int, dict[str, str], list[tuple[str, str]]]:
    """Status, headers of the answer, and what the job saw."""
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        text = await answer.text()
        saw = [(name.lower(), value) for name, value in json.loads(text)] if answer.status == 200 else []
        return answer.status, dict(answer.headers), saw


def identities(saw: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in saw if "user" in name.replace("user-agent", "") or "groups" in name]


async def test_a_job_is_told_who_the_proxy_says_it_is(job: Job) -> None:
    status, _, saw = await get(job.url(), FORGED | {"X-Forwarded-User": "ada", "X-Forwarded-Groups": "red, blue"})
    assert status == 200
    assert identities(saw) == [("x-remote-user", "ada")]


async def test_a_client_can_not_have_the_identity_taken_off(job: Job) -> None:
    _, _, saw = await get(job.url(), {"X-Forwarded-User": "ada", "Connection": "X-Remote-User, keep-alive"})
    assert identities(saw) == [("x-remote-user", "ada")]


async def test_who_has_a_token_can_not_say_who_it_is(job: Job) -> None:
    status, _, saw = await get(job.url(), FORGED | {"X-Prouter-Token": ADMIN})
    assert status == 200
    assert identities(saw) == []


async def test_browsers_get_headers_that_the_job_does_not_set(job: Job) -> None:
    _, headers, _ = await get(job.url(), {"X-Forwarded-User": "ada"})
    assert headers["X-Frame-Options"] == "SAMEORIGIN"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"


async def test_without_a_name_nobody_is_let_in(router: RouterHere) -> None:
    url = router.url() + "/jobs"
    for headers in ({}, {"X-Forwarded-User": " "}, {"X-Forwarded-Groups": "red"}):
        assert (await get(url, headers))[0] == 401, headers
    twice = [("X-Forwarded-User", "ada"), ("X-Forwarded-User", "root")]
    async with aiohttp.ClientSession() as session, session.get(url, headers=twice) as answer:
        assert answer.status == 401
        assert "did not say in one x-forwarded-user" in (await answer.json())["detail"]


async def test_others_are_not_believed(in_process: InProcess) -> None:
    router = await in_process.router(*setup("10.0.0.0/8", "2001:db8::/32").settings)
    assert (await get(router.url() + "/jobs", {"X-Forwarded-User": "ada"}))[0] == 401
    believed = router.plugin("sso_header")._is_proxy
    peers = {"10.1.2.3": True, "::ffff:10.1.2.3": True, "2001:db8::7": True, "11.1.2.3": False, "": False, "::1": False}
    assert {host: believed(Peer(host, 1)) for host in peers} == peers


async def test_findings_travel_to_other_plugins(router: RouterHere) -> None:
    from prouter.model.access import Peer

    headers = (("Host", "h"), ("X-Forwarded-User", "ada"), ("X-Forwarded-Groups", "red, blue"))
    head = RequestHead("GET", "/", headers)
    found = router.plugin("sso_header").prouter_authenticate_request(head, Peer("127.0.0.1", 1))
    assert found.findings == {"user": "ada", "groups": ["red", "blue"]}


async def test_a_network_that_is_none_is_a_wrong_configuration(in_process: InProcess) -> None:
    with pytest.raises(ConfigError, match="sso_header"):
        await in_process.router(*setup("10.0.0.1/8").settings)


async def test_it_keeps_the_contract_of_request_hooks(router: RouterHere) -> None:
    await assert_contract(router.plugin("sso_header"), "request hook")
