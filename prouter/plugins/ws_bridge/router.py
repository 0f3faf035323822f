"""The route, and the bridge between the job's websocket and the caller's."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import SplitResult, urlsplit, urlunsplit

from prouter import hookimpl
from prouter.errors import InvalidRequest, ProuterError, TimedOut, TooManyRequests, UpstreamFailed
from prouter.model.http import Reply
from prouter.model.plugin import Call, ConfigSection, Route, idempotency_key
from prouter.model.proxying import Bridge
from prouter.model.services import JobStream, Router
from prouter.plugins.ws_bridge.frames import BadFrame, Masker
from prouter.plugins.ws_bridge.handshake import open_websocket

DEFAULT_PORTS = {"ws": 80, "http": 80, "wss": 443, "https": 443}
"""Clients of the original name their websocket with http."""
PLAIN_SCHEMES = {"http": "ws", "https": "wss"}
READ_BYTES = 65536
MAX_HOST, MAX_LABEL = 253, 63
SCHEMA = {
    "type": "object",
    "properties": {
        "url": {
            "type": "string",
            "pattern": "^([wW][sS]|[hH][tT][tT][pP])[sS]?://",
            "maxLength": 8192,
            "description": "Of the caller's websocket; http stands for ws, https for wss.",
        }
    },
    "required": ["url"],
    "additionalProperties": False,
}


class WsBridge:
    """Plugin `ws_bridge`."""

    def __init__(self) -> None:
        self._router: Router | None = None
        self._settings: dict[str, Any] = {}
        self._open = 0

    @hookimpl
    def prouter_config_sections(self) -> Sequence[ConfigSection]:
        return [
            ConfigSection(
                "bridges",
                {
                    "max_count": {
                        "type": "integer",
                        "minimum": 1,
                        "default": 1000,
                        "description": "Bridges between websockets at the same time; beyond it wsconnect is 429.",
                    },
                    "connect_timeout": {
                        "type": "number",
                        "exclusiveMinimum": 0,
                        "default": 10,
                        "description": "Seconds within which either websocket must be open.",
                    },
                },
            )
        ]

    @hookimpl
    def prouter_startup(self, router: Router) -> None:
        self._router = router
        self._settings = dict(router.config.section("bridges"))

    @hookimpl
    def prouter_routes(self) -> Sequence[Route]:
        summary = "Join the job's websocket at this path to one of your own server."
        post, action = ("POST",), "job.bridge"
        return [
            Route(post, f"/jobs/{{job}}/wsconnect{rest}", action, summary, self._connect, schema=SCHEMA, media_type="")
            for rest in ("", "/{rest...}")
        ]

    async def _connect(self, call: Call) -> Reply:
        """200 once the job's websocket is open; what follows is nobody's request any more."""
        assert self._router is not None
        url, key = _checked(call.body["url"]), idempotency_key(call.head)
        await self._router.may_bridge(_described(call, url), call.principal)
        if key is None:
            return await self._begin(call, url)
        asked = (call.head.target, call.body["url"], tuple(call.head.all("sec-websocket-protocol")))
        return await self._router.repeats.do(("wsconnect", call.job_ref(), key), asked, lambda: self._begin(call, url))

    async def _begin(self, call: Call, url: SplitResult) -> Reply:
        assert self._router is not None
        if self._open >= self._settings["max_count"]:
            raise TooManyRequests(
                f"{self._open} bridges are open, which is the limit (bridges.max_count)", headers={"Retry-After": "10"}
            )
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._router.tasks.start(f"bridge of {call.job_ref().job}", self._bridge(call, url, opened))
        await opened
        return Reply(200)

    async def _bridge(self, call: Call, url: SplitResult, opened: asyncio.Future[None]) -> None:
        """The whole life of one; owns both connections. What goes wrong once `opened` is done becomes an event."""
        assert self._router is not None
        self._open += 1
        try:
            async with self._router.jobs.open_job(call.job_ref()) as job:
                try:
                    chosen, early = await self._open_at_job(call, job)
                except TimeoutError:
                    seconds = self._settings["connect_timeout"]
                    raise TimedOut(f"the job did not answer the websocket handshake within {seconds:g} s") from None
                if opened.cancelled():  # the caller has gone
                    return
                opened.set_result(None)
                async with self._open_at_caller(url, chosen) as (remote, remote_early):
                    await _join((job, early), (remote, remote_early))
        except (ProuterError, OSError, ValueError) as error:
            if opened.done():
                self._router.failed(f"bridge of job {call.job_ref().job}", _explained(error).detail)
            else:
                opened.set_exception(_explained(error))
        finally:
            self._open -= 1
            opened.cancel()

    async def _open_at_job(self, call: Call, job: JobStream) -> tuple[str | None, bytes]:
        protocols = [("Sec-WebSocket-Protocol", value) for value in call.head.all("sec-websocket-protocol")]
        assert self._router is not None
        port = self._router.jobs.get(call.job_ref()).default_port()
        above, host = "", "localhost"
        if port is not None:
            above = call.job_ref().port_path(port.name) if port.keep_prefix else ""
            host = port.authority
        target = f"{above}{_target(call)}"
        async with asyncio.timeout(self._settings["connect_timeout"]):
            return await open_websocket(job, target, host, protocols)

    @asynccontextmanager
    async def _open_at_caller(self, url: SplitResult, protocol: str | None) -> AsyncIterator[tuple[JobStream, bytes]]:
        host, port = url.hostname or "", url.port or DEFAULT_PORTS[url.scheme]
        tls = ssl.create_default_context() if url.scheme in ("wss", "https") else None
        async with asyncio.timeout(self._settings["connect_timeout"]):
            reader, writer = await asyncio.open_connection(host, port, ssl=tls, limit=READ_BYTES)
        stream = _Stream(reader, writer)
        try:
            offered = [("Sec-WebSocket-Protocol", protocol)] if protocol is not None else []
            target = (url.path or "/") + (f"?{url.query}" if url.query else "")
            async with asyncio.timeout(self._settings["connect_timeout"]):
                _, early = await open_websocket(stream, target, url.netloc.rpartition("@")[2], offered)
            yield stream, early
        finally:
            writer.close()


class _Stream:
    """A connection to the caller's server, as a JobStream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        return await self._reader.read(READ_BYTES)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()


