"""Peers made of the protocol alone, for what a real daemon never does: two links of one boot, news from an old link."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from prouter.model.agents import PRODUCT_CAPABILITIES, Hello
from prouter.rpc.calls import CallContext
from prouter.rpc.messages import CallType
from prouter.rpc.methods import Methods


def hello(uid: str, token: str, *, boot: str, link: int) -> Mapping[str, Any]:
    """Of one of ours."""
    capabilities = frozenset(PRODUCT_CAPABILITIES)
    return Hello(uid, uid, token, version="1", boot=boot, link=link, capabilities=capabilities).to_wire()


def record(uid: str, revision: int = 1, state: str = "NEW") -> dict[str, Any]:
    """A job, as an agent tells of it."""
    sender = {"direction": "CLIENT", "uid": "r", "name": "r"}
    return {
        "uid": uid,
        "name": "job",
        "sender": sender,
        "state": state,
        "created_at": 1.0,
        "labels": {},
        "ports": [],
        "revision": revision,
    }


class HandMadeAgent:
    """One link of an agent that tells of jobs when it is told to; of `jobs` at once."""

    def __init__(self, jobs: Sequence[Mapping[str, Any]] = ()) -> None:
        self._jobs = list(jobs)
        self._watches: list[CallContext] = []
        self.watched = asyncio.Event()
        self.methods = Methods()
        self.methods.add("prouter_watch", self._watch, CallType.ISTREAM)
        self.methods.add("job_count_current_connection", self._count)

    async def tell(self, uid: str, revision: int = 1, state: str = "NEW") -> None:
        for context in self._watches:
            await context.send({"job": record(uid, revision, state)})

    async def _watch(self, context: CallContext) -> None:
        self._watches.append(context)
        await context.send({"jobs": self._jobs, "more": False})
        self.watched.set()
        await asyncio.Event().wait()

    async def _count(self, context: CallContext) -> int:
        return 0
