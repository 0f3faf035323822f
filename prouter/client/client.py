"""The API as methods. One `Client` for a router, one `Job` for a job; every failure is a `RequestFailed`.

Written against the HTTP API alone, so it works with any router that keeps it. Called by the demo, the tests and users.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp

from prouter.errors import ProuterError

CHUNK_BYTES = 1024 * 1024


class RequestFailed(ProuterError):
    """The router answered with an error. `problem` is its document (RFC 9457)."""

    code = "request-failed"

    def __init__(self, http_status: int, problem: Mapping[str, Any]) -> None:
        self.http_status = http_status
        self.problem = problem
        title, detail = str(problem.get("title", "")), str(problem.get("detail", ""))
        words = detail if title and detail.startswith(title) else f"{title}: {detail}"  # some details begin with it
        super().__init__(f"{http_status} {words}")


class Client:
    """A router at `url` ("http://127.0.0.1:8080"); `token` where it wants one. An async context manager."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        headers = {"X-Prouter-Token": self._token} if self._token else {}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        self._session = aiohttp.ClientSession(headers=headers, timeout=timeout, auto_decompress=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        """aiohttp's session, for requests that have no method here (proxied HTTP and Websockets)."""
        if self._session is None:
            raise RuntimeError("use the client as an async context manager")
        return self._session

    async def request(self, verb: str, path: str, body: Any = None, **query: Any) -> Any:
        """One call of the API; its JSON answer, or None. Raises RequestFailed."""
        params = {key: str(value) for key, value in query.items() if value is not None}
        async with self.session.request(verb, self.url + path, json=body, params=params) as answer:
            await check(answer)
            content = await answer.read()
        return json.loads(content) if content else None

    async def info(self) -> dict[str, Any]:
        """The router itself."""
        found: dict[str, Any] = await self.request("GET", "/info")
        return found

    async def agents(self) -> list[dict[str, Any]]:
        found: dict[str, Any] = await self.request("GET", "/agents")
        return list(found["agents"])

    async def drain(self, agent: str) -> dict[str, Any]:
        """The agent takes no new jobs, those that it has go on; its entry as in `agents`."""
        found: dict[str, Any] = await self.request("POST", f"/agents/{_segment(agent)}/drain")
        return found

    async def undrain(self, agent: str) -> dict[str, Any]:
        """The agent takes new jobs again."""
        found: dict[str, Any] = await self.request("POST", f"/agents/{_segment(agent)}/undrain")
        return found

    async def clean_up(
        self, agent: str, *, finished_seconds: float | None = None, disk_bytes: int | None = None
    ) -> dict[str, Any]:
        """Which finished jobs the agent would remove by itself now; under other limits than its own where they are
        given. Nothing is removed."""
        path, limits = (
            f"/agents/{_segment(agent)}/clean-up",
            {"finished_ttl": finished_seconds, "disk_quota": disk_bytes},
        )
        found: dict[str, Any] = await self.request("GET", path, **limits)
        return found

    async def jobs(self) -> list[Job]:
        found = await self.request("GET", "/jobs")
        return [Job(self, info) for info in found["jobs"]]

    async def create(
        self,
        locator: Mapping[str, Any],
        name: str = "",
        *,
        labels: Mapping[str, str] | None = None,
        uid: str = "",
        resources: Mapping[str, int] | None = None,
        queue_seconds: float | None = None,
    ) -> Job:
        """An empty job on the agent that `locator` selects; with a `uid` of your own a retry makes no second job.

        `resources` is what it takes of the agent's counted resources: {"gpu": 1}. With `queue_seconds` it may wait so
        long for an agent with room: then its `agent` is None for now (`Job.placed`).
        """
        body = _create_body(locator, name, labels, uid, resources)
        return Job(self, await self.request("POST", "/jobs/create", body, queue=queue_seconds))

    async def explain(
        self,
        locator: Mapping[str, Any],
        name: str = "",
        *,
        labels: Mapping[str, str] | None = None,
        uid: str = "",
        resources: Mapping[str, int] | None = None,
    ) -> dict[str, Any]:
        """What `create` would come to, and which plugin decides what; nothing is made. A refusal is in `refused`."""
        body = _create_body(locator, name, labels, uid, resources)
        found: dict[str, Any] = await self.request("POST", "/jobs/explain", body)
        return found

    async def shutdown(self) -> None:
        await self.request("POST", "/shutdown")


