"""Whatever a client sends, it is never told that we are broken: odd targets and bodies, at a live router and job."""

from __future__ import annotations

import json
import socket
from typing import Any

from asking import ask, created, on, sleeping
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from prouter.testing import RouterDaemon

bounded = settings(
    max_examples=100,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
ACTIONS = (
    "info",
    "start",
    "stop",
    "signal",
    "restart",
    "explain",
    "file",
    "files",
    "archive",
    "http",
    "port",
    "wsconnect",
)
ODD = (
    "",
    ".",
    "..",
    "%2e%2e",
    "%00",
    "%FF%fe",
    "%",
    "%zz",
    "~",
    "a" * 300,
    "%F0%9F%8C%8A",
    "create",
    "jobs",
    "-1",
    "*",
)
NAMES = (
    "timeout",
    "limit",
    "cursor",
    "state",
    "label",
    "offset",
    "tail",
    "path",
    "format",
    "remove",
    "include",
    "stream",
)
FIELDS = ("agent", "name", "labels", "uid", "type", "address", "token", "uids", "match", "args", "env", "cwd", "port")
MORE_FIELDS = (
    "ports",
    "mode",
    "ready",
    "timeout",
    "limits",
    "memory_bytes",
    "signal",
    "grace",
    "move",
    "mkdir",
    "to",
    "url",
)

texts = st.one_of(
    st.text(max_size=20),
    st.sampled_from(("uid", "address", "select", "labels", "TERM", "../x", "\0", "\ud800", "a" * 5000)),
)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False), texts
)
names = st.one_of(st.sampled_from(FIELDS + MORE_FIELDS), texts)
values = st.recursive(
    scalars,
    lambda below: st.one_of(st.lists(below, max_size=4), st.dictionaries(names, below, max_size=5)),
    max_leaves=12,
)
bodies = st.one_of(
    st.builds(lambda value: json.dumps(value).encode(), values),
    st.binary(max_size=60),
    st.builds(lambda value, cut: json.dumps(value).encode()[:cut], values, st.integers(0, 40)),
)
queries = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from((*ODD, "0", "1", "1e9", "x:y", "NEW"))), max_size=3
)


def targets(agent: str, job: str) -> st.SearchStrategy[str]:
    segments = st.sampled_from((*ACTIONS, *ODD, agent, job))
    of_the_job = st.sampled_from((f"/jobs/{job}", f"/jobs/{agent}/{job}", "/jobs", "/agents", ""))
    paths = st.builds(lambda base, rest: "/".join((base, *rest)), of_the_job, st.lists(segments, max_size=3))
    return st.builds(lambda path, query: path + "?" + "&".join("=".join(pair) for pair in query), paths, queries)


def status(router: RouterDaemon, verb: str, target: str, body: bytes) -> int:
    """Of the answer to a request that is sent as it is."""
    host, port = router.address("control")
    head = (
        f"{verb} {target} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection((host, port), timeout=30) as link:
        link.sendall(head.encode() + body)
        answer = b"".join(iter(lambda: link.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 "), answer[:100]
    return int(answer[9:12])


async def test_odd_bodies(fleet) -> None:
    router, agent = await fleet.pair()
    job = (await created(router, on(agent)))["uid"]
    routes = ["/jobs/create", *(f"/jobs/{job}/{action}" for action in ("start", "stop", "signal", "restart", "files"))]

    @bounded
    @given(st.sampled_from(routes), bodies)
    def never(target: str, body: bytes) -> None:
        assert status(router, "POST", target, body) not in (500, 502, 504)

    never()
    assert (await ask(router, "GET", f"/jobs/{job}/info")).status == 200


async def test_locators_and_starts_that_are_almost_right(fleet) -> None:
    """A request that is right but for one member, which reaches deeper than one that is wrong altogether."""
    router, agent = await fleet.pair()
    uid = {"type": "uid", "uid": agent.uid}
    right: list[tuple[str, dict[str, Any]]] = [
        ("/jobs/create", {"agent": uid, "name": "n", "labels": {"a": "b"}}),
        ("/jobs/create", {"agent": {"type": "select", "uids": [agent.uid]}}),
        ("/jobs/create", {"agent": {"type": "labels", "match": {}}}),
        ("start", {"args": ["true"], "env": {}, "cwd": "d", "port_expected_count": 0, "timeout": 9, "limits": {}}),
        ("start", {"args": ["true"], "port": {"mode": "assign", "ready_timeout": 0.1}}),
    ]

    @bounded
    @given(st.sampled_from(right), st.data())
    def never(request: tuple[str, dict[str, Any]], data: st.DataObject) -> None:
        target, body = request
        where, odd = data.draw(st.sampled_from(sorted(body))), data.draw(values)
        if target == "start":
            target = f"/jobs/{data.draw(st.sampled_from(jobs))}/start"
        assert status(router, "POST", target, json.dumps(body | {where: odd}).encode()) not in (500, 502, 504)

    jobs = [(await created(router, on(agent)))["uid"] for _ in range(20)]
    never()
    assert (await ask(router, "GET", "/info")).status == 200


async def test_odd_targets(fleet) -> None:
    router, agent = await fleet.pair("identity.uid='a/b'")
    job = (await created(router, on(agent)))["uid"]
    await ask(router, "POST", f"/jobs/{job}/start", sleeping())

    @bounded
    @given(
        st.sampled_from(("GET", "HEAD", "POST", "PUT", "PATCH", "OPTIONS", "TRACE", "X")), targets("a%2Fb", job), bodies
    )
    def never(verb: str, target: str, body: bytes) -> None:
        assert status(router, verb, target, body) not in (500, 502, 504)

    never()
    assert (await ask(router, "GET", "/info")).status == 200
