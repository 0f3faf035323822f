"""What an authenticator finds goes with the request to the hooks, and to nobody else."""

from __future__ import annotations

import json
from pathlib import Path

import aiohttp
from hearing import Heard
from proxied import new_job

TOKEN = "a-token-of-a-client-0123456789abcdef"
FOUND = "found-by-the-authenticator"
PLUGIN = f'''
import json, pathlib
from prouter import hookimpl
from prouter.model.access import Guards, Principal, Refusal

SEEN = pathlib.Path(__file__).with_suffix(".seen")

class Finder:
    def see(self, hook, principal):
        with SEEN.open("a") as file:
            file.write(json.dumps([hook, principal.name, dict(principal.findings)]) + "\\n")

    @hookimpl
    def prouter_guards(self):
        return Guards(requests=True)

    @hookimpl
    def prouter_authenticate_request(self, head, peer):
        if head.get("x-who"):
            return Principal(head.get("x-who"), "somebody-else", frozenset(("x-who",)), findings={{"team": "{FOUND}"}})

    @hookimpl
    def prouter_authorize(self, principal, action, resource):
        self.see("authorize", principal)
        if principal.name == "stranger":
            return Refusal("no strangers")

    @hookimpl
    def prouter_job_spec(self, request, principal):
        self.see("job_spec", principal)

    @hookimpl
    def prouter_admit_job(self, request, principal):
        self.see("admit_job", principal)

    @hookimpl
    def prouter_filter_agent(self, candidate, request, principal):
        self.see("filter_agent", principal)

    @hookimpl
    def prouter_score_agent(self, candidate, request, principal):
        self.see("score_agent", principal)

    @hookimpl
    def prouter_proxy_request(self, head, target):
        self.see("proxy_request", target.principal)

    @hookimpl
    def prouter_plan(self, head, target):
        self.see("plan", target.principal)
        if head.target.endswith("/broken"):
            raise RuntimeError("of a plugin")

    @hookimpl
    def prouter_proxy_response(self, answer, target):
        self.see("proxy_response", target.principal)

    @hookimpl
    def prouter_proxy_finished(self, finished):
        self.see("proxy_finished", finished.target.principal)

    @hookimpl
    def prouter_bridge_open(self, bridge, principal):
        self.see("bridge_open", principal)
        return Refusal("no bridges")
'''
HOOKS = ("authorize", "job_spec", "admit_job", "filter_agent", "score_agent", "proxy_request", "plan", "proxy_response")


async def test_they_reach_the_hooks_and_neither_client_nor_log(fleet, tmp_path: Path) -> None:
    heard, finder = Heard(tmp_path, "audit"), tmp_path / "finder.py"
    finder.write_text(PLUGIN)
    fleet.expected_errors += ["plugin finder failed in prouter_plan", "Traceback"]
    router = fleet.router(
        f"plugins.load={[str(finder), str(heard.plugin)]!r}",
        "access.authenticators=['finder', 'token_auth']",
        f"control.tokens=[{TOKEN!r}]",
        flags=("--log-level", "debug"),
    )
    agent = fleet.agent(router)
    await router.agent_is_there(agent, token=TOKEN)
    job = new_job(router, agent, TOKEN, "torture.py")
    answers = ""
    async with aiohttp.ClientSession(job.router.url(), headers={"X-Who": "ada", "X-Request-Id": "ada"}) as session:
        path, wanted = job.info["path"], {"agent": {"type": "labels", "match": {}}}
        for verb, where, body, status in (
            ("POST", "/jobs/create", wanted, 200),
            ("POST", "/jobs/explain", wanted, 200),
            ("GET", f"{path}/explain", None, 200),
            ("GET", f"{path}/info", None, 200),
            ("GET", f"{path}/http/x", None, 200),
            ("GET", f"{path}/http/broken", None, 500),
            ("POST", f"{path}/wsconnect", {"url": "ws://127.0.0.1:9/"}, 403),
            ("GET", "/connections", None, 200),
            ("GET", "/plugins", None, 200),
        ):
            async with session.request(verb, where, json=body) as answer:
                assert answer.status == status, where
                answers += str(answer.headers) + await answer.text()
        async with session.get("/agents", headers={"X-Who": "stranger"}) as answer:
            assert answer.status == 403
            answers += await answer.text()
    told = await heard.some("audit", lambda one: one["principal"] == "stranger")
    assert told["authenticator"] == "finder"
    seen = [json.loads(line) for line in finder.with_suffix(".seen").read_text().splitlines()]
    for hook in (*HOOKS, "bridge_open", "proxy_finished"):
        assert [hook, "ada", {"team": FOUND}] in seen, hook
    assert FOUND not in answers
    assert FOUND not in heard.text
    assert FOUND not in job.router.log
    assert FOUND not in job.agent.log
    assert not any(FOUND in heard.decode("latin-1") for heard in job.heard)
    assert not [file for file in job.agent.jobs.rglob("*.json") if FOUND in file.read_text()]
