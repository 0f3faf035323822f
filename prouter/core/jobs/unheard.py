"""Jobs that an agent has, and that it has not told us of yet: another router made or started them a moment ago.

Belongs here: asking agents before a client is told that there is no such job or port, and how rarely they are asked.
Does not: what is known (the mirrors, which learn the answers), the calls about jobs that are known (calls.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from weakref import WeakKeyDictionary, WeakSet

from prouter.core.agents.directory import AgentDirectory
from prouter.core.agents.link import AgentLink
from prouter.core.jobs.calls import record_of
from prouter.errors import AgentAway, LinkError, MethodNotFound, ProuterError, TimedOut
from prouter.model.ids import AgentUid, JobUid, is_job_uid, uid_digest
from prouter.model.jobs import JobRecord
from prouter.pipe.steps import in_a_task
from prouter.pluginkit.tasks import TaskOwner

log = logging.getLogger(__name__)

ASK_SECONDS = 1.0
"""For an agent to say whether it has a job."""
REMEMBERED_SECONDS = 1.0
"""Since it was asked: for as long the same is not asked again. By then its own news have come."""
MOST_A_SECOND = 200
"""Questions to one agent; beyond it a job that nobody told of is unknown, as it was before anybody was asked."""
ALL_A_SECOND = 2000
"""To all agents: a job that is named by its uid alone is one question to each."""
MAX_REMEMBERED = 4096

_Key = tuple[JobUid, str | None, int]
"""What is asked for, of whom, and beyond which revision."""


class Unheard:
    """Shared by all requests of a router: those that ask the same at the same time are one question."""

    def __init__(self, directory: AgentDirectory, tasks: TaskOwner) -> None:
        self._directory = directory
        self._tasks = tasks
        self._asked: dict[_Key, tuple[float, asyncio.Future[bool]]] = {}
        """Since when, and whether all who were asked have answered; oldest first."""
        self._rates: WeakKeyDictionary[AgentLink, _Rate] = WeakKeyDictionary()
        self._all = _Rate(ALL_A_SECOND)
        self._unable: WeakSet[AgentLink] = WeakSet()
        """Agents of an older version, over their links."""

    async def ask(self, job: JobUid, agent: str | None, known: JobRecord | None = None) -> None:
        """Whether that agent, or whoever is connected, has a job that nobody told of, or newer news of it than is
        `known`. What they say is in the mirrors then.

        Raises AgentAway where the agent that is named does not say so in time: nobody knows then.
        """
        if not is_job_uid(job):
            return
        key = job, agent, known.revision if known is not None else -1
        question = self._remembered(key) or self._begun(key)
        if question is None:
            return
        if not question.done():
            await in_a_task()
            await asyncio.wait((question,), timeout=2 * ASK_SECONDS)
        if agent is not None and not (question.done() and question.result()):
            raise AgentAway(f"agent {agent!r} does not say whether it has job {job!r}; ask again")

    def _remembered(self, key: _Key) -> asyncio.Future[bool] | None:
        since, question = self._asked.get(key, (0.0, None))
        if question is None or not question.done():
            return question
        return question if asyncio.get_running_loop().time() - since < REMEMBERED_SECONDS else None

    def _begun(self, key: _Key) -> asyncio.Future[bool] | None:
        """None: there is nobody to ask, or they were asked too often."""
        loop, links = asyncio.get_running_loop(), self._whom(key[1])
        if not links:
            return None
        question = loop.create_future()
        self._asked.pop(key, None)
        self._asked[key] = loop.time(), question
        while len(self._asked) > MAX_REMEMBERED:
            del self._asked[next(iter(self._asked))]
        self._tasks.start(f"question about job {key[0]}", self._find_out(key, links, question))
        return question

    def _whom(self, agent: str | None) -> Sequence[AgentLink]:
        """Agents of ours that are connected and may be asked now."""
        named = self._directory.known(AgentUid(agent)) if agent is not None else None
        entries = self._directory if agent is None else (named,) if named is not None else ()
        links = [entry.link for entry in entries if entry.link is not None and not entry.hello.original]
        return [link for link in links if link not in self._unable and self._may(link)]

    def _may(self, link: AgentLink) -> bool:
        now = asyncio.get_running_loop().time()
        rate = self._rates.setdefault(link, _Rate(MOST_A_SECOND))
        return rate.takes(now) and self._all.takes(now)

    async def _find_out(self, key: _Key, links: Sequence[AgentLink], question: asyncio.Future[bool]) -> None:
        answered = False
        try:
            answered = all(await asyncio.gather(*(self._hear(link, key[0]) for link in links)))
        finally:
            question.set_result(answered)

    async def _hear(self, link: AgentLink, job: JobUid) -> bool:
        """Whether it answered. It is asked by the digest of the uid: who has no such job learns of none."""
        try:
            answer = await link.call("prouter_job", uid_digest(job), timeout_seconds=ASK_SECONDS)
            if answer is not None:
                self._learn(link, job, record_of(answer))
        except MethodNotFound:
            self._unable.add(link)
        except (LinkError, TimedOut) as error:
            log.info("agent %s does not say whether it has job %s: %s", link.name, job, error.detail)
            return False
        except ProuterError as error:
            log.info("agent %s says nothing of job %s: %s", link.name, job, error.detail)
        return True

    def _learn(self, link: AgentLink, job: JobUid, record: JobRecord) -> None:
        """Raises RemoteProtocolError where there is no room for it."""
        entry = self._directory.known(AgentUid(link.hello.uid))
        if record.uid == job and entry is not None and entry.link is link:
            entry.mirror.apply(record)


class _Rate:
    """So many in each second."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._second = self._count = 0

    def takes(self, now: float) -> bool:
        if int(now) != self._second:
            self._second, self._count = int(now), 0
        self._count += 1
        return self._count <= self._most
