"""For each promise of a contract somebody who breaks it, and what the author is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from prouter import agent_hookspecs, hookimpl, hookspecs, implements
from prouter.errors import JobNotFound, NoAgent
from prouter.model.access import Guards, Peer, Principal, Refusal
from prouter.model.http import Reply, RequestHead, ResponseHead
from prouter.model.jobs import JobRecord
from prouter.model.plugin import Candidate, JobTarget, Score
from prouter.model.writes import FileWrite, WriteWay
from prouter.testing import ContractBroken, assert_contract
from prouter.testing.contracts import hooks, samples, watching


class Good:
    """A selector that does all right: it waits in the middle."""

    name = "good"
    schema: ClassVar[Any] = {
        "type": "object",
        "properties": {"type": {"const": "good"}},
        "required": ["type"],
        "additionalProperties": False,
    }

    async def choose(self, locator: Mapping[str, Any], candidates: Sequence[Candidate]) -> Any:
        await asyncio.sleep(0)
        if not candidates:
            raise NoAgent("none is there")
        return candidates[0].uid


class Nameless(Good):
    name = ""


class NoSchema(Good):
    schema: ClassVar[Any] = {"type": "nonsense"}


class Lax(Good):
    schema: ClassVar[Any] = {"type": "object"}


class Foreign(Good):
    async def choose(self, locator: Mapping[str, Any], candidates: Sequence[Candidate]) -> Any:
        return "somebody else"


class NoUid(Good):
    async def choose(self, locator: Mapping[str, Any], candidates: Sequence[Candidate]) -> Any:
        return candidates[0] if candidates else None


class Crashes(Good):
    async def choose(self, locator: Mapping[str, Any], candidates: Sequence[Candidate]) -> Any:
        return min(candidate.uid for candidate in candidates)


class Sleeps(Good):
    async def choose(self, locator: Mapping[str, Any], candidates: Sequence[Candidate]) -> Any:
        time.sleep(0.15)
        return await super().choose(locator, candidates)


class Swallows(Good):
    async def choose(self, locator: Mapping[str, Any], candidates: Sequence[Candidate]) -> Any:
        try:
            await asyncio.sleep(0)
        except BaseException:
            pass
        return await super().choose(locator, candidates)


class Counts(Good):
    """Keeps a licence for good when it is cancelled."""

    def __init__(self) -> None:
        self.left = 20

    async def choose(self, locator: Mapping[str, Any], candidates: Sequence[Candidate]) -> Any:
        if not self.left:
            raise NoAgent("all licences are taken")
        self.left -= 1
        chosen = await super().choose(locator, candidates)
        self.left += 1
        return chosen


class Mixes(Good):
    """Two that ask at once get each other's answers, and nonsense."""

    asked = 0

    async def choose(self, locator: Mapping[str, Any], candidates: Sequence[Candidate]) -> Any:
        self.asked += 1
        try:
            chosen = await super().choose(locator, candidates)
            await asyncio.sleep(0.001)
            return chosen if self.asked == 1 else "mixed up"
        finally:
            self.asked -= 1


class Exits(Good):
    async def choose(self, locator: Mapping[str, Any], candidates: Sequence[Candidate]) -> Any:
        raise SystemExit(1)


class CancelsItself(Good):
    async def choose(self, locator: Mapping[str, Any], candidates: Sequence[Candidate]) -> Any:
        raise asyncio.CancelledError


class NeverEnds(Good):
    async def choose(self, locator: Mapping[str, Any], candidates: Sequence[Candidate]) -> Any:
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            await asyncio.sleep(0.6)
        return await super().choose(locator, candidates)


class Leaves(Good):
    kept: Any = None

    async def choose(self, locator: Mapping[str, Any], candidates: Sequence[Candidate]) -> Any:
        self.kept = asyncio.ensure_future(asyncio.sleep(600))
        return await super().choose(locator, candidates)


SELECTORS = {
    Nameless: "it is the `type` of its locators",
    NoSchema: "its schema is no JSON schema",
    Lax: "its schema takes the wrong locator",
    Foreign: "which is none of the 12 candidates",
    NoUid: "which is no uid",
    Crashes: "it raised ValueError",
    Sleeps: "it held the event loop for",
    Swallows: "it answered 'agent-0'; let CancelledError pass",
    Counts: "after 20 calls that were cancelled",
    Leaves: "left tasks behind",
    Mixes: "asked 10 times at once, it chose 'mixed up'",
    Exits: "it raised SystemExit",
    CancelsItself: "it raised CancelledError though nobody",
    NeverEnds: "it did not end; let CancelledError pass",
}


@pytest.mark.parametrize("kind", SELECTORS)
async def test_selectors(kind: type[Good], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "CANCEL_SECONDS", 0.3)
    before = asyncio.all_tasks()
    with pytest.raises(ContractBroken, match=SELECTORS[kind]):
        await assert_contract(kind(), "selector")
    for task in asyncio.all_tasks() - before:
        task.cancel()


