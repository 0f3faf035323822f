"""Answering an API request with a route's handler: body read and validated, handler called, errors as problem+json.

The same for the router's control endpoint (through the stand-in) and the agent's service (aiohttp on the pipe itself).
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from typing import Any

import jsonschema
from aiohttp import web

from prouter.errors import Internal, InvalidRequest, ProuterError, SchemaMismatch, TooLarge
from prouter.model.http import Reply
from prouter.model.plugin import Call, Route
from prouter.pluginkit.schema import mistake_text
from prouter.web.outcomes import Serve
from prouter.web.problem import note, problem

log = logging.getLogger(__name__)

MAX_MISTAKES = 20
"""Of a body against its schema; more help nobody."""


def serve_route(route: Route, call: Call, *, body_limit_bytes: int) -> Serve:
    """The outcome for a route with a handler."""
    return Serve(lambda request: answer(route, call, request, body_limit_bytes=body_limit_bytes))


async def answer(route: Route, call: Call, request: web.BaseRequest, *, body_limit_bytes: int) -> web.StreamResponse:
    """The handler's answer, or the problem; an answer that was begun and can not be ended is cut."""
    try:
        await _continue(request)
        body = await _body(route, request, body_limit_bytes)
        assert route.handler is not None
        result = await route.handler(dataclasses.replace(call, body=body, request=request))
        return response(result) if isinstance(result, Reply) else result
    except ProuterError as error:
        return _failed(error, call, request)
    except ConnectionError:  # the client has gone, which is no error of ours
        if request.transport is not None:
            request.transport.close()
        return web.Response()
    except web.HTTPException:
        raise
    except (Exception, SystemExit):  # a plugin's handler may want to leave; we stay
        log.exception("%s %s failed", call.head.method, call.head.path)
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


async def _continue(request: web.BaseRequest) -> None:
    """RFC 9110 10.1.1: who asks whether to send the body is told to."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


async def _body(route: Route, request: web.BaseRequest, limit_bytes: int) -> Any:
    """The JSON body of a route with a schema. Raises InvalidRequest, SchemaMismatch, TooLarge."""
    if route.schema is None:
        return None
    raw = bytearray()
    async for chunk in request.content.iter_any():
        raw += chunk
        if len(raw) > limit_bytes:
            raise TooLarge(f"the body is longer than {limit_bytes} bytes")
    if not raw.strip() and route.schema_optional:
        value: Any = {}
    else:
        value = parse_json(bytes(raw))
    check(value, route.schema)
    return value


def parse_json(raw: bytes) -> Any:
    """Strictly: no NaN, no number too large, no duplicate keys (RFC 8259 leaves that to us). Raises InvalidRequest."""
    try:
        return json.loads(
            raw.decode("utf-8"), parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_no_duplicates
        )
    except UnicodeDecodeError:
        raise InvalidRequest("Invalid request: the body is not UTF-8") from None
    except RecursionError:
        raise InvalidRequest("Invalid request: the body is nested too deeply") from None
    except ValueError as error:
        raise InvalidRequest(f"Invalid request: the body is no JSON: {error}") from None


def check(value: Any, schema: Any) -> None:
    """Raises SchemaMismatch."""
    found = jsonschema.Draft202012Validator(schema).iter_errors(value)
    mistakes = [
        ("".join(f"/{_escape(str(part))}" for part in error.absolute_path), mistake_text(error))
        for error, _ in zip(found, range(MAX_MISTAKES), strict=False)
    ]
    if mistakes:
        raise SchemaMismatch(mistakes)


def _escape(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


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
