"""The contracts of the kit: everything of ours keeps them, in a router and an agent that run."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from prouter import agent_hookspecs, hookspecs
from prouter.model.plugin import Kind
from prouter.testing import AgentHere, FakeAgent, InProcess, RouterHere, assert_contract, eventually
from prouter.testing.contracts import changing, samples
from prouter.testing.fake_agent import crowd

TOKEN, OTHER = "0123456789abcdef0123456789abcdef", "a-second-token-that-nobody-guesses-7f"
LOCATORS: Mapping[str, Mapping[str, Any]] = {
    "selector_uid": {"type": "uid", "uid": "agent-1"},
    "selector_labels": {"type": "labels", "match": {"rack": "1", "memory": {"ge": 2}}},
    "selector_select": {"type": "select", "uids": ["agent-2", "agent-7", "nobody"]},
}


@pytest.mark.parametrize("name", LOCATORS)
async def test_selectors_of_ours(router: RouterHere, name: str) -> None:
    wrong = [{"type": LOCATORS[name]["type"]}, {"type": "other"}, {**LOCATORS[name], "uid": 7, "uids": 7, "match": 7}]
    async with crowd(FakeAgent(router, f"agent-{number}") for number in range(12)):
        await eventually(lambda: len(router.services.agents.list()) == 12)
        for selector in router.plugin(name).prouter_selectors():
            await assert_contract(selector, "selector", locators=[LOCATORS[name]], wrong=wrong)


async def test_the_selector_that_dials(router: RouterHere, in_process: InProcess) -> None:
    agent = await in_process.agent()
    host, port = agent.address("server")
    locator = {"type": "address", "address": f"{host}:{port}", "token": agent.token}
    (selector,) = router.plugin("selector_address").prouter_selectors()
    await assert_contract(selector, "selector", locators=[locator], dials=True)


@pytest.mark.prouter(settings=[f"control.tokens=['{TOKEN}','{OTHER}']"])
async def test_the_authenticator_of_tokens(router: RouterHere) -> None:
    basic = base64.b64encode(b"user:password").decode()
    await assert_contract(
        router.plugin("token_auth"),
        "authenticator",
        right=[
            samples.a_head(authorization=f"Bearer {TOKEN}"),
            samples.a_head(x_prouter_token=OTHER, authorization=f"Basic {basic}"),
        ],
        wrong=[samples.a_head(authorization="Bearer wrong-wrong-wrong-7"), samples.a_head(x_prouter_token="wrong")],
        foreign=[samples.a_head(authorization=f"Basic {basic}"), samples.a_head(cookie="session=x")],
    )


async def test_the_authenticator_of_agents(router: RouterHere) -> None:
    right = [samples.a_hello(router.agent_token), samples.a_hello(router.agent_token, uid="other")]
    await assert_contract(
        router.plugin("token_auth"), "agent authenticator", right=right, wrong=[samples.a_hello("wrong")]
    )


async def test_the_driver_of_processes(agent: AgentHere, tmp_path: Path) -> None:
    (driver,) = agent.plugin("process_driver").prouter_drivers()
    await assert_contract(driver, "driver", tmp_path / "jobs")


async def test_what_a_job_inherits(agent: AgentHere) -> None:
    await assert_contract(agent.plugin("job_environment"), "job hook")


@pytest.mark.parametrize("side", ["router", "agent"])
async def test_observers_of_ours(router: RouterHere, agent: AgentHere, side: str) -> None:
    here, specs = (router, hookspecs) if side == "router" else (agent, agent_hookspecs)
    looked_at = 0
    for name, shown in here.plugins().items():
        kinds = {getattr(specs, hook.partition(" ")[0]).prouter_kind for hook in shown["hooks"]}
        if shown["state"] == "loaded" and Kind.NOTIFY in kinds:
            await assert_contract(here.plugin(name), "observer")
            looked_at += 1
    assert looked_at >= (1 if side == "router" else 0)


def test_every_hook_that_is_told_or_asked_for_a_veto_has_a_contract() -> None:
    for specs in (hookspecs, agent_hookspecs):
        for name, hook in vars(specs).items():
            kind = getattr(hook, "prouter_kind", None)
            if kind in (Kind.NOTIFY, Kind.VETO) or name in changing.CHAINED:
                assert len(list(samples.questions(hook))) == samples.QUESTIONS


async def test_a_plugin_of_the_examples(in_process: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    example = Path(__file__).parents[2] / "examples" / "plugins" / "readonly_token" / "src"
    monkeypatch.syspath_prepend(str(example))
    plugin = import_module("prouter_readonly_token").ReadonlyToken
    router = await in_process.router(f"readonly_token.tokens={json.dumps([TOKEN])}", plugins=[plugin])
    made = router.plugin("ReadonlyToken")
    await assert_contract(made, "authenticator", right=[samples.a_head(x_prouter_token=TOKEN)])
    reader = samples.a_principal("reader")
    await assert_contract(
        made,
        "veto",
        hook="prouter_authorize",
        allowed=[{"principal": reader, "action": "job.remove"}],
    )