async def test_a_good_selector_and_samples_that_are_wrong() -> None:
    await assert_contract(Good(), "selector", wrong=[{"type": "good", "more": 1}])
    with pytest.raises(ContractBroken, match="its schema takes the wrong locator"):
        await assert_contract(Good(), "selector", wrong=[{"type": "good"}])
    with pytest.raises(ContractBroken, match="its schema refuses the locator"):
        await assert_contract(Good(), "selector", locators=[{"type": "good", "rack": 7}])
    with pytest.raises(ContractBroken, match="its locators have the type 'good'"):
        await assert_contract(Good(), "selector", locators=[{"type": "better"}])
    with pytest.raises(TypeError, match="there is no contract"):
        await assert_contract(Good(), "selektor")  # type: ignore[arg-type]


class Keys:
    """An authenticator that does all right."""

    guarded = True

    @implements(hookspecs.prouter_guards)
    def guards(self) -> Guards:
        return Guards(requests=self.guarded)

    @hookimpl
    async def prouter_authenticate_request(self, head: RequestHead, peer: Peer) -> Any:
        await asyncio.sleep(0)
        return self.judge(head, head.get("x-api-key"))

    def judge(self, head: RequestHead, key: str | None) -> Any:
        if key is None:
            return None
        return self.known() if key == "the-secret-1" else Refusal("the key is not known")

    def known(self) -> Any:
        return Principal("lab", "keys", used_headers=frozenset({"x-api-key"}))


class KeysOpen(Keys):
    guarded = False


class KeysPrefix(Keys):
    def judge(self, head: RequestHead, key: str | None) -> Any:
        return None if key is None else self.known() if key.startswith("the-sec") else Refusal("no")


class KeysGreedy(Keys):
    def judge(self, head: RequestHead, key: str | None) -> Any:
        return super().judge(head, key) or Refusal("a key is needed")


class KeysSilent(Keys):
    def judge(self, head: RequestHead, key: str | None) -> Any:
        return self.known() if key == "the-secret-1" else None


class KeysTelling(Keys):
    def judge(self, head: RequestHead, key: str | None) -> Any:
        return super().judge(head, key) if key in (None, "the-secret-1") else Refusal(f"{key} is not known")


class KeysKept(Keys):
    def known(self) -> Any:
        return Principal("lab", "keys")


class KeysUpper(Keys):
    def known(self) -> Any:
        return Principal("lab", "keys", used_headers=frozenset({"X-Api-Key"}))


class KeysBehind(Keys):
    """Names a header that is not the one that it looks at."""

    def known(self) -> Any:
        return Principal("lab", "keys", used_headers=frozenset({"authorization"}))


class KeysNameless(Keys):
    def known(self) -> Any:
        return Principal("", "keys", used_headers=frozenset({"x-api-key"}))


class KeysMute(Keys):
    def judge(self, head: RequestHead, key: str | None) -> Any:
        return super().judge(head, key) if key in (None, "the-secret-1") else Refusal("")


class KeysText(Keys):
    def known(self) -> Any:
        return "lab"


class KeysFragile(Keys):
    def judge(self, head: RequestHead, key: str | None) -> Any:
        (head.get("authorization") or "").encode("ascii")
        return super().judge(head, key)


AUTHENTICATORS = {
    KeysOpen: "it does not guard requests; without that nobody is asked",
    KeysPrefix: "which nobody said is right",
    KeysGreedy: "the next authenticator is asked when it answers None",
    KeysSilent: "are a Refusal, so that nobody else is asked",
    KeysTelling: "repeats the credentials",
    KeysKept: "so that no job sees it",
    KeysUpper: "used_headers are lower-case names",
    KeysBehind: "it still accepts",
    KeysNameless: "the principal has no name",
    KeysMute: "the refusal says no reason",
    KeysText: "which is no Principal, Refusal or None",
    KeysFragile: "it raised UnicodeEncodeError",
}


async def keys(plugin: Any) -> None:
    right, wrong = samples.a_head(x_api_key="the-secret-1"), samples.a_head(x_api_key="a-wrong-key-7")
    await assert_contract(plugin, "authenticator", right=[right], wrong=[wrong])


@pytest.mark.parametrize("kind", AUTHENTICATORS)
async def test_authenticators(kind: type[Keys]) -> None:
    with pytest.raises(ContractBroken, match=AUTHENTICATORS[kind]):
        await keys(kind())


async def test_a_good_authenticator_and_one_that_is_none() -> None:
    await keys(Keys())
    with pytest.raises(ContractBroken, match="it does not implement prouter_authenticate_request"):
        await keys(Veto())
    with pytest.raises(ContractBroken, match="it can not be loaded"):
        await keys(Good())


class KeysStuck(Keys):
    """Waits for somebody who is not there."""

    @hookimpl
    async def prouter_authenticate_request(self, head: RequestHead, peer: Peer) -> Any:
        await asyncio.Event().wait()


async def test_an_authenticator_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "ANSWER_SECONDS", 0.1)
    with pytest.raises(ContractBroken, match=r"it did not answer within 0\.1 s"):
        await keys(KeysStuck())


