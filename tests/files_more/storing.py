"""One job's sandbox, asked about through the router and seen from behind on the disk."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from prouter.client import Job
from prouter.testing import AgentDaemon, RouterDaemon

SECONDS = 30.0


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Any
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)


@dataclass(frozen=True)
class Store:
    router: RouterDaemon
    agent: AgentDaemon
    job: Job

    @property
    def sandbox(self) -> Path:
        return self.agent.sandbox(self.job)

    async def ask(self, verb: str, rest: str, data: Any = None, **headers: str) -> Answer:
        """One request; `rest` is sent as it is behind the job's path, `Some_Header="x"` is `Some-Header: x`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        url = URL(f"{self.router.url()}{self.job.path}/{rest}", encoded=True)
        body = io.BytesIO(json.dumps(data).encode() if isinstance(data, dict) else data or b"")
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS)) as session,
            session.request(verb, url, data=body if data is not None else None, headers=named) as answer,
        ):
            return Answer(answer.status, answer.headers, await answer.read())

    async def change(self, **what: Any) -> Answer:
        return await self.ask("POST", "files", what)

    async def names(self, query: str = "") -> list[str]:
        answer = await self.ask("GET", f"files{query}")
        assert answer.status == 200, answer.content
        return [entry["name"] for entry in answer.json["entries"]]
