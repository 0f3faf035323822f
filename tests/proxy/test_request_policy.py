"""What a request looks like when the job gets it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from proxied import Proxied, joined


@pytest.mark.parametrize(
    "rest",
    [
        "/a%2Fb/%2f/c",
        "/a@b;c=d,e!$&'()*+",
        "//a///b//",
        "/%00/%0d%0a/%ff",
        "/a/../b/./c/..",
        '/?q=a%26b&&=&?x[]={}|\\^`"<>',
        "/a?",
        "/%C3%A9/%2e%2e/%2E",
        "/http/port/x/jobs/info",
    ],
)
async def test_the_raw_path_and_query_survive(job: Proxied, rest: str) -> None:
    assert (await job.heard_head(rest))[0] == f"GET {rest} HTTP/1.1"


async def test_both_path_forms_and_named_ports_lead_to_the_job(job: Proxied) -> None:
    agent, uid = job.agent.uid, job.info["uid"]
    name = next(iter(job.info["ports"]))
    for prefix in (f"/jobs/{agent}/{uid}/http", f"/jobs/{uid}/http", f"/jobs/{agent}/{uid}/port/{name}"):
        other = Proxied(job.router, job.agent, job.info)
        other.prefix = prefix
        lines = await other.heard_head("/x?y")
        assert lines[0] == "GET /x?y HTTP/1.1"
        assert f"X-Forwarded-Prefix: {prefix}" in lines


async def test_a_job_may_keep_the_prefix(make_job: Callable[..., Proxied]) -> None:
    job = make_job(prefix="keep")
    lines = await job.heard_head("/a%2Fb?c")
    assert lines[0] == f"GET {job.prefix}/a%2Fb?c HTTP/1.1"
    assert not any(line.lower().startswith("x-forwarded-prefix") for line in lines)


async def test_a_port_without_its_slash_is_redirected_for_reading_and_is_the_root_otherwise(job: Proxied) -> None:
    for method in ("GET", "HEAD"):
        answer = await job.ask("?a=b", method=method)
        assert (answer.status, answer.get("location")) == (308, "http/?a=b")
    assert (await job.heard_head("?a=b", "Content-Length: 0", method="POST"))[0] == "POST /?a=b HTTP/1.1"
    async with job.wired() as wire:
        await wire.send(job.request("", "Connection: Upgrade", "Upgrade: torture"))
        assert (await wire.answer()).body.startswith(b"GET / HTTP/1.1\r\n")


async def test_hop_by_hop_headers_go_also_those_named_in_connection(job: Proxied) -> None:
    gone = [
        "Keep-Alive: 5",
        "Proxy-Connection: x",
        "Proxy-Authorization: Basic eDp5",
        "TE: gzip",
        "X-Hop: 1",
        "Upgrade: x",
    ]
    stay = ["X-End: 1", "X-Two: a", "X-Two: b", "x-cAsE: \xe9", "Authorization: Basic eDp5", "Cookie: a=b", "DNT: 1"]
    lines = await job.heard_head("/", "Connection: keep-alive, x-HOP, cookie, authorization", *gone, *stay)
    assert [line for line in lines if line in stay] == stay
    names = {line.partition(":")[0].lower() for line in lines}
    assert not names & {line.partition(":")[0].lower() for line in gone}
    assert "connection" not in names
    assert "TE: trailers" in await job.heard_head("/", "TE: trailers, gzip", "Connection: TE")


async def test_what_a_client_says_of_itself_is_replaced(job: Proxied) -> None:
    lies = [
        "X-Forwarded-For: 6.6.6.6",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: evil",
        "X-Forwarded-Prefix: /evil",
    ]
    lies += ["Forwarded: for=6.6.6.6", "X-Real-IP: 6.6.6.6", "X_Forwarded_For: 6.6.6.6", "X-Forwarded-User: root"]
    host, port = job.router.address("control")
    lines = await job.heard_head("/", *lies)
    assert not any("6.6.6.6" in line or "evil" in line or "root" in line for line in lines)
    assert {
        f"X-Forwarded-For: {host}",
        "X-Forwarded-Proto: http",
        f"X-Forwarded-Host: {host}:{port}",
        f"X-Forwarded-Prefix: {job.prefix}",
        f'Forwarded: for={host};host="{host}:{port}";proto=http',
    } <= set(lines)


async def test_a_trusted_proxy_is_believed(fleet) -> None:
    job = joined(fleet, "control.trusted_proxies=['127.0.0.0/8']", "control.hosts=['lab.example.org']")()
    said = ["X-Forwarded-For: 9.9.9.9", "X-Forwarded-Proto: https", "X-Forwarded-Host: lab.example.org"]
    lines = await job.heard_head("/", *said, "Forwarded: for=9.9.9.9", "X-Forwarded-Prefix: /lab/")
    assert {
        "X-Forwarded-For: 9.9.9.9, 127.0.0.1",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: lab.example.org",
        f"X-Forwarded-Prefix: /lab{job.prefix}",
        "Forwarded: for=9.9.9.9, for=127.0.0.1;host=lab.example.org;proto=https",
    } <= set(lines)
    origin = await job.heard_head("/", *said, "Origin: https://lab.example.org")
    assert f"Origin: http://127.0.0.1:{job.port}" in origin
    job.says("moved", b"HTTP/1.1 302 Found\r\nLocation: /x\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n")
    moved = await job.ask("/say/moved?then=keep", "X-Forwarded-Prefix: /lab")
    assert moved.get("location") == f"/lab{job.prefix}/x"
    assert moved.get("set-cookie") == f"a=b; Path=/lab{job.prefix}/"


async def test_forwarded_alone_is_believed_as_far_as_proxies_are_trusted(fleet) -> None:
    job = joined(fleet, "control.trusted_proxies=['127.0.0.0/8', '10.0.0.0/8']")()
    said = 'for=6.6.6.6;host=evil, for="[2001:db8::1]:47";host="lab.example.org:8443";proto=https, for=10.0.0.7;by=x'
    lines = await job.heard_head("/", f"Forwarded: {said}", "Origin: https://lab.example.org:8443")
    assert {
        "X-Forwarded-For: 6.6.6.6, 2001:db8::1, 10.0.0.7, 127.0.0.1",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: lab.example.org:8443",
        f'Forwarded: {said}, for=127.0.0.1;host="lab.example.org:8443";proto=https',
        f"Origin: http://127.0.0.1:{job.port}",
    } <= set(lines)
    host, port = job.router.address("control")
    for other in ("X-Forwarded-Proto: http", "Forwarded: for=1.1.1.1; host"):
        lines = await job.heard_head("/", "Forwarded: for=1.1.1.1;host=evil;proto=https", other)
        assert {"X-Forwarded-Proto: http", f"X-Forwarded-Host: {host}:{port}"} <= set(lines), other


async def test_the_routers_credentials_never_reach_the_job(fleet) -> None:
    token = "t" * 40
    job = joined(fleet, f"control.tokens=['{token}']", token=token)()
    for lines, arrives in (
        ((f"Authorization: Bearer {token}",), []),
        ((f"X-Prouter-Token: {token}", "Authorization: Bearer of-the-job"), ["Authorization: Bearer of-the-job"]),
        (
            (f"X-Prouter-Token: {token}", f"X_Prouter_Token: {token}", "Authorization: Basic eDp5"),
            ["Authorization: Basic eDp5"],
        ),
    ):
        heard = await job.heard_head("/", *lines)
        assert not any(token in line for line in heard)
        assert [line for line in heard if line.lower().startswith("authorization")] == arrives
    before = len(job.heard)
    for lines in ((), ("Authorization: Bearer wrong",), (f"Cookie: token={token}",), ("X-Prouter-Token: wrong",)):
        assert (await job.ask("/", *lines)).status == 401
    assert len(job.heard) == before


async def test_host_and_origin_of_the_same_origin_become_the_jobs_own(job: Proxied) -> None:
    host, port = job.router.address("control")
    lines = await job.heard_head("/", f"Origin: http://{host}:{port}")
    assert f"Host: 127.0.0.1:{job.port}" in lines
    assert f"Origin: http://127.0.0.1:{job.port}" in lines
    foreign = await job.heard_head("/", "Origin: http://evil.example.org")
    assert "Origin: http://evil.example.org" in foreign
    assert f"Host: 127.0.0.1:{job.port}" in foreign
    assert not any(line.startswith("Origin") for line in await job.heard_head("/"))


async def test_a_host_that_is_not_ours_is_421_and_the_job_hears_nothing(job: Proxied) -> None:
    before = job.heard
    assert (await job.ask("/", host="evil.example.org")).status == 421
    assert job.heard == before


@pytest.mark.parametrize("mode", ["preserve", "fixed"])
async def test_host_modes_for_those_who_need_them(fleet, mode: str) -> None:
    job = joined(fleet, f"proxy.host={mode}", "proxy.fixed_host=app.internal")()
    ours = "{}:{}".format(*job.router.address("control"))
    seen = ours if mode == "preserve" else "app.internal"
    lines = await job.heard_head("/", f"Origin: http://{ours}")
    assert f"Host: {seen}" in lines
    assert f"Origin: http://{ours}" in lines
    job.says("moved", f"HTTP/1.1 302 Found\r\nLocation: http://{seen}/x\r\nContent-Length: 0\r\n\r\n".encode())
    assert (await job.ask("/say/moved?then=keep")).get("location") == f"{job.prefix}/x"


async def test_a_request_has_one_id_for_client_and_job(job: Proxied) -> None:
    sane = await job.ask("/", "X-Request-Id: abc-DEF.123")
    assert sane.get("x-request-id") == "abc-DEF.123"
    assert b"X-Request-Id: abc-DEF.123\r\n" in sane.body
    for line in ("X-Request-Id: a b", "X-Request-Id: " + "x" * 500, "X-Y: z"):
        answer = await job.ask("/", line)
        ours = answer.get("x-request-id") or ""
        assert len(ours) == 32
        assert answer.body.count(f"X-Request-Id: {ours}\r\n".encode()) == 1
