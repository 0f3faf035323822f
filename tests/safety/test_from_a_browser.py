"""What pages in a browser may not do, asked of a live router and agent: hosts, origins, fetch sites, bodies."""

from __future__ import annotations

import pytest
from raw import Answer, ask

from prouter.testing import AgentDaemon, Daemon, Fleet, RouterDaemon
from prouter.testing.fleet import serving_job

SERVER = """
import http.server, os
class Ok(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    do_GET = do_POST
    def log_message(self, *_): ...
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Ok).serve_forever()
"""
JSON = "Content-Type: application/json"
BODY = '{"agent": {"type": "uid", "uid": "nobody"}, "name": ""}'
ALLOWED = 404
"""Creating on an agent that is not there: the guard let it through."""


def create(daemon: Daemon, *lines: str, body: str = BODY, host: str = "localhost") -> Answer:
    return ask(daemon.address("control"), "POST", "/jobs/create", *lines, body=body, host=host)


def test_changes_by_pages_on_the_control_routes(fleet: Fleet) -> None:
    router = fleet.daemon()
    own = "http://localhost"
    for lines, status in [
        (["Content-Type: text/plain"], ALLOWED),  # a program: no header of a browser
        ([JSON, f"Origin: {own}"], ALLOWED),
        ([JSON, "Sec-Fetch-Site: same-origin"], ALLOWED),
        ([JSON, "Sec-Fetch-Site: none"], ALLOWED),
        (["Content-Type: application/octet-stream", f"Origin: {own}"], ALLOWED),
        ([JSON, "Origin: http://evil.example"], 403),
        ([JSON, "Origin: null"], 403),
        ([JSON, f"Origin: {own}:1"], 403),
        ([JSON, "Sec-Fetch-Site: cross-site"], 403),
        ([JSON, "Sec-Fetch-Site: same-site"], 403),
        (["Content-Type: text/plain", f"Origin: {own}"], 415),
        (["Content-Type: application/x-www-form-urlencoded", "Sec-Fetch-Site: same-origin"], 415),
        (["Content-Type: multipart/form-data; boundary=x", f"Origin: {own}"], 415),
        ([f"Origin: {own}"], 415),
    ]:
        answer = create(router, *lines)
        assert answer.status == status, lines
        assert answer.problem["status"] == status
    foreign = ask(router.address("control"), "POST", "/shutdown", "Sec-Fetch-Site: cross-site")
    assert foreign.status == 403
    assert ask(router.address("control"), "GET", "/info", "Origin: http://evil.example").status == 200


@pytest.mark.parametrize("kind", ["router", "agent"])
def test_only_our_own_hosts_are_answered(fleet: Fleet, kind: str) -> None:
    daemon = fleet.daemon(kind)
    address = daemon.address("control")
    for host in ("localhost", f"localhost:{address[1]}", f"127.0.0.1:{address[1]}", "LOCALHOST", "[::1]:80"):
        assert ask(address, "GET", "/info", host=host).status == 200, host
    for host in ("evil.example", "127.0.0.1.nip.io", "10.0.0.1", "localhost.evil.example", "0.0.0.0"):
        answer = ask(address, "GET", "/info", host=host)
        assert answer.status == 421, host
        assert answer.problem["type"] == "urn:prouter:misdirected"
        assert ask(address, "POST", "/shutdown", host=host).status == 421


def test_hosts_can_be_added_and_a_wildcard_takes_addresses_only(fleet: Fleet) -> None:
    named = fleet.daemon("--set", "control.hosts=['Lab.Example.org']").address("control")
    assert ask(named, "GET", "/info", host="lab.example.org:8080").status == 200
    assert ask(named, "GET", "/info", host="other.example.org").status == 421
    wild = fleet.daemon("--set", "control.interface=0.0.0.0", "--insecure", "--set", "server.enabled=False")
    address = ("127.0.0.1", wild.address("control")[1])
    assert ask(address, "GET", "/info", host="192.0.2.7:8080").status == 200
    assert ask(address, "GET", "/info", host="evil.example").status == 421


def test_an_agents_control_is_guarded_alike(fleet: Fleet) -> None:
    agent = fleet.daemon("agent").address("control")
    for line in ("Origin: http://evil.example", "Sec-Fetch-Site: cross-site"):
        assert ask(agent, "POST", "/shutdown", line).status == 403
    assert ask(agent, "GET", "/shutdown").status == 405
    assert ask(agent, "POST", "/shutdown").status == 200


def test_forwarded_hosts_count_from_trusted_proxies_only(fleet: Fleet) -> None:
    forwarded = ("X-Forwarded-Proto: https", "X-Forwarded-Host: lab.example.org", "Origin: https://lab.example.org")
    alone = ('Forwarded: for=9.9.9.9;proto=https;host="lab.example.org"', "Origin: https://lab.example.org")
    stranger = fleet.daemon()
    assert create(stranger, JSON, *forwarded).status == 403
    assert create(stranger, JSON, *alone).status == 403
    behind = fleet.daemon("--set", "control.trusted_proxies=['127.0.0.0/8']")
    assert create(behind, JSON, *forwarded).status == ALLOWED
    assert create(behind, JSON, *alone).status == ALLOWED


async def test_the_proxy_leaves_origins_to_the_job_but_checks_the_host(fleet: Fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await serving_job(client, agent, SERVER)
        address = router.address("control")
        for line in ("Origin: http://evil.example", "Sec-Fetch-Site: cross-site"):
            assert ask(address, "POST", f"{job.path}/http/", line, "Content-Type: text/plain", body="x").status == 200
        assert ask(address, "GET", f"{job.path}/http/", host="evil.example").status == 421
        reading_changes_nothing(router, agent, job.path)


def reading_changes_nothing(router: RouterDaemon, agent: AgentDaemon, path: str) -> None:
    """GET and HEAD are nowhere served for what changes; a removal by GET counts as a change."""
    address = router.address("control")
    sandbox = agent.jobs / path.rpartition("/")[2] / "sandbox"
    (sandbox / "kept").write_text("kept")
    for verb in ("GET", "HEAD"):
        for changing in ("/shutdown", "/jobs/create", f"{path}/start", f"{path}/remove", f"{path}/wait"):
            assert ask(address, verb, changing).status in (404, 405), changing
    refused = {
        "remove=1": 403,
        "%72emove=1": 403,
        "remove=0&remove=1": 400,
        "remove=1&remove=0": 400,
        "remove=true": 400,
    }
    for query, status in refused.items():
        for line in ("Origin: http://evil.example", "Sec-Fetch-Site: cross-site"):
            assert ask(address, "GET", f"{path}/file/kept?{query}", line).status == status, query
    assert (sandbox / "kept").read_text() == "kept"
    assert ask(address, "GET", f"{path}/file/kept", "Origin: http://evil.example").body == b"kept"
