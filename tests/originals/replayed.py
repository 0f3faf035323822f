"""A recording told again: each call that its router made becomes the HTTP request that makes a router do so."""

from __future__ import annotations

import asyncio
import io
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
from normal import COUNTING
from recordings import Recorded, Recording
from wiretap import Wiretap
from yarl import URL

from prouter.testing.processes import eventually

TOKEN = "golden-token"
AGENT = {"uid": "golden-agent", "name": "golden agent"}
ROUTER = {"uid": "golden-router", "name": "golden router"}
"""Of the two in the recordings."""
TOLD_AGAIN = [
    "archive",
    "batch_wait",
    "create_info_remove",
    "file_missing",
    "file_upload_download",
    "http_304",
    "http_cancelled",
    "http_chunked",
    "http_errors",
    "http_get",
    "http_gzip",
    "http_head",
    "http_post_100k",
    "http_start",
    "remove_while_waiting",
    "start_fails",
    "start_missing_program",
    "start_twice",
    "unknown_job",
    "wait_cancelled",
    "ws_closed_by_job",
    "ws_echo",
    "ws_rejected",
]
"""The recordings that a test tells again over a link that the agent dialed."""
TIMEOUT = aiohttp.ClientTimeout(total=30)
OWN_HEADERS = ["Accept", "Accept-Encoding", "User-Agent", "Content-Type"]
"""What the client would add by itself."""
CLOSING = (1000).to_bytes(2, "big")


