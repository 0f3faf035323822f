"""Events on their way to one URL: bounded, in order for each subject, signed, tried again."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import random
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import aiohttp

LANES = 4
"""Events of one subject share a lane, and wait for each other; those of others pass them by."""


class Delivery:
    """What waits is in memory only: a router that ends tries for some seconds to send it, and the rest is lost."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings, room = settings, settings["queue"] // LANES
        self._lanes: list[asyncio.Queue[dict[str, Any]]] = [asyncio.Queue(room) for _ in range(LANES)]
        self._missed = 0
        self.counts = Counter({"delivered": 0, "dropped": 0})
        self.trouble = ""
        """Why the last try failed; empty after one that did not."""

    @property
    def waiting(self) -> int:
        return sum(lane.qsize() for lane in self._lanes)

    def add(self, kind: str, subject: str, data: Mapping[str, Any]) -> None:
        """Never waits: where there are too many, the lane's oldest goes, and the next payload says that some did."""
        lane = self._lanes[hash(subject) % LANES]
        if lane.full():
            lane.get_nowait()
            lane.task_done()
            self.miss(1)
        lane.put_nowait({"id": f"evt_{uuid.uuid4().hex}", "type": kind, "at": time.time(), "data": data})

    def miss(self, count: int) -> None:
        self._missed += count
        self.counts["dropped"] += count

    async def run(self, lane: int) -> None:
        """One lane, for ever."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(self._settings["timeout"])) as session:
            while True:
                await self._deliver(session, await self._lanes[lane].get())
                self._lanes[lane].task_done()

    async def finish(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.gather(*(lane.join() for lane in self._lanes))

    async def _deliver(self, session: aiohttp.ClientSession, event: dict[str, Any]) -> None:
        missed, self._missed = self._missed, 0
        body = json.dumps(event | {"missed": missed}).encode()
        pause = self._settings["first_pause"]
        for _ in range(self._settings["tries"]):
            self.trouble = await self._try(session, event["id"], body)
            if not self.trouble:
                self.counts["delivered"] += 1
                return
            if self.trouble.startswith("HTTP 4") and self.trouble not in ("HTTP 408", "HTTP 429"):
                break  # the same again would be refused again
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, self._settings["longest_pause"])
        self._missed += missed  # nobody was told of these
        self.miss(1)

    async def _try(self, session: aiohttp.ClientSession, event_id: str, body: bytes) -> str:
        """Why it failed; empty when it did not. Signed anew: who checks may want a timestamp that is not old."""
        now = str(int(time.time()))
        headers = {"Content-Type": "application/json", "Webhook-Id": event_id, "Webhook-Timestamp": now}
        headers["Webhook-Signature"] = signature(self._settings["secret"], event_id, now, body)
        try:
            url = self._settings["url"]
            async with session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                return "" if answer.status < 300 else f"HTTP {answer.status}"
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return type(error).__name__


def signature(secret: str, event_id: str, timestamp: str, body: bytes) -> str:
    """As https://www.standardwebhooks.com says: HMAC-SHA256 of id, timestamp and body."""
    signed = f"{event_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(secret.encode(), signed, hashlib.sha256)).decode()
