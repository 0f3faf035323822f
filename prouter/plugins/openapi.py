"""GET /openapi.json, made from the table of routes so that it can not drift, and GET /docs, a page that reads it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from prouter import hookimpl
from prouter.model.http import Reply
from prouter.model.plugin import Call, Route
from prouter.model.schemas import PROBLEM
from prouter.model.services import Router

ABOUT = """Jobs on machines that you can not reach, behind one API.

A job's routes exist in two forms with the same meaning: `/jobs/{job}/...`, shown here, and `/jobs/{agent}/{job}/...`
with the agent's uid percent-encoded. `/jobs/{job}/http/...` and `/jobs/{job}/port/{name}/...` are the job's own web
server, any method, Websocket too. Errors are problem documents (RFC 9457)."""
POLICY = (
    "default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'"
)
SERVER_ERRORS = {
    "501": "Not possible with this agent.",
    "502": "The job's server, or the agent, failed.",
    "503": "For the moment nobody can do this; see Retry-After.",
    "504": "It took too long.",
    "507": "No room.",
}


class OpenApi:
    """Plugin `openapi`."""

    def __init__(self) -> None:
        self._router: Router | None = None
        self._document: dict[str, Any] = {}
        self._html = files(__package__).joinpath("openapi.html").read_bytes()  # its file may be gone later: upgrades

    @hookimpl
    def prouter_startup(self, router: Router) -> None:
        self._router = router

    @hookimpl
    def prouter_routes(self) -> Sequence[Route]:
        read = ("GET", "HEAD")
        return [
            Route(read, "/openapi.json", "api.read", "This description (OpenAPI 3.1).", self._describe),
            Route(read, "/docs", "api.read", "This description as a page.", self._page, media_type="text/html"),
        ]

    async def _describe(self, call: Call) -> Reply:
        assert self._router is not None
        if not self._document:
            self._document = describe(self._router.describe.routes(), self._router.version)
        return Reply.json(self._document | {"servers": [{"url": call.public_prefix or "/"}]})

    async def _page(self, call: Call) -> Reply:
        return Reply(200, (("Content-Security-Policy", POLICY),), self._html, "text/html; charset=utf-8")


def describe(routes: Sequence[Route], version: str) -> dict[str, Any]:
    """The whole document."""
    paths: dict[str, dict[str, Any]] = {}
    for route in sorted(routes, key=lambda route: route.path):
        for method in route.methods:
            paths.setdefault(_path(route), {})[method.lower()] = _operation(route, method)
    return {
        "openapi": "3.1.0",
        "info": {"title": "prouter", "version": version, "description": ABOUT},
        "paths": paths,
        "components": {
            "schemas": {"Problem": PROBLEM},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "token": {"type": "apiKey", "in": "header", "name": "X-Prouter-Token"},
            },
        },
        "security": [{"bearer": []}, {"token": []}, {}],
    }


def _path(route: Route) -> str:
    return route.path.replace("...}", "}")


def _operation(route: Route, method: str) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{method.lower()} {_path(route)}",
        "summary": route.summary,
        "description": f"Authorized as `{route.action}`.",
        "tags": [route.action.partition(".")[0]],
        "parameters": [*_path_parameters(route), *_query_parameters(route)],
        "responses": _responses(route, method),
    }
    if route.public:
        operation["security"] = []
    if route.schema is not None:
        operation["requestBody"] = {
            "required": not route.schema_optional,
            "content": {"application/json": {"schema": route.schema}},
        }
    elif route.binary_body and method != "DELETE":
        operation["requestBody"] = {"content": {"application/octet-stream": {"schema": {}}}}
    return operation


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    """A `{rest...}` may hold slashes, which OpenAPI can not say but in words."""
    found = []
    for name, dots in re.findall(r"\{(\w+)(\.\.\.)?\}", route.path):
        about = "A path, slashes and all." if dots else f"The {name}."
        schema: dict[str, Any] = {"type": "string", "minLength": 1}
        found.append({"name": name, "in": "path", "required": True, "schema": schema, "description": about})
    return found


def _query_parameters(route: Route) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "query",
            "description": str(schema.get("description", "")),
            "schema": {key: value for key, value in schema.items() if key != "description"},
        }
        for name, schema in route.query.items()
    ]


def _responses(route: Route, method: str) -> dict[str, Any]:
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    responses: dict[str, Any] = {}
    for status, what in ({200: "It is done."} | dict(route.answers)).items():
        content: Mapping[str, Any] = {}
        if status < 300 and method != "HEAD" and status != 204 and route.media_type:
            content = {route.media_type: {"schema": route.answer or {}}}
        responses[str(status)] = {"description": what} | ({"content": content} if content else {})
    responses["4XX"] = {"description": "The request can not be served as it is.", "content": problem}
    responses |= {status: {"description": what, "content": problem} for status, what in SERVER_ERRORS.items()}
    return responses