class Replay:
    """`base` is the router's control API, `tap` listens to its link with the agent."""

    def __init__(self, recording: Recording, base: str, locator: dict[str, str], tap: Wiretap) -> None:
        self._recording = recording
        self._base = base
        self._locator = locator
        self._tap = tap
        self._paths: dict[str, str] = {}
        """Of jobs, by the uid that they had in the recording."""
        self._requests: dict[int, asyncio.Task[None]] = {}
        """Not over, by the id that the call had in the recording."""

    async def run(self) -> None:
        """All of it; what was open when the next thing was done is open here, too."""
        async with aiohttp.ClientSession(timeout=TIMEOUT, skip_auto_headers=OWN_HEADERS) as session:
            for number, call in enumerate(self._recording.calls()):
                if call.fields[3] != COUNTING:
                    self._requests[call.call_id] = await self._begin(session, call)
                    await self._until_what_is_next(call, number)

    async def _begin(self, session: aiohttp.ClientSession, call: Recorded) -> asyncio.Task[None]:
        """The request, once the router made its call."""
        seen = len(self._calls())
        request = asyncio.create_task(self._perform(session, call))
        await eventually(lambda: len(self._calls()) > seen or request.done(), what=f"the call {call.fields[:4]}")
        return request

    def _calls(self) -> list[Recorded]:
        return [call for call in self._tap.calls() if call.fields[3] != COUNTING]

    async def _until_what_is_next(self, call: Recorded, number: int) -> None:
        """Until the results are there that were there before the next call, and its client is gone if it went away."""
        meanwhile = self._between(number)
        of_it = [message.kind for message in meanwhile if message.call_id == call.call_id]
        if 3 in of_it:
            await self._go_away(call, after_chunks=of_it.count(8))
        for message in meanwhile:
            if message.kind == 7 and message.call_id in self._requests:
                await self._requests.pop(message.call_id)

    async def _go_away(self, call: Recorded, *, after_chunks: int) -> None:
        made, request = self._calls()[-1].call_id, self._requests.pop(call.call_id)
        await eventually(lambda: self._tap.kinds_of(made).count(8) >= after_chunks, what="what the client read")
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
        await eventually(lambda: 3 in self._tap.kinds_of(made), what="the cancel")

    def _between(self, number: int) -> list[Recorded]:
        """The messages after that call and before the next."""
        calls = [index for index, message in enumerate(self._recording.messages) if message.kind == 2]
        return self._recording.messages[calls[number] : [*calls, None][number + 1]]

    def _said(self, call: Recorded, *, by: str, kind: int) -> list[Any]:
        """Data of that call's stream in the recording."""
        messages = self._recording.messages
        return [m.fields[2] for m in messages if (m.sender, m.kind, m.call_id) == (by, kind, call.call_id)]

    # Requests

    async def _perform(self, session: aiohttp.ClientSession, call: Recorded) -> None:
        _, _, _, method, args, kwargs = call.fields
        if method == "job_create":
            info = await self._post(session, "/jobs/create", {"agent": self._locator, "name": args[0]})
            recorded = next(m for m in self._recording.messages if m.kind == 7 and m.call_id == call.call_id)
            self._paths[recorded.result()["uid"]] = info["path"]
            return
        path = self._paths.get(args[0]) or self._paths[next(iter(self._paths))].rsplit("/", 1)[0] + f"/{args[0]}"
        match method:
            case "job_start":
                names = ("args", "env", "cwd", "port_expected_count", "forward_stdout")
                await self._post(session, f"{path}/start", dict(zip(names, args[1:], strict=True)))
            case "job_wait" | "job_remove":
                await self._post(session, f"{path}/{method.removeprefix('job_')}", None)
            case "job_info":
                await self._ask(session, "GET", f"{path}/info")
            case "http_request":
                await self._pass(session, call, path)
            case "ws_connect":
                await self._websocket(session, call, path)
            case "file_upload" | "file_download":
                query = [[name, "1"] for name, wanted in kwargs.items() if wanted]
                await self._file(session, call, f"{path}/file/{args[1]}", query)
            case "archive_upload" | "archive_download":
                words = {"include_mask": "include", "exclude_mask": "exclude", "compress": "compress"}
                query = [[words[name], str(int(v) if v is True else v)] for name, v in kwargs.items() if v]
                await self._file(session, call, f"{path}/archive", query)

    async def _ask(self, session: aiohttp.ClientSession, verb: str, path: str, **request: Any) -> bytes:
        url = URL(self._base + path, encoded=True)
        async with session.request(verb, url, allow_redirects=False, **request) as answer:
            return await answer.read()

    async def _post(self, session: aiohttp.ClientSession, path: str, body: Any) -> Any:
        async with session.post(self._base + path, json=body) as answer:
            return await answer.json() if answer.status == 200 else None

    async def _file(self, session: aiohttp.ClientSession, call: Recorded, path: str, query: list[list[str]]) -> None:
        url = f"{quote(path)}?{_query(query)}"
        if call.fields[3].endswith("_download"):
            await self._ask(session, "GET", url)
            return
        body = io.BytesIO(b"".join(self._said(call, by="router", kind=4)))
        await self._ask(session, "POST", url, data=body, headers={"Content-Type": "application/octet-stream"})

    async def _pass(self, session: aiohttp.ClientSession, call: Recorded, path: str) -> None:
        _, method, rest, query, headers = call.fields[4]
        body = b"".join(self._said(call, by="router", kind=4))
        sent = [(name, value) for name, value in headers if name != "Content-Length" or method == "GET"]
        data = {"data": io.BytesIO(body)} if body else {}
        url = f"{path}/http{quote(rest)}?{_query(query)}"
        try:
            await self._ask(session, method, url, headers=sent, **data)
        except aiohttp.ClientPayloadError:
            pass  # the original's answers do not always have the length that they say

    async def _websocket(self, session: aiohttp.ClientSession, call: Recorded, path: str) -> None:
        _, rest, query, headers = call.fields[4]
        sent = [(name, value) for name, value in headers if name in ("Host", "User-Agent", "Accept", "Accept-Encoding")]
        url = URL(f"{self._base}{path}/http{quote(rest)}?{_query(query)}", encoded=True)
        try:
            async with session.ws_connect(url, headers=sent, autoclose=False) as websocket:
                await self._talk(websocket, call)
        except aiohttp.WSServerHandshakeError:
            assert self._said(call, by="agent", kind=8) in ([], [False])

    async def _talk(self, websocket: aiohttp.ClientWebSocketResponse, call: Recorded) -> None:
        of_it = [m for m in self._recording.messages if m.call_id == call.call_id]
        for message in of_it:
            match (message.sender, message.kind):
                case ("router", 4) if isinstance(message.fields[2], str):
                    await websocket.send_str(message.fields[2])
                case ("router", 4):
                    await websocket.send_bytes(message.fields[2])
                case ("agent", 8) if message.fields[2] is not True:
                    assert (await websocket.receive()).data == message.fields[2]
                case ("router", 5):
                    await websocket.send_frame(CLOSING, aiohttp.WSMsgType.CLOSE)
                case ("agent", 9):
                    assert (await websocket.receive()).type is aiohttp.WSMsgType.CLOSE
        # The connection stays until then: a router that sees its client gone cancels the call.
        made = self._calls()[-1].call_id
        await eventually(lambda: 7 in self._tap.kinds_of(made), what="the result")


def _query(pairs: list[list[str]]) -> str:
    return urlencode([(name, value) for name, value in pairs])
