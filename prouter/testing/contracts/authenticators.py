"""What prouter expects of a plugin that says who makes a request, and of one that says who an agent is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from prouter.model.access import Guards, Principal, Refusal
from prouter.model.agents import Hello
from prouter.model.http import RequestHead
from prouter.testing.contracts import samples
from prouter.testing.contracts.hooks import Hosted
from prouter.testing.contracts.watching import broken

REQUEST = "prouter_authenticate_request"
AGENT = "prouter_authenticate_agent"
ONCE = "; if a head is good only once, name a function that makes one"
SECRET_CHARACTERS = 6
"""A word of a refused head that is as long must not be in the refusal."""


async def assert_authenticator(
    plugin: Any,
    *,
    right: Sequence[RequestHead | Callable[[], RequestHead]],
    wrong: Sequence[RequestHead] = (),
    foreign: Sequence[RequestHead] = (),
    guards: bool = True,
) -> None:
    """Raises ContractBroken. The plugin is configured: it knows the credentials of the `right` heads.

    Where a head is good only once (signed with a nonce, say), name a function that makes a fresh one at each call.
    `wrong` heads have credentials of its kind that are refused, `foreign` ones those of others. Not `guards`: it knows
    somebody, and others need no credentials.
    """
    hosted = Hosted(plugin)
    hosted.need(REQUEST)
    if not right:
        broken(hosted.who(REQUEST), "name a head that it accepts: right=[...]")
    near: list[RequestHead] = []
    for made in right:
        near += _nearly(_fresh(made), await _accepted(hosted, made))
        await hosted.survives_cancellation(REQUEST, head=_fresh(made), peer=samples.PEERS[0])
    for head in wrong:
        await _refused(hosted, head)
    for head in (samples.a_head(), *foreign):
        if (answer := await _of(hosted, head)) is not None:
            why = "these are not its kind of credentials, the next authenticator is asked when it answers None"
            broken(hosted.who(REQUEST), f"it answered {answer!r} to {_shown(head)}; {why}")
    await _opens_for_nothing_else(hosted, [head for head in right if not callable(head)], near)
    if guards:
        await _guards(hosted, requests=True)


async def assert_agent_authenticator(plugin: Any, *, right: Sequence[Hello], wrong: Sequence[Hello] = ()) -> None:
    """Raises ContractBroken. `right` handshakes are accepted by the configured plugin, `wrong` ones are not."""
    hosted = Hosted(plugin)
    hosted.need(AGENT)
    if not right:
        broken(hosted.who(AGENT), "name a handshake that it accepts: right=[...]")
    for hello in right:
        answer = await _of_agent(hosted, hello)
        if not isinstance(answer, Principal) or not answer.name:
            broken(hosted.who(AGENT), f"it answered {answer!r} to a handshake that is right")
        await hosted.survives_cancellation(AGENT, hello=hello, peer=samples.PEERS[0])
    odd = [replace(hello, token=text) for hello in right for text in (*samples.ODD_TEXTS, hello.token[:-1])]
    for hello in (*wrong, *(hello for hello in odd if hello not in right)):
        answer = await _of_agent(hosted, hello)
        if isinstance(answer, Principal):
            broken(hosted.who(AGENT), f"it let agent {hello.uid!r} in with a token that is wrong")
        _no_secret(hosted.who(AGENT), answer, [hello.token])
    await _guards(hosted, requests=False)


def _fresh(made: RequestHead | Callable[[], RequestHead]) -> RequestHead:
    return made() if callable(made) else made


async def _accepted(hosted: Hosted, made: RequestHead | Callable[[], RequestHead]) -> Principal:
    who = hosted.who(REQUEST)
    answer: Principal
    for number, peer in enumerate(samples.PEERS):
        answer = await _of(hosted, head := _fresh(made), peer)
        if not isinstance(answer, Principal):
            broken(who, f"it answered {answer!r} to a head that is right: {_shown(head)}{ONCE if number else ''}")
        if not answer.name:
            broken(who, "the principal has no name")
    if not answer.used_headers and not answer.used_cookies:
        why = "used_headers or used_cookies must name what authenticated, so that no job sees it"
        broken(who, f"the principal {answer.name!r} used nothing; {why}")
    if wrong := [name for name in answer.used_headers if name != name.lower()]:
        broken(who, f"used_headers are lower-case names, not {wrong}")
    left = _without(_fresh(made), answer)
    if isinstance(await _of(hosted, left), Principal):
        broken(who, f"without {sorted(answer.used_headers | answer.used_cookies)} it still accepts {_shown(left)}")
    return answer


async def _refused(hosted: Hosted, head: RequestHead) -> None:
    answer = await _of(hosted, head)
    if not isinstance(answer, Refusal):
        why = "credentials of its own kind that are wrong are a Refusal, so that nobody else is asked"
        broken(hosted.who(REQUEST), f"it answered {answer!r} to {_shown(head)}; {why}")
    if not answer.reason:
        broken(hosted.who(REQUEST), "the refusal says no reason")


async def _opens_for_nothing_else(hosted: Hosted, right: Sequence[RequestHead], near: Sequence[RequestHead]) -> None:
    """Rubbish and what is nearly right: no errors, no principals."""
    for head in (*samples.rubbish_heads(), *near):
        if head not in right and isinstance(await _of(hosted, head), Principal):
            broken(hosted.who(REQUEST), f"it accepts {_shown(head)}, which nobody said is right")


async def _of(hosted: Hosted, head: RequestHead, peer: Any = samples.PEERS[0]) -> Any:
    answer = await hosted.answer(REQUEST, head=head, peer=peer)
    if not isinstance(answer, Principal | Refusal | None):
        broken(hosted.who(REQUEST), f"it answered {answer!r}, which is no Principal, Refusal or None")
    _no_secret(hosted.who(REQUEST), answer, [value for name, value in head.headers if name != "Host"])
    return answer


async def _of_agent(hosted: Hosted, hello: Hello) -> Any:
    answer = await hosted.answer(AGENT, hello=hello, peer=samples.PEERS[0])
    if not isinstance(answer, Principal | Refusal | None):
        broken(hosted.who(AGENT), f"it answered {answer!r}, which is no Principal, Refusal or None")
    return answer


async def _guards(hosted: Hosted, *, requests: bool) -> None:
    hosted.need("prouter_guards")
    guards = await hosted.answer("prouter_guards")
    what = "requests" if requests else "agents"
    if not isinstance(guards, Guards):
        broken(hosted.who("prouter_guards"), f"it answered {guards!r} instead of Guards")
    if not getattr(guards, what):
        why = "without that nobody is asked for credentials"
        broken(hosted.who("prouter_guards"), f"it says that it does not guard {what}; {why}")


def _no_secret(who: str, answer: Any, values: Sequence[str]) -> None:
    """Refusals are shown to clients and kept in logs."""
    if not isinstance(answer, Refusal):
        return
    for word in {word for value in values for word in re.split(r"[\s;,]+", value)}:
        if len(word) >= SECRET_CHARACTERS and word in answer.reason and not word.isalpha():
            broken(who, "the reason of its refusal repeats the credentials, which ends in logs")


def _without(head: RequestHead, principal: Principal) -> RequestHead:
    return _changed(head, principal, lambda value: None)


def _nearly(head: RequestHead, principal: Principal) -> list[RequestHead]:
    """What authenticated is cut short, halved, doubled, turned round and emptied."""
    changes: list[Callable[[str], str]] = [
        lambda value: value[:-1],
        lambda value: value[: len(value) // 2],
        lambda value: value * 2,
        lambda value: value[::-1],
        lambda value: "",
    ]
    changed = [_changed(head, principal, change) for change in changes]
    return [near for near in changed if near != head]


def _changed(head: RequestHead, principal: Principal, change: Callable[[str], str | None]) -> RequestHead:
    """With `change` applied to the values that authenticated; None takes them away."""
    headers = []
    for name, value in head.headers:
        if name.lower() in principal.used_headers:
            if (new := change(value)) is not None:
                headers.append((name, new))
        elif name.lower() == "cookie":
            headers.append((name, "; ".join(_cookies(value, principal, change))))
        else:
            headers.append((name, value))
    return replace(head, headers=tuple(headers))


def _cookies(value: str, principal: Principal, change: Callable[[str], str | None]) -> Iterator[str]:
    for pair in value.split(";"):
        name, _, content = pair.strip().partition("=")
        if name not in principal.used_cookies:
            yield pair.strip()
        elif (new := change(content)) is not None:
            yield f"{name}={new}"


def _shown(head: RequestHead) -> str:
    headers = ", ".join(name for name, _ in head.headers if name != "Host")
    return f"{head.method} {head.target} with {headers or 'no headers'}"
