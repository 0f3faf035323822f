"""Clients of the simulated routers: what can be asked of them, each call written down with what was told.

Belongs here: one method for each thing that is asked. Does not: in which order (the tests), what must hold of the
history (tests/faults/history.py), what breaks (simulated_world.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from history import OK, UNKNOWN, Asked, History
from simulated_machine import ENDLESS
from simulated_network import Network
from simulated_nodes import Agent, Router
from simulated_time import SimulatedLoop

from prouter.errors import AgentAway, ProuterError
from prouter.model.access import ANONYMOUS
from prouter.model.ids import JobUid
from prouter.model.jobs import CreateRequest, JobRecord, StartRequest

PIPE_SECONDS = 20.0
"""For a whole request over a pipe."""
PIPE_DELAY_SECONDS = 0.01
FILE = "some/file"
BRIEF = 6
"""Jobs of this number and above end by themselves."""
BRIEF_SECONDS = 1.5


def uid(number: int) -> JobUid:
    return JobUid(f"{number:032x}")


class Clients:
    """All of them, of all routers. Each method asks, and returns at once what will be told."""

    loop: SimulatedLoop
    network: Network
    routers: dict[str, Router]
    agents: dict[str, Agent]

    def __init__(self) -> None:
        self.history = History(self.loop.time)
        self.brief: set[str] = set()
        """Jobs whose program ends by itself."""
        self.failing: set[str] = set()
        """Jobs whose program can not be started."""
        self._uploads = 0

    def create(self, number: int, router: str) -> Asked | None:
        """A third of the jobs names no agent."""
        job = uid(number)
        if self.history.of(job).of("remove"):  # a uid stands for one job
            return None
        agent = (None, "a1", "a2")[number % 3]
        if agent is None:  # routers share nothing: two of them may choose two agents
            router = "r1"
        locator = {"type": "model", "uid": agent} if agent else {"type": "model"}
        request = CreateRequest(locator, f"job {number}", uid=job)

        async def ask(at: Router) -> JobRecord:
            return (await at.jobs.create(request, ANONYMOUS))[1]

        return self.ask("create", job, router, ask)

    def start(self, number: int, router: str, what: str = "") -> Asked | None:
        """Always with the same key, so that each but the first is a repetition. `what` is run (SimulatedDriver)."""
        job = uid(number)
        what = what or (str(BRIEF_SECONDS) if number >= BRIEF else "forever")
        if what == "fails":
            self.failing.add(job)
        elif what not in ENDLESS:
            self.brief.add(job)
        request = StartRequest(("run", what), ports=())
        return self.ask(
            "start", job, router, lambda at: at.jobs.start(at.jobs.find(job), request, "start"), key="start"
        )

    def restart(self, number: int, router: str, key: str) -> Asked | None:
        job = uid(number)
        return self.ask("restart", job, router, lambda at: at.jobs.restart(at.jobs.find(job), key), key=key)

    def stop(self, number: int, router: str, grace_seconds: float = 0.5) -> Asked | None:
        job = uid(number)
        return self.ask("stop", job, router, lambda at: at.jobs.stop(at.jobs.find(job), "TERM", grace_seconds))

    def remove(self, number: int, router: str, key: str | None) -> Asked | None:
        job = uid(number)
        return self.ask("remove", job, router, lambda at: at.jobs.remove(at.jobs.find(job), key), key=key)

    def wait(self, number: int, router: str, seconds: float | None) -> Asked | None:
        job, timeout = uid(number), seconds is not None
        return self.ask("wait", job, router, lambda at: at.jobs.wait(at.jobs.find(job), seconds), timeout=timeout)

    def info(self, number: int, router: str) -> Asked | None:
        job = uid(number)

        async def ask(at: Router) -> JobRecord:
            return at.jobs.get(at.jobs.find(job))

        return self.ask("info", job, router, ask)

    def upload(self, number: int, router: str) -> Asked | None:
        """Each time something else."""
        self._uploads += 1
        job, content = uid(number), f"upload {self._uploads}, whole".encode()
        return self.ask(
            "upload",
            job,
            router,
            lambda at: self._piped(at, job, lambda a: a.upload(job, FILE, content)),
            value=content,
        )

    def download(self, number: int, router: str) -> Asked | None:
        job = uid(number)
        return self.ask(
            "download", job, router, lambda at: self._piped(at, job, lambda agent: agent.download(job, FILE))
        )

    async def _uploaded(self, at: Router, job: JobUid, content: bytes) -> None:
        await self._piped(at, job, lambda agent: agent.upload(job, FILE, content))

    async def _piped(self, at: Router, job: JobUid, what: Callable[[Agent], Awaitable[Any]]) -> Any:
        """Over a pipe, which a cut of the line cuts, too."""
        ref = at.jobs.find(job)
        at.jobs.get(ref)
        at.directory.connected(ref.agent)
        agent = self.agents.get(ref.agent)
        if agent is None or agent.registry is None or not self.network.between(agent.name, at.name):
            raise AgentAway("the pipe is cut")
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        task = self.loop.begin(_carried(lambda: what(agent), done), agent, "a pipe")
        carried = agent.carried.setdefault(at.name, set())
        carried.add(task)
        task.add_done_callback(carried.discard)
        async with asyncio.timeout(PIPE_SECONDS):
            return await done

    def ask(
        self, verb: str, job: str, router: str, ask: Callable[[Router], Awaitable[Any]], **facts: Any
    ) -> Asked | None:
        """Of that router, if it is up; None where it is not. What is told goes into the history."""
        at = self.routers.get(router)
        if at is None or at.services is None:
            return None
        asked = self.history.begin(verb, job, at.run, **facts)
        boots = _boots(at)

        async def call() -> None:
            try:
                found = await ask(at)
            except TimeoutError:
                self.history.end(asked, UNKNOWN)
            except ProuterError as error:
                self.history.end(asked, error.code)
            else:
                told = _facts(found) if isinstance(found, JobRecord) and verb != "remove" else {}
                told |= {"value": found} if verb == "download" else {}
                self.history.end(asked, OK, boots=(boots, _boots(at)), **told)

        self.loop.begin(call(), at, f"{verb} of {job}")
        return asked


async def _carried(work: Callable[[], Awaitable[Any]], done: asyncio.Future[Any]) -> None:
    def tell(outcome: Any, error: BaseException | None = None) -> None:
        if not done.done():
            done.set_result(outcome) if error is None else done.set_exception(error)

    try:
        await asyncio.sleep(PIPE_DELAY_SECONDS)
        found = await work()
        await asyncio.sleep(PIPE_DELAY_SECONDS)
        tell(found)
    except ProuterError as error:
        tell(None, error)
    except asyncio.CancelledError:
        tell(None, AgentAway("the pipe is cut"))
        raise


def _boots(at: Router) -> int:
    """Which boots of agents the router knows of."""
    return hash(tuple((entry.uid, entry.hello.boot) for entry in at.directory))


def _facts(record: JobRecord) -> dict[str, Any]:
    return {"state": record.state.value, "reason": record.reason, "revision": record.revision}
