"""Whatever plugins answer: no job gets the credentials of a client, nor a header that somebody's name began."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from proxied import APPS

from prouter import hookimpl
from prouter.model.access import Guards, Peer, Principal, Refusal
from prouter.model.http import AnswerPolicy, ForwardPlan, Reply, RequestHead, ResponseHead
from prouter.model.ids import JobUid
from prouter.model.plugin import JobTarget, Resolved, Route
from prouter.testing import InProcess

TOKEN = "a-token-of-the-tests-0123456789"
INJECTED = "ada\r\nX-Admin: yes"


class Planner:
    """Another plan than http_proxy's, which says nothing of credentials."""

    @hookimpl
    def prouter_plan(self, head: RequestHead, target: JobTarget) -> ForwardPlan | None:
        return ForwardPlan(target.rest, "job") if head.get("x-plan") else None


class Ticket:
    """Knows who asks by a cookie."""

    @hookimpl
    def prouter_authenticate_request(self, head: RequestHead, peer: Peer) -> Principal | None:
        found = "ticket=t1" in (head.get("cookie") or "")
        return Principal("ada", used_cookies=frozenset({"ticket"})) if found else None


class Shouting:
    """Names its header as clients write it, which is none of the names that are taken off."""

    @hookimpl
    def prouter_guards(self) -> Guards:
        return Guards(requests=True)

    @hookimpl
    def prouter_authenticate_request(self, head: RequestHead, peer: Peer) -> Principal | None:
        return Principal("lab", used_headers=frozenset({"X-Api-Key"})) if head.get("x-api-key") else None


class Basic:
    """Signs in at the job, where the client signs in at the router by the same header."""

    @hookimpl
    def prouter_proxy_request(self, head: RequestHead, target: JobTarget) -> RequestHead:
        return replace(head, headers=(*head.headers, ("Authorization", "Basic of-the-job")))


class ByHeader:
    """Finds the job in a header, so that every path may be one of a job."""

    @hookimpl
    def prouter_resolve_route(self, head: RequestHead) -> Resolved | None:
        job = head.get("x-job")
        return Resolved(None, JobUid(job), None, "", head.target) if job else None


class Harmful:
    """Answers what the client's header `x-mode` names."""

    @hookimpl
    def prouter_proxy_request(self, head: RequestHead, target: JobTarget) -> Any:
        changed: dict[str | None, Any] = {
            "line end in a header": replace(head, headers=(*head.headers, ("X-User", INJECTED))),
            "line end in a name": replace(head, headers=(*head.headers, ("X-User: a\r\nX-Admin", "yes"))),
            "a name that is none": replace(head, headers=(*head.headers, ("X User", "ada"))),
            "an empty name": replace(head, headers=(*head.headers, ("", "ada"))),
            "a number": replace(head, headers=(*head.headers, ("X-User", 5))),  # type: ignore[arg-type]
            "three": replace(head, headers=(("X-User", "ada", "lovelace"),)),  # type: ignore[arg-type]
            "a target of two": replace(head, target="/x HTTP/1.1\r\nX-Admin: yes"),
            "no target": replace(head, target=""),
            "line end in a reply": Reply(200, (("X-User", INJECTED),), b"hi"),
            "line end in a type": Reply(200, (), b"hi", f"text/plain{INJECTED}"),
            "a text for bytes": Reply(200, (), "hi"),  # type: ignore[arg-type]
            "a status that is none": Reply(99999),
        }
        return changed.get(head.get("x-mode"))

    @hookimpl
    def prouter_plan(self, head: RequestHead, target: JobTarget) -> Any:
        plan = ForwardPlan(target.rest, "job")
        changed: dict[str | None, Any] = {
            "line end in a plan": replace(plan, set_headers=(("X-User", INJECTED),)),
            "line end in a host": replace(plan, host=f"job{INJECTED}"),
            "a plan for no target": replace(plan, target=""),
            "what is to drop in capitals": replace(plan, drop=frozenset({"X-Mode"})),
            "line end for answers": replace(plan, answer=AnswerPolicy(set_headers=(("X-User", INJECTED),))),
        }
        return changed.get(head.get("x-mode"))

    @hookimpl
    def prouter_proxy_response(self, answer: ResponseHead, target: JobTarget) -> Any:
        if not target.rest.endswith("?change"):
            return None
        return replace(answer, headers=(*answer.headers, ("X-User", INJECTED)))


MODES = [
    ("prouter_proxy_request", "line end in a header", "RequestHead with a line end or NUL in a header"),
    ("prouter_proxy_request", "line end in a name", "RequestHead with a header's name that is none"),
    ("prouter_proxy_request", "a name that is none", "RequestHead with a header's name that is none"),
    ("prouter_proxy_request", "an empty name", "RequestHead with a header's name that is none"),
    ("prouter_proxy_request", "a number", "RequestHead with headers that are no pairs of texts"),
    ("prouter_proxy_request", "three", "RequestHead with headers that are no pairs of texts"),
    ("prouter_proxy_request", "a target of two", "RequestHead with a target that is none"),
    ("prouter_proxy_request", "no target", "RequestHead with a target that is none"),
    ("prouter_proxy_request", "line end in a reply", "Reply with a line end or NUL in a header"),
    ("prouter_proxy_request", "line end in a type", "Reply with a line end in its content type"),
    ("prouter_proxy_request", "a text for bytes", "Reply with a body that is str, not bytes"),
    ("prouter_proxy_request", "a status that is none", "Reply with a status that is none of 200 to 599"),
    ("prouter_plan", "line end in a plan", "ForwardPlan with a line end or NUL in a header"),
    ("prouter_plan", "line end in a host", "ForwardPlan with a host that is none"),
    ("prouter_plan", "a plan for no target", "ForwardPlan with a target that is none"),
    (
        "prouter_plan",
        "what is to drop in capitals",
        "ForwardPlan with headers to drop that are no set of lower-case names",
    ),
    ("prouter_plan", "line end for answers", "ForwardPlan with a line end or NUL in a header"),
]


