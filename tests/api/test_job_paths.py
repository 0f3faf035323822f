"""The two forms of a job's path, with agents whose uid is any string at all, and what is not there."""

from __future__ import annotations

import sys
from typing import Any

from asking import Answer, ask, created, on

STRANGE = "lab/one ü%"
QUOTED = "lab%2Fone%20%C3%BC%25"


def not_found(answer: Answer, code: str, *words: str) -> dict[str, Any]:
    problem = answer.problem(404, code)
    said = f"{problem['title']} {problem['detail']}"
    for word in (*words, "not found"):
        assert word in said
    return problem


async def test_both_forms_mean_the_same_job_of_a_strangely_named_agent(fleet) -> None:
    router, agent = await fleet.pair(f"identity.uid={STRANGE!r}")
    assert agent.uid == STRANGE
    made = await created(router, on(agent))
    uid = made["uid"]
    assert made["path"] == f"/jobs/{QUOTED}/{uid}"
    for path in (made["path"], f"/jobs/{uid}", f"/jobs/{QUOTED.lower()}/{uid}"):
        assert (await ask(router, "GET", f"{path}/info")).json == made
        assert (await ask(router, "POST", f"{path}/wait?timeout=0")).json == made
        await ask(router, "PUT", f"{path}/file/f", raw=path.encode())
        assert (await ask(router, "GET", f"{made['path']}/file/f")).content == path.encode()
    not_found(await ask(router, "GET", f"/jobs/{QUOTED}/unknown/info"), "job-not-found", "job")
    assert (await ask(router, "POST", f"/jobs/{uid}/remove")).json["path"] == made["path"]


async def test_the_short_form_does_for_every_action(fleet) -> None:
    router, agent = await fleet.pair()
    made = await created(router, on(agent))
    short = f"/jobs/{made['uid']}"
    server = [sys.executable, "-c", "print('up', flush=True)\n" + SERVER, "{port}"]
    start = {"args": server, "ports": {"web": {"mode": "assign"}}}
    assert (await ask(router, "POST", f"{short}/start", start)).json["path"] == made["path"]
    assert (await ask(router, "GET", f"{short}/output")).content == b"up\n"
    assert (await ask(router, "GET", f"{short}/output?tail=1")).content == b"up\n"
    for port in ("http", "port/web"):
        assert (await ask(router, "GET", f"{short}/{port}/x?y")).content == b"/x?y"
    redirected = await ask(router, "GET", f"{short}/http")
    assert (redirected.status, redirected.headers["Location"]) == (308, "http/")
    await ask(router, "PUT", f"{short}/file/d/f", raw=b"1")
    assert (await ask(router, "POST", f"{short}/files", {"mkdir": "e"})).json["name"] == "e"
    assert [e["name"] for e in (await ask(router, "GET", f"{short}/files?path=d")).json["entries"]] == ["f"]
    packed = (await ask(router, "GET", f"{short}/archive?path=d")).content
    assert (await ask(router, "POST", f"{short}/archive", raw=packed)).status == 200
    assert (await ask(router, "GET", f"{short}/file/f")).content == b"1"
    assert (await ask(router, "GET", f"{short}/explain")).status == 200
    assert (await ask(router, "POST", f"{short}/signal", {"signal": "INT"})).status == 200
    assert (await ask(router, "POST", f"{short}/stop", {"grace": 0})).json["state"] == "FINISHED"
    assert (await ask(router, "POST", f"{short}/restart")).json["state"] == "RUNNING"
    assert (await ask(router, "DELETE", short)).json["uid"] == made["uid"]


SERVER = """
import http.server, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.path)))
        self.end_headers()
        self.wfile.write(self.path.encode())
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


async def test_an_agent_named_like_a_route_is_reached_in_the_long_form(fleet) -> None:
    router = fleet.router()
    for name in ("info", "http", "..", "jobs"):
        agent = fleet.agent(router, f"identity.uid={name!r}")
        await router.agent_is_there(agent)
        made = await created(router, on(agent))
        assert (await ask(router, "GET", f"{made['path']}/info")).json == made


async def test_what_is_not_there_is_told_by_the_words_that_clients_look_for(fleet) -> None:
    router, agent = await fleet.pair()
    uid = (await created(router, on(agent)))["uid"]
    for path, code, word in (
        (f"/jobs/{agent.uid}/unknown", "job-not-found", "job"),
        ("/jobs/unknown", "job-not-found", "job"),
        (f"/jobs/unknown/{uid}", "agent-not-found", "connection"),
        ("/jobs/unknown/unknown", "agent-not-found", "connection"),
    ):
        for verb, action in (
            ("GET", "/info"),
            ("POST", "/wait"),
            ("POST", "/remove"),
            ("DELETE", ""),
            ("GET", "/file/f"),
            ("GET", "/http/"),
        ):
            problem = not_found(await ask(router, verb, path + action), code, word)
            assert not problem["retryable"]
    for body, code in ((on(agent) | {"agent": {"type": "uid", "uid": "unknown"}}, "agent-not-found"),):
        not_found(await ask(router, "POST", "/jobs/create", body), code, "connection")


async def test_where_both_forms_could_be_meant_the_action_decides(fleet) -> None:
    """It is the long form when the third segment is the name of an action and the second is none."""
    router, agent = await fleet.pair()
    uid = (await created(router, on(agent)))["uid"]
    await ask(router, "PUT", f"/jobs/{uid}/file/info", raw=b"a file")
    assert (await ask(router, "GET", f"/jobs/{uid}/file/info")).content == b"a file"
    not_found(await ask(router, "GET", "/jobs/A/B/file/info"), "agent-not-found", "connection")
    (await ask(router, "DELETE", f"/jobs/{uid}/info")).problem(405, "method-not-allowed")
    assert (await ask(router, "GET", f"/jobs/{uid}/info")).status == 200


async def test_slashes_too_many_are_no_way_around_anything(fleet) -> None:
    """Doubled ones are redirected to the path that counts, as an original does."""
    token = "a-token-of-a-client-for-this-test"
    router = fleet.router(environ={"PROUTER_CONTROL__TOKENS": f'["{token}"]'})
    ways: dict[str, str | None] = {
        "//info?x=1": "/info?x=1",
        "/info/": None,
        "/./info": None,
        "/jobs//x/info": "/jobs/x/info",
        "/jobs/x//info": "/jobs/x/info",
        "////jobs": "/jobs",
        "/jobs/": None,
        "/healthz/": None,
        "//healthz": "/healthz",
        "//nothing": None,
    }
    for target, elsewhere in ways.items():
        assert (await ask(router, "GET", target)).status == 401, target
        answer = await ask(router, "GET", target, Authorization=f"Bearer {token}")
        if elsewhere is None:
            answer.problem(404, answer.json["type"].removeprefix("urn:prouter:"))
        else:
            assert (answer.status, answer.headers["Location"]) == (308, elsewhere)
    made = await ask(router, "POST", "/jobs//create", {}, Authorization=f"Bearer {token}")
    assert (made.status, made.headers["Location"]) == (308, "/jobs/create")
