"""Answering an API request with a route's handler: body read and validated, handler called, errors as problem+json.

The same for the router's control endpoint (through the stand-in) and the agent's service (aiohttp on the pipe itself).
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import math
from typing import Any

from aiohttp import web

from prouter.errors import Internal, InvalidRequest, ProuterError, TooLarge, TooSlow
from prouter.model import sound, unexpected
from prouter.model.http import Reply
from prouter.model.plugin import Call, Route
from prouter.pluginkit.checking import bounded_elements, check
from prouter.web.outcomes import Serve
from prouter.web.problem import note, problem

log = logging.getLogger(__name__)

AT_ONCE_BYTES = 16384
"""Of a JSON body that is read on the event loop; a longer one is in a thread, or everybody waits."""
LONGEST_SURE = 300
"""Digits of a whole number that certainly fits a float."""


@dataclasses.dataclass(frozen=True, slots=True)
class BodyLimits:
    """Of a JSON body."""

    size_bytes: int = 65536
    elements: int = 65536
    """Members of its lists and objects together: each costs much more to check than its bytes cost to read."""
    seconds: float = 60.0
    """Within which it must be there: nobody else watches a client that sends none."""


def serve_route(route: Route, call: Call, limits: BodyLimits, owner: str) -> Serve:
    """The outcome for a route of the plugin `owner` with a handler."""
    return Serve(lambda request: answer(route, call, request, limits, owner), follows=route.follows)


async def answer(
    route: Route, call: Call, request: web.BaseRequest, limits: BodyLimits, owner: str
) -> web.StreamResponse:
    """The handler's answer, or the problem; an answer that was begun and can not be ended is cut."""
    try:
        if route.schema is not None:
            _refuse_length(request, limits)
        give_leave(request)
        body = await _body(route, request, limits)
        assert route.handler is not None
        result = await route.handler(dataclasses.replace(call, body=body, request=request))
        if not isinstance(result, Reply | web.StreamResponse):
            raise TypeError(f"{route.path} answered {type(result).__name__} instead of Reply")
        if why := sound.wrong(result):
            raise ValueError(f"{route.path} answered {type(result).__name__} {why}")
        return response(result) if isinstance(result, Reply) else result
    except ProuterError as error:
        return _failed(error, call, request)
    except ConnectionError:  # the client has gone, which is no error of ours
        if request.transport is not None:
            request.transport.close()
        return web.Response()
    except web.HTTPException:
        raise
    except (Exception, SystemExit, KeyboardInterrupt) as error:  # a plugin's handler may want to leave; we stay
        log.exception("%s %s failed in plugin %s", call.head.method, call.head.path, owner)
        unexpected.tell(error, f"{call.head.method} {call.head.path}")
        return _failed(Internal(), call, request)


def response(reply: Reply) -> web.Response:
    """A Reply as aiohttp's."""
    made = web.Response(status=reply.status, body=reply.body)
    if reply.content_type:
        made.headers["Content-Type"] = reply.content_type
    elif not reply.body:
        made.headers.popall("Content-Type", None)
    made.headers["X-Content-Type-Options"] = "nosniff"
    for name, value in reply.headers:
        made.headers.add(name, value)
    return made


def _failed(error: ProuterError, call: Call, request: web.BaseRequest) -> web.Response:
    """The problem; an answer that was begun is cut: closed before its framing says that it ended."""
    if begun(request):
        log.warning("an answer to request %s breaks off: %s", call.request_id, error.detail)
        if request.transport is not None:
            request.transport.close()
        return web.Response()  # finds the connection closed; what we raise here aiohttp would log as an error of ours
    note(error, call.request_id, call.head)
    return response(problem(error, call.request_id))


def begun(request: web.BaseRequest) -> bool:
    """Whether a byte of the answer was written: from then on an error can only be a cut."""
    writer = request.writer
    return bool(getattr(writer, "output_size", 0))


def give_leave(request: web.BaseRequest) -> None:
    """RFC 9110 10.1.1: who asks whether to send the body is told to."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


async def _body(route: Route, request: web.BaseRequest, limits: BodyLimits) -> Any:
    """The JSON body of a route with a schema. Raises InvalidRequest, SchemaMismatch, TooLarge."""
    if route.schema is None:
        return None
    try:
        async with asyncio.timeout(limits.seconds):
            raw = await _read(request, limits)
    except TimeoutError:
        raise TooSlow(f"the body was not complete within {limits.seconds:g} s") from None
    if not raw.strip() and route.schema_optional:
        value: Any = {}
    else:
        value = parse_json(raw) if len(raw) <= AT_ONCE_BYTES else await asyncio.to_thread(parse_json, raw)
    await check(value, route.schema, elements=bounded_elements(value, limits.elements))
    return value


async def _read(request: web.BaseRequest, limits: BodyLimits) -> bytes:
    raw = bytearray()
    async for chunk in request.content.iter_any():
        raw += chunk
        if len(raw) > limits.size_bytes:
            raise _too_long(limits)
    return bytes(raw)


def _refuse_length(request: web.BaseRequest, limits: BodyLimits) -> None:
    """Before anybody is told to send it. Raises TooLarge."""
    if (request.content_length or 0) > limits.size_bytes:
        raise _too_long(limits)


def _too_long(limits: BodyLimits) -> TooLarge:
    return TooLarge(f"the body is longer than {limits.size_bytes} bytes")


def parse_json(raw: bytes) -> Any:
    """Strictly: no NaN, no number too large, no duplicate keys (RFC 8259 leaves that to us). Raises InvalidRequest."""
    try:
        return json.loads(
            raw.decode("utf-8"),
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_whole,
            object_pairs_hook=_no_duplicates,
        )
    except UnicodeDecodeError:
        raise InvalidRequest("Invalid request: the body is not UTF-8") from None
    except RecursionError:
        raise InvalidRequest("Invalid request: the body is nested too deeply") from None
    except ValueError as error:
        raise InvalidRequest(f"Invalid request: the body is no JSON: {error}") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _whole(text: str) -> int:
    """Whoever compares it with other numbers, or shows it, may take it for a float."""
    if len(text) > LONGEST_SURE:
        _finite(text)
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:40]} is too large a number")
    return number


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name occurs twice in an object")
    return value