async def _join(left: tuple[JobStream, bytes], right: tuple[JobStream, bytes]) -> None:
    """Frames both ways until one of the servers closes. Raises ConnectionError, BadFrame for a cut."""
    failed: Exception | None = None
    try:
        async with asyncio.TaskGroup() as pumps:
            pumps.create_task(_pump(*left, right[0]), name="bridge: from the job")
            pumps.create_task(_pump(*right, left[0]), name="bridge: to the job")
    except* _Ended:
        pass
    except* (OSError, BadFrame) as errors:
        failed = errors.exceptions[0]
    if failed is not None:  # raised within except*, it would come as a group before Python 3.11.4
        raise failed from None


async def _pump(source: JobStream, early: bytes, sink: JobStream) -> None:
    masker = Masker()
    data = early or await source.read()
    while data:
        await sink.write(masker.feed(data))
        data = await source.read()
    if masker.amid:
        raise BadFrame("it closed amid a frame")
    raise _Ended


class _Ended(Exception):
    """One side closed cleanly; ends the other pump."""


def _target(call: Call) -> str:
    """What the job is asked for, below its own root."""
    return f"/{call.raw.get('rest', '')}" + (f"?{call.head.query}" if call.head.query else "")


def _described(call: Call, url: SplitResult) -> Bridge:
    """The bridge, for who says whether it may be: the caller's URL in one spelling, without user and password."""
    host = url.hostname or ""
    place = (f"[{host}]" if ":" in host else host) + (f":{url.port}" if url.port is not None else "")
    shown = urlunsplit((PLAIN_SCHEMES.get(url.scheme, url.scheme), place, url.path or "/", url.query, ""))
    offered = ",".join(call.head.all("sec-websocket-protocol")).split(",")
    return Bridge(call.job_ref(), _target(call), shown, [name.strip() for name in offered if name.strip()])


def _checked(text: str) -> SplitResult:
    try:
        url = urlsplit(text)
        port_is_a_number = url.port is None or url.port > 0
    except ValueError:
        port_is_a_number = False
    spelled = text.isascii() and text.isprintable() and " " not in text
    if not port_is_a_number or not spelled or not _is_host(url.hostname or ""):
        raise InvalidRequest("Invalid request: `url` is no URL of a websocket (ws://HOST:PORT/PATH)")
    return url


def _is_host(text: str) -> bool:
    """Whether it can be looked up at all (RFC 1035 2.3.4), or is an address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return len(text) <= MAX_HOST and all(0 < len(label) <= MAX_LABEL for label in text.removesuffix(".").split("."))
    return True


def _explained(error: Exception) -> ProuterError:
    if isinstance(error, ProuterError):
        return error
    reason = "it took too long" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
    return UpstreamFailed(f"a websocket of the bridge failed: {reason}")
