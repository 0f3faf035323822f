"""What prouter expects of the hooks that change the head of a proxied request or of its answer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from prouter.errors import ProuterError
from prouter.model.http import Headers, Reply, RequestHead, ResponseHead
from prouter.model.plugin import JobTarget
from prouter.testing.contracts import samples
from prouter.testing.contracts.hooks import Answers, Hosted
from prouter.testing.contracts.watching import broken

REQUEST, RESPONSE = "prouter_proxy_request", "prouter_proxy_response"
FRAMING = ("content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer")
"""They say where the body ends, and are not a plugin's."""
NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
TARGET = re.compile(r"/[\x21-\x7e]*")


async def assert_request_hook(
    plugin: Any, *, heads: Sequence[RequestHead] = (), target: JobTarget | None = None
) -> None:
    """Raises ContractBroken. Both hooks of heads are looked at where they are implemented; `heads` come on top.

    `target` is a job that is there, for a plugin that looks for it.
    """
    to = target or samples.a_target()
    hosted = Hosted(plugin)
    hooks = [hook for hook in (REQUEST, RESPONSE) if hook in hosted.implemented()]
    if not hooks:
        broken(hosted.name, f"it implements neither {REQUEST} nor {RESPONSE}")
    if REQUEST in hooks:
        answers = Answers(hosted.who(REQUEST), "target=...")
        for head in (*_request_heads(), *heads):
            answers.note(await _request(hosted, head, replace(to, rest=head.target)))
        answers.check()
        await hosted.survives_cancellation(REQUEST, head=samples.a_head(), target=to)
    if RESPONSE in hooks:
        answers = Answers(hosted.who(RESPONSE), "target=...")
        for answer in _answer_heads():
            answers.note(await _response(hosted, answer, to))
        answers.check()
        await hosted.survives_cancellation(RESPONSE, answer=samples.an_answer(), target=to)


async def _request(hosted: Hosted, head: RequestHead, target: JobTarget) -> Any:
    who = hosted.who(REQUEST)
    answer = await hosted.answer_or_error(REQUEST, head=head, target=target)
    if answer is None or isinstance(answer, ProuterError):
        return answer
    if isinstance(answer, Reply):
        if not 200 <= answer.status <= 599:
            broken(who, f"its reply has the status {answer.status}")
        _headers(who, answer.headers)
        return answer
    if not isinstance(answer, RequestHead):
        broken(who, f"it answered {answer!r}; a RequestHead goes on, a Reply ends it, None leaves the head as it is")
    if answer.method != head.method:
        broken(who, f"it made {answer.method} of {head.method}; the verb is the client's")
    if not TARGET.fullmatch(answer.target):
        broken(who, f"its target is {answer.target[:200]!r}; it begins with / and is percent-encoded ASCII")
    _headers(who, answer.headers)
    _framing(who, head.headers, answer.headers)
    return answer


async def _response(hosted: Hosted, head: ResponseHead, target: JobTarget) -> Any:
    who = hosted.who(RESPONSE)
    answer = await hosted.answer_or_error(RESPONSE, answer=head, target=target)
    if answer is None or isinstance(answer, ProuterError):
        return answer
    if not isinstance(answer, ResponseHead):
        broken(who, f"it answered {answer!r}; a ResponseHead goes on, None leaves the head as it is")
    if not 100 <= answer.status <= 599 or (answer.status < 200) != (head.status < 200):
        broken(who, f"it made the status {answer.status} of {head.status}")
    _headers(who, answer.headers)
    _framing(who, head.headers, answer.headers)
    return answer


def _headers(who: str, headers: Any) -> None:
    if not isinstance(headers, tuple):
        broken(who, f"the headers are a {type(headers).__name__}; they are a tuple of pairs")
    for pair in headers:
        if not isinstance(pair, tuple) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            broken(who, f"{pair!r} is no header; one is a name and a value, both texts")
        name, value = pair
        if not NAME.fullmatch(name):
            broken(who, f"{name[:100]!r} is no name of a header")
        if not VALUE.fullmatch(value):
            broken(who, f"the header {name} has a value that no header can have (a line's end, or beyond latin-1)")


def _framing(who: str, before: Headers, after: Headers) -> None:
    for name in FRAMING:
        if _values(before, name) != _values(after, name):
            broken(who, f"it changed {name}, which says how the body is sent and is not a plugin's")


def _values(headers: Headers, name: str) -> list[str]:
    return [value for key, value in headers if key.lower() == name]


def _request_heads() -> Iterator[RequestHead]:
    yield samples.a_head("GET", "/page?x=1", accept="text/html")
    yield samples.a_head("POST", "/upload", (("Content-Length", "12"), ("Content-Type", "text/plain")))
    chunked = (("Transfer-Encoding", "chunked"), ("Trailer", "X-Sum"), ("TE", "trailers"))
    yield samples.a_head("POST", "/upload", chunked)
    yield samples.a_head("GET", "/ws", (("Connection", "keep-alive, Upgrade"), ("Upgrade", "websocket")))
    yield samples.a_head("GET", "/", (("Cookie", "a=b; c=d"), ("Cookie", "e=f"), ("Cookie", "")))
    yield samples.a_head("GET", "/" + "x" * 8000, tuple((f"X-{number}", "y" * 80) for number in range(90)))
    yield replace(samples.a_head(), headers=(), version="1.0")
    yield from samples.rubbish_heads(60, seed=1)


def _answer_heads() -> Iterator[ResponseHead]:
    yield samples.an_answer()
    for status in (101, 204, 206, 304, 404, 500):
        yield samples.an_answer(status, ())
    yield samples.an_answer(200, (("Content-Length", "5"), ("Set-Cookie", "a=b"), ("Set-Cookie", "c=d; Path=/")))
    yield samples.an_answer(200, (("Transfer-Encoding", "chunked"), ("Trailer", "X-Sum"), ("Content-Encoding", "gzip")))
    yield samples.an_answer(101, (("Connection", "Upgrade"), ("Upgrade", "websocket")))
    yield samples.an_answer(302, (("Location", "/elsewhere"), *(("X-Odd", text) for text in samples.ODD_TEXTS)))
