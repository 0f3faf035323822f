"""The plugin: which methods there are, and that there is a server to reach."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from prouter import hookimpl
from prouter.errors import InvalidRequest, JobInvalidState, OriginalError, PortNotFound
from prouter.model.ids import JobUid
from prouter.model.plugin import RpcKind, RpcMethod, RpcStream
from prouter.model.reached import ReachedPort
from prouter.model.services import AgentHost


class OriginalProxy:
    """Plugin `original_proxy` of the agent."""

    def __init__(self) -> None:
        self._agent: AgentHost | None = None
        self._exchange: Callable[..., Awaitable[None]]
        self._bridge: Callable[..., Awaitable[None]]

    @hookimpl
    def prouter_startup(self, agent: AgentHost) -> None:
        """Imports aiohttp: later than `--help`, and before the files on disk may be those of another version."""
        from prouter.plugins.original_proxy.exchange import exchange
        from prouter.plugins.original_proxy.websocket import bridge

        self._agent = agent
        self._exchange, self._bridge = exchange, bridge

    @hookimpl
    def prouter_rpc_methods(self) -> Sequence[RpcMethod]:
        return [
            RpcMethod("http_request", RpcKind.BISTREAM, self._http_request),
            RpcMethod("ws_connect", RpcKind.BISTREAM, self._ws_connect),
        ]

    async def _http_request(
        self, stream: RpcStream, job_uid: Any, method: Any, path: Any, query: Any, headers: Any
    ) -> None:
        """Status, headers, chunks of the body; without a job or a server nothing but the error."""
        if not isinstance(method, str) or not isinstance(path, str):
            raise InvalidRequest("Invalid request: a method and a path are texts")
        async with self._reached(job_uid) as port:
            await self._exchange(stream, port, method, path, _pairs(query), _pairs(headers))

    async def _ws_connect(self, stream: RpcStream, job_uid: Any, path: Any, query: Any, headers: Any) -> None:
        """True or false, then messages both ways; without a job or a server nothing but the error."""
        if not isinstance(path, str):
            raise InvalidRequest("Invalid request: a path is a text")
        async with self._reached(job_uid) as port:
            await self._bridge(stream, port, path, _pairs(query), _pairs(headers))

    @asynccontextmanager
    async def _reached(self, job_uid: Any) -> AsyncIterator[ReachedPort]:
        assert self._agent is not None
        reaching = self._agent.ports.reach(JobUid(str(job_uid)))
        try:
            port = await reaching.__aenter__()
        except (JobInvalidState, PortNotFound) as error:
            raise OriginalError("ValueError", "job does not contain a running server", error.detail) from error
        try:
            yield port
        finally:
            await reaching.__aexit__(None, None, None)


def _pairs(value: Any) -> list[tuple[str, str]]:
    """Raises InvalidRequest."""
    try:
        pairs = [(name, content) for name, content in value]
    except (TypeError, ValueError):
        pairs = [(None, None)]
    if not all(isinstance(part, str) for pair in pairs for part in pair):
        raise InvalidRequest("Invalid request: query and headers are pairs of texts")
    return pairs