async def test_samples_of_an_authenticator_that_are_missing_or_wrong() -> None:
    with pytest.raises(ContractBroken, match="name a head that it accepts"):
        await assert_contract(Keys(), "authenticator", right=[])
    with pytest.raises(ContractBroken, match="to a head that is right"):
        await assert_contract(Keys(), "authenticator", right=[samples.a_head(x_api_key="another")])
    with pytest.raises(ContractBroken, match="name a handshake that it accepts"):
        await assert_contract(AnyAgent(), "agent authenticator", right=[])


class AnyAgent:
    """An authenticator of agents that knows everybody."""

    @hookimpl
    def prouter_guards(self) -> Guards:
        return Guards(agents=True)

    @hookimpl
    def prouter_authenticate_agent(self, hello: Any) -> Any:
        return Principal(hello.uid, "any")


async def test_an_authenticator_of_agents() -> None:
    with pytest.raises(ContractBroken, match="it let agent 'agent-1' in with a token that is wrong"):
        await assert_contract(AnyAgent(), "agent authenticator", right=[samples.a_hello("right")])


class Veto:
    @hookimpl
    def prouter_admit_job(self, request: Any, principal: Any) -> Any:
        return self.say(request)

    def say(self, request: Any) -> Any:
        return None if request.name else Refusal("a job needs a name")


class VetoWithoutReason(Veto):
    def say(self, request: Any) -> Any:
        return Refusal("")


class VetoOfBools(Veto):
    def say(self, request: Any) -> Any:
        return bool(request.name)


class VetoFragile(Veto):
    def say(self, request: Any) -> Any:
        return None if request.labels["team"] == "lab" else Refusal("no")


VETOES = {
    VetoWithoutReason: "its refusal has no reason",
    VetoOfBools: "it answered True; an objection is a Refusal",
    VetoFragile: "it raised KeyError",
}


@pytest.mark.parametrize("kind", VETOES)
async def test_vetoes(kind: type[Veto]) -> None:
    with pytest.raises(ContractBroken, match=VETOES[kind]):
        await assert_contract(kind(), "veto")


async def test_a_good_veto_and_one_that_decides_otherwise() -> None:
    named, nameless = {"request": samples.a_create_request()}, {"request": samples.a_create_request(name="")}
    await assert_contract(Veto(), "veto", allowed=[named], refused=[nameless])
    with pytest.raises(ContractBroken, match="it had no objection, which is wrong for"):
        await assert_contract(Veto(), "veto", refused=[named])
    with pytest.raises(ContractBroken, match=r"a job needs a name.*, which is wrong"):
        await assert_contract(Veto(), "veto", allowed=[nameless])
    with pytest.raises(ContractBroken, match="it implements no veto"):
        await assert_contract(Keys(), "veto")


async def test_a_veto_of_an_agent_under_a_name_of_its_own() -> None:
    class Small:
        @implements(agent_hookspecs.prouter_before_file_write)
        def may_be_written(self, record: JobRecord, write: FileWrite) -> Refusal | None:
            return Refusal("it is too large") if (write.size_bytes or 0) > 100 else None

    small, large = FileWrite("a", WriteWay.FILE, 100), FileWrite("a", WriteWay.FILE, 101)
    await assert_contract(Small(), "veto", allowed=[{"write": small}], refused=[{"write": large}])


async def test_a_plugin_with_two_vetoes_is_asked_which() -> None:
    class Two(Veto):
        @hookimpl
        def prouter_authorize(self, principal: Any, action: str) -> None:
            """Has no objection."""

    await assert_contract(Two(), "veto")
    with pytest.raises(ContractBroken, match="say which hook is meant"):
        await assert_contract(Two(), "veto", allowed=[{"action": "job.read"}])
    await assert_contract(Two(), "veto", hook="prouter_authorize", allowed=[{"action": "job.read"}])


async def test_scores() -> None:
    class Scores:
        points: Any = 3

        @hookimpl
        def prouter_score_agent(self, candidate: Candidate) -> Any:
            return self.points if self.points == "7" else Score(self.points) if candidate.properties else None

    await assert_contract(Scores(), "score")
    Scores.points = "7"
    with pytest.raises(ContractBroken, match="which is no Score and not None"):
        await assert_contract(Scores(), "score")
    Scores.points = float("nan")
    with pytest.raises(ContractBroken, match="it raised ValueError: nan points"):
        await assert_contract(Scores(), "score")


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
    Veto: "it implements neither",
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
    Veto: "it implements none of prouter_job_spec",
}


@pytest.mark.parametrize("kind", CHANGES)
async def test_job_hooks(kind: type[Any]) -> None:
    with pytest.raises(ContractBroken, match=CHANGES[kind]):
        await assert_contract(kind(), "job hook")


async def test_good_job_hooks() -> None:
    await assert_contract(Spec(), "job hook")
    await assert_contract(Nowhere(), "job hook", given={"record": samples.a_record(name="there")})
