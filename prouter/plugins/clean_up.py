"""GET /agents/UID/clean-up, a dry run: which finished jobs an agent would remove by itself, under whichever limits.

The agent decides and removes (`jobs.finished_ttl`, `jobs.disk_quota`); both halves only pass on what it says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prouter import hookimpl
from prouter.errors import InvalidRequest, MethodNotFound, NotPossible, UpstreamFailed
from prouter.model.http import Reply
from prouter.model.ids import AgentUid
from prouter.model.plugin import Call, Route, RpcKind, RpcMethod
from prouter.model.schemas import CLEAN_UP
from prouter.model.services import AgentHost, Router

METHOD = "clean_up_outlook"
QUERY = {
    "finished_ttl": {"type": "number", "minimum": 0, "description": "Seconds, instead of the agent's own."},
    "disk_quota": {"type": "integer", "minimum": 0, "description": "Bytes, instead of the agent's own."},
}


class CleanUp:
    """Plugin `clean_up` of the router."""

    def __init__(self) -> None:
        self._router: Router | None = None

    @hookimpl
    def prouter_startup(self, router: Router) -> None:
        self._router = router

    @hookimpl
    def prouter_routes(self) -> Sequence[Route]:
        path, words = "/agents/{agent}/clean-up", "Finished jobs that an agent would remove by itself now."
        # It names jobs: who may see those of all agents may see these.
        return [Route(("GET", "HEAD"), path, "job.read", words, self._outlook, query=QUERY, answer=CLEAN_UP)]

    async def _outlook(self, call: Call) -> Reply:
        assert self._router is not None
        uid = AgentUid(call.params["agent"])
        seconds, size = _number(call.query, "finished_ttl"), _number(call.query, "disk_quota")
        try:
            told = await self._router.agents.call(uid, METHOD, seconds, None if size is None else int(size))
        except MethodNotFound:
            raise NotPossible(
                f"agent {uid!r} does not tell what it would remove: it is older, or has no clean_up"
            ) from None
        if not isinstance(told, Mapping):
            raise UpstreamFailed(f"agent {uid!r} did not say what it would remove")
        return Reply.json(told)


class AgentCleanUp:
    """Plugin `clean_up` of the agent."""

    def __init__(self) -> None:
        self._agent: AgentHost | None = None

    @hookimpl
    def prouter_startup(self, agent: AgentHost) -> None:
        self._agent = agent

    @hookimpl
    def prouter_rpc_methods(self) -> Sequence[RpcMethod]:
        return [RpcMethod(METHOD, RpcKind.UNARY, self._outlook)]

    async def _outlook(self, stream: Any, finished_seconds: Any = None, disk_bytes: Any = None) -> Mapping[str, Any]:
        assert self._agent is not None
        for given in (finished_seconds, disk_bytes):
            if given is not None and (isinstance(given, bool) or not isinstance(given, int | float) or not given >= 0):
                raise InvalidRequest("Invalid request: finished_ttl and disk_quota are numbers that are not negative")
        return await self._agent.would_remove(finished_seconds, disk_bytes)


def _number(query: Mapping[str, str], name: str) -> float | None:
    """Raises InvalidRequest."""
    text = query.get(name)
    if text is None:
        return None
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found < 2**53:
        raise InvalidRequest(f"Invalid request: {name} is a number that is not negative, not {text[:80]!r}")
    return found