@asynccontextmanager
async def asking(in_process: InProcess, *settings: str, **plugins: Any) -> AsyncIterator[Any]:
    """How a GET of a job is asked that tells which head it got: status, headers, body."""
    router = await in_process.router(f"control.tokens=['{TOKEN}']", *settings, plugins=plugins)
    agent = await in_process.agent(router)
    async with router.client(TOKEN) as client, aiohttp.ClientSession() as session:
        job = await client.create({"type": "uid", "uid": agent.uid})
        await job.start([sys.executable, str(APPS / "torture.py")], port={"mode": "assign"})

        async def ask(headers: dict[str, str], rest: str = "x", path: str = "") -> tuple[int, Any, str]:
            url = router.url() + path if path else job.url(rest)
            known = {name: value.replace("JOB", str(job.info["uid"])) for name, value in headers.items()}
            async with session.get(url, headers=known) as answer:
                return answer.status, answer.headers, await answer.text()

        yield ask


async def test_a_plan_that_says_nothing_of_credentials_tells_jobs_none(in_process: InProcess) -> None:
    settings = "access.authenticators=['token_auth', 'ticket']"
    async with asking(in_process, settings, planner=Planner, ticket=Ticket) as ask:
        for headers in ({"X-Prouter-Token": TOKEN}, {"Authorization": f"Bearer {TOKEN}"}, {"Cookie": "a=b; ticket=t1"}):
            for plan in ({"X-Plan": "1"}, {}):
                status, _, head = await ask(headers | plan)
                assert status == 200
                assert TOKEN not in head
                assert "ticket" not in head
                assert ("Host: job\r\n" in head) == bool(plan)


async def test_credentials_that_a_hook_sets_reach_the_job_and_those_of_the_client_do_not(in_process: InProcess) -> None:
    async with asking(in_process, basic=Basic) as ask:
        _, _, head = await ask({"Authorization": f"Bearer {TOKEN}"})
    assert "Authorization: Basic of-the-job\r\n" in head
    assert TOKEN not in head


async def test_a_used_header_in_capitals_is_a_failure_and_no_leak(in_process: InProcess) -> None:
    in_process.expected_errors += ["plugin shouting failed", "'shouting' failed"]
    async with asking(in_process, "access.authenticators=['token_auth', 'shouting']", shouting=Shouting) as ask:
        status, _, problem = await ask({"X-Api-Key": "secret-key"})
    assert status == 500
    assert "Principal with used_headers that are no set of lower-case names" in json.loads(problem)["detail"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/other"])
async def test_a_path_that_is_open_to_all_is_not_when_it_is_a_jobs(in_process: InProcess, path: str) -> None:
    async with asking(in_process, by_header=ByHeader) as ask:
        assert (await ask({"X-Job": "JOB"}, path=path))[0] == 401
        status, _, head = await ask({"X-Job": "JOB", "X-Prouter-Token": TOKEN}, path=path)
        assert (status, head.startswith(f"GET {path} ")) == (200, True)
        assert (await ask({}, path=path))[0] in (200, 401)


async def test_values_that_begin_a_header_are_failures_that_say_whose(in_process: InProcess) -> None:
    in_process.expected_errors += ["plugin harmful failed", "'harmful' failed"]
    async with asking(in_process, harmful=Harmful) as ask:
        token = {"X-Prouter-Token": TOKEN}
        for hook, mode, why in MODES:
            status, headers, problem = await ask(token | {"X-Mode": mode})
            assert status == 500, mode
            detail = json.loads(problem)["detail"]
            assert detail.startswith(f"plugin 'harmful' failed in {hook} after "), mode
            assert f" s: it answered {why}" in detail
            assert "X-Admin" not in headers
        status, headers, problem = await ask(token, "x?change")
        assert (status, "X-Admin" in headers) == (500, False)
        assert "ResponseHead with a line end or NUL in a header" in json.loads(problem)["detail"]
        assert (await ask(token))[0] == 200


class Served:
    """A route whose handler answers what can not be sent."""

    @hookimpl
    def prouter_routes(self) -> list[Route]:
        return [Route(("GET",), "/served", "served.read", "Nothing.", self.served)]

    async def served(self, call: Any) -> Reply:
        return Reply(200, (("X-User", INJECTED),), b"hi")


async def test_a_handler_that_answers_such_a_header_is_a_failure(in_process: InProcess) -> None:
    in_process.expected_errors += ["failed in plugin served", "Traceback", "internal"]
    async with asking(in_process, served=Served) as ask:
        status, headers, _ = await ask({"X-Prouter-Token": TOKEN}, path="/served")
    assert (status, "X-Admin" in headers) == (500, False)


def test_a_refusal_has_a_reason() -> None:
    from prouter.model.sound import wrong

    assert wrong(Refusal(None)) == "with a reason that is no text"  # type: ignore[arg-type]
    assert wrong(Refusal("no")) == ""
    assert wrong(Principal(5)) == "with a name that is no text"  # type: ignore[arg-type]
    assert wrong(Principal("a", used_headers="x-api-key"))  # type: ignore[arg-type]
    assert wrong(Principal("a", used_cookies=["a"]))  # type: ignore[arg-type]
    assert wrong(Resolved(None, JobUid("j"), None, "", "/a b"))
    assert wrong(ForwardPlan(5, "job")) == "that is none (TypeError)"  # type: ignore[arg-type]
