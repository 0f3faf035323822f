"""Each plugin of the router with a request that is its own, and how a router says that it is not there."""

from __future__ import annotations

from typing import Any

import aiohttp
from importlib_metadata import entry_points

JOB = "/jobs/some-agent/some-job"
OWN_REQUESTS: dict[str, tuple[str, str, Any]] = {
    "admin_api": ("GET", "/connections", None),
    "archive_transfer": ("GET", f"{JOB}/archive", None),
    "clean_up": ("GET", "/agents/some-agent/clean-up", None),
    "debug_state": ("GET", "/debug/state", None),
    "draining": ("POST", "/agents/some-agent/drain", None),
    "events_api": ("GET", "/events", None),
    "explain": ("GET", f"{JOB}/explain", None),
    "file_transfer": ("GET", f"{JOB}/file/x", None),
    "health": ("GET", "/healthz", None),
    "http_proxy": ("GET", f"{JOB}/http/", None),
    "job_control": ("POST", f"{JOB}/stop", {}),
    "job_output": ("GET", f"{JOB}/output", None),
    "jobs_api": ("GET", "/jobs", None),
    "metrics": ("GET", "/metrics", None),
    "openapi": ("GET", "/openapi.json", None),
    "ws_bridge": ("POST", f"{JOB}/wsconnect/x", {"url": "ws://127.0.0.1:9"}),
    "selector_uid": ("POST", "/jobs/create", {"agent": {"type": "uid", "uid": "x"}, "name": ""}),
    "selector_address": ("POST", "/jobs/create", {"agent": {"type": "address"}, "name": ""}),
    "selector_labels": ("POST", "/jobs/create", {"agent": {"type": "labels", "match": {}}, "name": ""}),
    "selector_select": ("POST", "/jobs/create", {"agent": {"type": "select", "uids": ["x"]}, "name": ""}),
}
"""Plugin: verb, path, body. Answered by anything but `missing` while the plugin is loaded."""


def built_in(group: str = "prouter.plugins") -> set[str]:
    return {point.name for point in entry_points(group=group) if point.dist and point.dist.name == "prouter"}


def off(*names: str) -> list[str]:
    return [word for name in sorted(names) for word in ("--no-plugin", name)]


async def missing(session: aiohttp.ClientSession, url: str, plugin: str) -> str:
    """The detail by which the answer to the plugin's own request says that nobody serves it; else empty."""
    verb, path, body = OWN_REQUESTS[plugin]
    async with session.request(verb, url + path, json=body) as answer:
        if answer.status < 400:
            return ""
        assert answer.content_type == "application/problem+json"
        problem = await answer.json()
        assert answer.status != 500
        nobody = problem["type"] == "urn:prouter:route-not-found" or "no plugin that is loaded" in problem["detail"]
        return str(problem["detail"]) if nobody else ""
