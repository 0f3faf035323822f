"""Who changes heads and jobs or is told of them, breaks the contract, and what the author is told."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from prouter import hookimpl
from prouter.errors import JobNotFound
from prouter.model.http import Reply, RequestHead, ResponseHead
from prouter.model.plugin import JobTarget
from prouter.testing import ContractBroken, assert_contract
from prouter.testing.contracts import samples


class Other:
    """A plugin of another kind."""

    @hookimpl
    def prouter_filter_agent(self, candidate: Any) -> None:
        """Has no objection."""


class Heads:
    @hookimpl
    async def prouter_proxy_request(self, head: RequestHead, target: JobTarget) -> Any:
        return self.change(head)

    def change(self, head: RequestHead) -> Any:
        return replace(head, headers=(*head.headers, ("X-Client", "lab")))


class HeadsLines(Heads):
    def change(self, head: RequestHead) -> Any:
        return replace(head, headers=(*head.headers, ("X-Client", "lab\r\nX-Admin: yes")))


class HeadsVerb(Heads):
    def change(self, head: RequestHead) -> Any:
        return replace(head, method="GET")


class HeadsFraming(Heads):
    def change(self, head: RequestHead) -> Any:
        return replace(head, headers=tuple(pair for pair in head.headers if pair[0] != "Content-Length"))


class HeadsList(Heads):
    def change(self, head: RequestHead) -> Any:
        return replace(head, headers=[*head.headers])  # type: ignore[arg-type]


class HeadsTarget(Heads):
    def change(self, head: RequestHead) -> Any:
        return replace(head, target=head.target + " é")


class HeadsPair(Heads):
    def change(self, head: RequestHead) -> Any:
        return replace(head, headers=(*head.headers, ("X-Count", 7)))  # type: ignore[arg-type]


class HeadsName(Heads):
    def change(self, head: RequestHead) -> Any:
        return replace(head, headers=(*head.headers, ("X Client", "lab")))


class HeadsReply(Heads):
    def change(self, head: RequestHead) -> Any:
        return Reply(100)


class HeadsDict(Heads):
    def change(self, head: RequestHead) -> Any:
        return {"x-client": "lab"}


HEADS = {
    HeadsLines: "has a value that no header can have",
    HeadsVerb: "the verb is the client's",
    HeadsFraming: "it changed content-length",
    HeadsList: "they are a tuple of pairs",
    HeadsTarget: "percent-encoded ASCII",
    HeadsPair: "is no header; one is a name and a value",
    HeadsName: "'X Client' is no name of a header",
    HeadsReply: "its reply has the status 100",
    Other: "it implements neither",
    HeadsDict: "a RequestHead goes on",
}


@pytest.mark.parametrize("kind", HEADS)
async def test_request_hooks(kind: type[Any]) -> None:
    with pytest.raises(ContractBroken, match=HEADS[kind]):
        await assert_contract(kind(), "request hook")


async def test_good_request_hooks_and_answers_that_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    class Answers:
        status: int | None = None

        @hookimpl
        def prouter_proxy_response(self, answer: ResponseHead) -> ResponseHead:
            return replace(answer, status=self.status or answer.status)

    await assert_contract(Heads(), "request hook")
    await assert_contract(Answers(), "request hook")
    Answers.status = 101
    with pytest.raises(ContractBroken, match="it made the status 101 of 200"):
        await assert_contract(Answers(), "request hook")
    monkeypatch.setattr(Answers, "prouter_proxy_response", hookimpl(lambda self, answer: "fine"), raising=False)
    with pytest.raises(ContractBroken, match="a ResponseHead goes on"):
        await assert_contract(Answers(), "request hook")


async def test_observers() -> None:
    class Observer:
        answers: Any = None

        @hookimpl
        async def prouter_job_state_changed(self, agent: Any, record: Any) -> Any:
            await asyncio.sleep(0)
            return self.answers

        @hookimpl
        def prouter_shutdown(self) -> None:
            """Does nothing."""

    class Late(Observer):
        @hookimpl
        def prouter_agent_connected(self, agent: Any) -> None:
            int(agent.version)

    await assert_contract(Observer(), "observer")
    with pytest.raises(ContractBroken, match="prouter_agent_connected: it raised TypeError"):
        await assert_contract(Late(), "observer")
    with pytest.raises(ContractBroken, match="it implements no hook of the kind notify"):
        await assert_contract(Heads(), "observer")
    Observer.answers = True
    with pytest.raises(ContractBroken, match="nobody hears what an observer answers"):
        await assert_contract(Observer(), "observer")


class Spec:
    """Changes a job's request, environment and output, and does it right."""

    @hookimpl
    async def prouter_job_spec(self, request: Any, principal: Any) -> Any:
        await asyncio.sleep(0)
        return replace(request, labels={**request.labels, "owner": "lab"})


class SpecMany(Spec):
    @hookimpl
    async def prouter_job_spec(self, request: Any, principal: Any) -> Any:
        return replace(request, labels={str(number): "x" for number in range(65)})


class SpecLost(Spec):
    @hookimpl
    def prouter_job_spec(self, request: Any, principal: Any) -> Any:
        return replace(request, locator={})


class SpecDict(Spec):
    @hookimpl
    def prouter_job_spec(self, request: Any, principal: Any) -> Any:
        return {"name": request.name}


class Variables:
    @hookimpl
    def prouter_job_environment(self, env: Any, record: Any, request: Any) -> Any:
        return {**env, "PORTS": len(request.ports)}


class Masks:
    @hookimpl
    def prouter_job_output(self, data: bytes, record: Any, stream: Any) -> Any:
        return data.replace(b"line", b"*")


class VariablesList:
    @hookimpl
    def prouter_job_environment(self, env: Any, record: Any, request: Any) -> Any:
        return list(env.items())


class MasksText:
    @hookimpl
    def prouter_job_output(self, data: bytes, record: Any, stream: Any) -> Any:
        return data.decode("latin-1")


class Nowhere:
    """Looks for a job that only it knows."""

    @hookimpl
    def prouter_job_output(self, data: bytes, record: Any, stream: Any) -> Any:
        if record.name != "there":
            raise JobNotFound(record.uid)
        return data


CHANGES = {
    SpecMany: "labels or resources that no job can have",
    SpecLost: "which has no type",
    SpecDict: "a CreateRequest goes on",
    Variables: "'PORTS' and its value are no variable",
    VariablesList: "the environment is a mapping of texts",
    MasksText: "output is bytes",
    Masks: "clients go on by offset",
    Nowhere: "each question ended in JobNotFound",
    Other: "it implements none of prouter_job_spec",
}


@pytest.mark.parametrize("kind", CHANGES)
async def test_job_hooks(kind: type[Any]) -> None:
    with pytest.raises(ContractBroken, match=CHANGES[kind]):
        await assert_contract(kind(), "job hook")


async def test_good_job_hooks() -> None:
    await assert_contract(Spec(), "job hook")
    await assert_contract(Nowhere(), "job hook", given={"record": samples.a_record(name="there")})
