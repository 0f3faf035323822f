"""Clients that ask a real router at random and write down what they asked and what they were told (history.py).

Belongs here: one call, recorded; what really happened to each job. Does not: what breaks, and how it is judged. Each
job writes a line to a file outside of its sandbox when it really starts, so that a start that was done twice is seen.
"""

from __future__ import annotations

import asyncio
import io
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
from figures import LONG
from history import OK, UNKNOWN, Asked, History, Truth

REMOVED = 0.9 if LONG else 0.4
"""How many of the jobs: those of an hour would be so many that an agent needs seconds for its start."""
CALL_SECONDS = 60.0
"""After which a call counts as one that never ends: a start's patience and room."""
ENDLESS_SECONDS = 10_000_000
"""For which a job runs that does not end by itself, whatever is recorded."""
KEYED = ("start", "stop", "remove")
"""What is told again as it was told first."""
NOBODY_THERE = ("urn:prouter:job-not-found", "urn:prouter:agent-not-found")
"""A download that is told so has learned nothing of its file."""


class Recorder:
    """One session of clients. `effects` is a directory in which jobs write; `run` names the router's present run."""

    def __init__(self, session: aiohttp.ClientSession, url: str, effects: Path, seed: int) -> None:
        self.history = History(time.monotonic)
        self.run = "run 1"
        self._session = session
        self._url = url
        self._effects = effects
        self._random = random.Random(seed)
        self.agent_of: dict[str, str] = {}
        self.brief: set[str] = set()

    async def client(self, agents: list[str], over: asyncio.Event) -> None:
        """Makes a job and does with it what comes to its mind, again and again."""
        while not over.is_set():
            job = f"{self._random.getrandbits(128):032x}"
            self.agent_of[job] = self._random.choice(agents)
            await self._until_told("create", job, over)
            began = await self._until_told("start", job, over)
            for verb in self._random.choices(("upload", "download", "info", "wait"), k=4):
                await self._until_told(verb, job, over)
            await self._to_its_end(job, over, began)
            if self._random.random() < REMOVED:
                await self._until_told("remove", job, over)

    async def _to_its_end(self, job: str, over: asyncio.Event, began: bool) -> None:
        """Waits for it without a timeout, where it ends by itself or is stopped meanwhile."""
        if began and job in self.brief:
            await self._until_told("wait", job, over, endless=True)
        elif self._random.random() < 0.5:
            waiting = asyncio.create_task(self.ask("wait", job, endless=True))
            if await self._until_told("stop", job, over):
                await waiting
            elif not waiting.done():
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)

    async def _until_told(self, verb: str, job: str, over: asyncio.Event, endless: bool = False) -> bool:
        """A client that is told to retry does, with the same key, a few times. Whether it was acknowledged."""
        value = f"{self._random.getrandbits(64):x}" * 4096 if verb == "upload" else None
        for _ in range(8):
            asked = await self.ask(verb, job, value, endless)
            if asked.acked or over.is_set():
                return asked.acked
            await asyncio.sleep(self._random.uniform(0.02, 0.2))
        return False

    async def ask(self, verb: str, job: str, value: str | None = None, endless: bool = False) -> Asked:
        """Once. A wait that is `endless` has no timeout."""
        path = f"/jobs/{self.agent_of[job]}/{job}"
        key = f"{verb} {job}" if verb in KEYED else None
        options: dict[str, Any] = {"headers": {"Idempotency-Key": key}} if key else {}
        method, where = "POST", f"{path}/{verb}"
        match verb:
            case "create":
                where = "/jobs/create"
                locator = {"type": "uid", "uid": self.agent_of[job]}
                options = {"json": {"agent": locator, "uid": job, "name": "recorded"}}
            case "start":
                words = "sleep 0.3" if int(job[0], 16) < 4 else f"sleep {ENDLESS_SECONDS}"
                if int(job[0], 16) < 4:
                    self.brief.add(job)
                program = f"echo x >> {self._effects / job}; exec {words}"
                options["json"] = {"args": ["/bin/sh", "-c", program], "port_expected_count": 0}
            case "stop":
                options["json"] = {"grace": 0.2}
            case "upload" | "download":
                method, where = "POST" if verb == "upload" else "GET", f"{path}/file/some/file"
                options = {"data": io.BytesIO(value.encode())} if value is not None else {}
            case "info":
                method = "GET"
            case "wait" if not endless:
                where += "?timeout=0.5"
        facts = {"place": "the router", "key": key} | ({"value": value} if verb == "upload" else {})
        facts |= {"timeout": not endless} if verb == "wait" else {}
        asked = self.history.begin(verb, job, self.run, **facts)
        try:
            async with (
                asyncio.timeout(CALL_SECONDS),
                self._session.request(method, self._url + where, **options) as answer,
            ):
                body = await answer.read()
                found = await answer.json(content_type=None) if verb != "download" or answer.status != 200 else {}
        except TimeoutError:
            return asked  # pending: it did not end
        except asyncio.CancelledError:
            self.history.end(asked, UNKNOWN)
            raise
        except (aiohttp.ClientError, ValueError):
            self.history.end(asked, UNKNOWN)
            return asked
        self._told(asked, answer.status, body, found)
        return asked

    def _told(self, asked: Asked, status: int, body: bytes, found: Any) -> None:
        found = found if isinstance(found, dict) else {}
        if status < 300:
            facts = {"state": found.get("state"), "reason": found.get("reason")} if asked.verb != "upload" else {}
            self.history.end(asked, OK, **facts | ({"value": body.decode()} if asked.verb == "download" else {}))
        elif status == 404 and asked.verb == "download" and str(found.get("type")) not in NOBODY_THERE:
            self.history.end(asked, OK, value=None)
        else:
            self.history.end(asked, str(found.get("type", status)).rpartition(":")[2])

    async def truth(self, sandboxes: dict[str, Path], hurt: set[str], running: set[str]) -> Truth:
        """When all is well again. `sandboxes` is each agent's directory of jobs."""
        async with self._session.get(f"{self._url}/jobs") as answer:
            listed = (await answer.json())["jobs"]
        records: dict[str, list[tuple[str, str | None]]] = {}
        for job in listed:
            records.setdefault(job["uid"], []).append((job["state"], job["reason"]))
        started = Counter({place.name: len(place.read_text().split()) for place in self._effects.iterdir()})
        files = {}
        for job in records:
            place = sandboxes[self.agent_of[job]] / job / "sandbox" / "some" / "file"
            files[job] = place.read_text() if place.exists() else None
        return Truth(records, started, running, files, hurt, self.brief, tell_themselves=True)