class Job:
    """A job; `info` is the JobInfo of the last call."""

    def __init__(self, client: Client, info: dict[str, Any]) -> None:
        self._client = client
        self.info = info

    @property
    def path(self) -> str:
        return str(self.info["path"])

    def url(self, rest: str = "") -> str:
        """Of the job's own web server, through the router."""
        return f"{self._client.url}{self.path}/http/{rest}"

    async def start(self, args: Sequence[str], **options: Any) -> Self:
        """`options` as in the API: env, cwd, port, timeout, port_expected_count ..."""
        return await self._call("POST", "/start", {"args": list(args), **options})

    async def wait(self, timeout_seconds: float | None = None) -> Self:
        return await self._call("POST", "/wait", timeout=timeout_seconds)

    async def refresh(self) -> Self:
        return await self._call("GET", "/info")

    async def placed(self, look_seconds: float = 60.0) -> Self:
        """Until a job that waits in the queue has an agent, or was given up: its `agent` is None then."""
        while self.info["state"] == "NEW" and self.info["agent"] is None:
            self.info = await self._client.request(
                "POST", self.path + "/wait", None, **{"for": "agent", "timeout": look_seconds}
            )
        return self

    async def stop(self, signal: str = "TERM", grace_seconds: float | None = None) -> Self:
        """Ask it to end; after the grace its tree is killed."""
        body = {"signal": signal} | ({} if grace_seconds is None else {"grace": grace_seconds})
        return await self._call("POST", "/stop", body)

    async def signal(self, name: str) -> Self:
        return await self._call("POST", "/signal", {"signal": name})

    async def restart(self) -> Self:
        """A finished job runs again as it was started."""
        return await self._call("POST", "/restart")

    async def remove(self) -> Self:
        return await self._call("POST", "/remove")

    async def explain(self) -> dict[str, Any]:
        """Which plugin decided what about it, which driver runs it, whom a request to it meets."""
        found: dict[str, Any] = await self._client.request("GET", self.path + "/explain")
        return found

    async def output(
        self, *, stream: str | None = None, follow: bool = False, offset: int | None = None, tail: int | None = None
    ) -> AsyncIterator[bytes]:
        """What it wrote, in chunks: `stream` "stdout" or "stderr", both in order without it.

        With `follow` until the job has ended; `offset` (bytes) or `tail` (lines) say where to begin.
        """
        asked = {"stream": stream, "follow": "1" if follow else None, "offset": offset, "tail": tail}
        params = {name: str(value) for name, value in asked.items() if value is not None}
        url = f"{self._client.url}{self.path}/output"
        async with self._client.session.get(url, params=params) as answer:
            await check(answer)
            async for chunk in answer.content.iter_any():
                yield chunk

    async def upload(self, source: Path, name: str, *, executable: bool = False) -> dict[str, Any]:
        """Send a file to `name` in the sandbox; its {"size", "sha256"} as the agent has it."""
        url = f"{self._client.url}{self.path}/file/{quote(name)}"
        params = {"executable": "1"} if executable else {}
        with source.open("rb") as file:
            async with self._client.session.post(
                url, data=file, params=params, headers={"Content-Type": "application/octet-stream"}
            ) as answer:
                await check(answer)
                found: dict[str, Any] = await answer.json()
        return found

    async def download(self, name: str) -> AsyncIterator[bytes]:
        """A file of the sandbox, in chunks."""
        async with self._client.session.get(f"{self._client.url}{self.path}/file/{quote(name)}") as answer:
            await check(answer)
            async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
                yield chunk

    async def read(self, name: str) -> bytes:
        """A whole small file of the sandbox."""
        return b"".join([chunk async for chunk in self.download(name)])

    async def files(self, path: str = "") -> list[dict[str, Any]]:
        """What is in a directory of the sandbox, all pages of it."""
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            where = f"{self.path}/files?path={quote(path, safe='')}"
            page = await self._client.request("GET", where, cursor=cursor)
            found += page["entries"]
            cursor = page["next"]
            if cursor is None:
                return found

    async def mkdir(self, path: str) -> dict[str, Any]:
        """Make a directory and those above it; its entry."""
        return await self._change(mkdir=path)

    async def move(self, path: str, to: str) -> dict[str, Any]:
        """Move a file or directory; its new entry."""
        return await self._change(move=path, to=to)

    async def delete(self, path: str) -> None:
        """A file, a symlink itself, or an empty directory."""
        await self._client.request("DELETE", f"{self.path}/file/{quote(path)}")

    async def _change(self, **what: str) -> dict[str, Any]:
        found: dict[str, Any] = await self._client.request("POST", f"{self.path}/files", what)
        return found

    async def _call(self, verb: str, action: str, body: Any = None, **query: Any) -> Self:
        self.info = await self._client.request(verb, self.path + action, body, **query)
        return self


def _segment(text: str) -> str:
    return quote(text, safe="", errors="surrogateescape")


def _create_body(
    locator: Mapping[str, Any],
    name: str,
    labels: Mapping[str, str] | None,
    uid: str,
    resources: Mapping[str, int] | None,
) -> dict[str, Any]:
    body: dict[str, Any] = {"agent": dict(locator), "name": name, "labels": dict(labels or {})}
    body |= {"resources": dict(resources)} if resources else {}
    return body | ({"uid": uid} if uid else {})


async def check(answer: aiohttp.ClientResponse) -> None:
    """Raises RequestFailed for an answer that is an error."""
    if answer.status < 400:
        return
    try:
        problem = json.loads(await answer.read())
    except ValueError:
        problem = {}
    raise RequestFailed(answer.status, problem if isinstance(problem, dict) else {})
