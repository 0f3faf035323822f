"""Authenticators that break each promise of their contract, and what the author is told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from prouter import hookimpl, hookspecs, implements
from prouter.model.access import Guards, Peer, Principal, Refusal
from prouter.model.http import RequestHead
from prouter.testing import ContractBroken, assert_contract
from prouter.testing.contracts import hooks, samples


class Other:
    """A plugin of another kind."""

    @hookimpl
    def prouter_filter_agent(self, candidate: Any) -> None:
        """Has no objection."""


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
        await keys(Other())
    with pytest.raises(ContractBroken, match="it can not be loaded"):
        await keys(object())


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
