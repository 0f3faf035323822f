"""The queue of jobs that no agent has room for: who has a place in it, for how long, and what becomes of them.

Belongs here: coming, leaving, when it is looked again. Does not: who is next (looking.py), how a job is made
(core/jobs), what plugins may ask (service.py). Nothing polls: it is looked when a place is taken or left, and at news
of agents. A router that dies forgets all of it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from contextlib import suppress

from prouter.core.agents.directory import AgentDirectory
from prouter.core.provisioning import Provisioning
from prouter.core.queue.again import Again, is_unknown, passes
from prouter.core.queue.dialing import Dialing
from prouter.core.queue.gone import Gone
from prouter.core.queue.holds import NOTHING, View
from prouter.core.queue.line import Down, Line, Place
from prouter.core.queue.looking import Looking, Placing
from prouter.core.queue.news import QueueNews
from prouter.core.queue.providing import Providing
from prouter.core.queue.settings import QueueSettings
from prouter.core.queue.unwanted import Unwanted
from prouter.core.selection import Selection
from prouter.errors import (
    Conflict,
    Internal,
    JobInvalidState,
    JobQueued,
    NoAgent,
    ProuterError,
    RequestError,
    TooManyRequests,
    Unavailable,
)
from prouter.model import unexpected
from prouter.model.access import Principal
from prouter.model.agents import Identity
from prouter.model.events import AgentConnected, AgentDisconnected, AgentDraining, AgentForgotten, Event, JobChanged
from prouter.model.ids import AgentUid, JobUid
from prouter.model.jobs import CreateRequest, JobRecord, JobRef, JobState, Reason, Sender
from prouter.model.queue import MAX_PRIORITY, QueuedJob
from prouter.model.telling import clipped, one_line
from prouter.model.trail import Trail, current, recorded
from prouter.pluginkit import context
from prouter.pluginkit.calling import Hooks
from prouter.pluginkit.tasks import TaskOwner

log = logging.getLogger(__name__)

PRIORITY = "prouter_job_priority"
SETTLE_SECONDS = 2.0
"""For which a create that does not wait lets those that wait go first; a plugin may take longer over them."""
PAUSE_SECONDS = 0.25
"""Between two looks, as long as the first took, up to that: each job that ends begins one."""
FULL_RETRY_SECONDS = 10


class JobQueue:
    """What is always true: at most `queue.max_jobs` places, and no agent is known to have a job that is in the line."""

    def __init__(
        self,
        hooks: Hooks,
        directory: AgentDirectory,
        selection: Selection,
        provisioning: Provisioning,
        tasks: TaskOwner,
        identity: Identity,
        settings: QueueSettings,
    ) -> None:
        self._hooks = hooks
        self._directory = directory
        self._selection = selection
        self._tasks = tasks
        self._sender = Sender("", identity.uid, identity.name)
        self._settings = settings
        self.line = Line()
        self.gone = Gone(settings.most, settings.kept_seconds)
        self.news = QueueNews(hooks, self.line)
        self.unwanted = Unwanted(directory, tasks, identity.uid)
        self._providing = Providing(hooks, provisioning, tasks)
        self._again = Again(self.look)
        self._numbers = 0
        self._holds = NOTHING
        self._looking: Looking | None = None
        self._look_due = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._ending = False

    def places_by(self, placing: Placing, *, trail_bytes: int) -> None:
        """Who makes the jobs."""
        self._placing = placing
        self._dialing = Dialing(placing, self._tasks, look=self.look, refused=self.refused)
        self._looking = Looking(self.line, self._directory, placing, self, trail_bytes=trail_bytes)

    # --- who asks ---

    def known(self, job: JobUid | None, asked: str) -> QueuedJob | None:
        """The place of a request that is repeated. Raises Conflict for one with other arguments."""
        place = self.line.get(job)
        found = self.find(job) if job is not None else None
        if found is not None and asked != (place.asked if place is not None else self.gone.asked(found.uid)):
            raise Conflict(f"a job {job!r} was asked for before with other arguments")
        return found

    async def priority(self, request: CreateRequest, principal: Principal) -> int:
        """All plugins' together."""
        if not self._hooks.implemented(PRIORITY):
            return 0
        total = 0
        for plugin, answer in await self._hooks.gather(PRIORITY, request=request, principal=principal):
            if abs(answer) <= MAX_PRIORITY:
                total += answer
            else:
                log.warning("the priority %s by plugin %s counts for nothing: %s at most", answer, plugin, MAX_PRIORITY)
        return total

    @property
    def full(self) -> bool:
        return len(self.line) >= self._settings.most

    def join(
        self,
        request: CreateRequest,
        asked: str,
        principal: Principal,
        seconds: float,
        priority: int,
        refused: NoAgent | TooManyRequests,
    ) -> QueuedJob:
        """A place for so many seconds; the same uid again has the same place. `refused` is why it needs one.

        Raises Conflict, NoAgent when there is no place, Unavailable when the router ends.
        """
        known = self.known(request.uid, asked)
        if known is not None:
            return known
        if self._ending:
            raise Unavailable("the router is ending; ask again when it is back")
        if self.full:
            raise self._turned_away(refused)
        seconds = min(seconds, self._settings.max_wait_seconds)
        self._numbers += 1
        place = Place.new(self._numbers, request, asked, principal, self._sender, priority, seconds)
        place.detail, place.explained = clipped(refused.detail), self.looking.roster
        place.timer = asyncio.get_running_loop().call_later(seconds, self._overdue, place, seconds)
        self.line.add(place)
        log.info("job %s waits for an agent, position %s: %s", place.uid, self.line.position(place), place.detail)
        self.news.joined(place)
        self._providing.begin(place, refused)
        self.look()
        return self.line.as_it_is(place)

    def find(self, job: JobUid) -> QueuedJob | None:
        place = self.line.get(job)
        return self.line.as_it_is(place) if place is not None else self.gone.get(job)

    def remove(self, place: Place) -> None:
        """It gives up its place, unless it is made just now."""
        self._end_soon(place, JobState.CLOSED, None, "it was removed")

    def look_again(self) -> None:
        """Whatever agents told: all of them may be asked again."""
        for place in self.line:
            place.turned_down.clear()
            place.again_at = 0.0
        self.look()

    @property
    def looking(self) -> Looking:
        """Whoever looks for agents."""
        assert self._looking is not None
        return self._looking

    # --- who makes jobs without waiting ---

    def beside(self) -> View:
        """How agents look to who does not wait: what others wait for is not free."""
        return self._holds.beside

    async def settled(self) -> None:
        """Until those that wait had their chance with what is free now."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_SECONDS):
                await self._idle.wait()

    @property
    def busy(self) -> bool:
        return not self._idle.is_set()

    def elsewhere(self, job: JobUid) -> ProuterError | None:
        """Why a job that no agent has can not be used, where it is here."""
        known = self.find(job)
        if known is None:
            return None
        if known.waits:
            return JobQueued(f"job {job!r} waits for an agent, position {known.position}: {known.detail}")
        return JobInvalidState(f"job {job!r} is {known.state.value} and was never made: {known.detail}")

    def waits_for(self, agent: AgentUid) -> bool:
        return any(agent in (place.home, place.agent) for place in self.line)

    # --- news ---

    def note(self, event: Event) -> None:
        """From the directory, whatever it tells."""
        if self._looking is None:
            return
        self.unwanted.note(event, self._placing.remove)
        if not self.line:
            return
        match event:
            case JobChanged(agent, record):
                place = self.line.get(record.uid)
                if place is not None and place.agent is None and record.state is not JobState.CLOSED:
                    self._found(place, agent.uid, record)  # by another router, or when nobody knew
                elif record.ended:
                    self._heard(agent.uid)
            case AgentConnected() | AgentDisconnected() | AgentDraining() | AgentForgotten():
                self._looking.fleet += 1
                self._looking.roster += 1
                self._heard(event.uid if isinstance(event, AgentForgotten) else event.agent.uid)
            case _:
                pass

    def _heard(self, agent: AgentUid) -> None:
        self.looking.news[agent] = self.looking.news.get(agent, 0) + 1
        self.look()

    def look(self) -> None:
        """Soon, once, however often it is asked for."""
        self._look_due = True
        if self._idle.is_set() and self.line and not self._ending:
            self._idle.clear()
            self._tasks.start("the queue", self._look())

    async def _look(self) -> None:
        current.set(None)
        context.begin_about("")
        loop = asyncio.get_running_loop()
        try:
            while self._look_due and self.line and not self._ending:
                self._look_due = False
                began = loop.time()
                holds = await self.looking.all()
                self._holds = holds if self.line else NOTHING
                if self._look_due:
                    await asyncio.sleep(min(loop.time() - began, PAUSE_SECONDS))
        finally:
            self._idle.set()

    # --- what becomes of a place ---

    def is_made(self, place: Place) -> bool:
        """Whether an agent has that job: of one that was being made just then nobody tells again."""
        agent = self._directory.owner(place.uid)
        if agent is None:
            return False
        known = self._directory.known(agent)
        self._found(place, agent, known.mirror.record(place.uid) if known is not None else None)
        return True

    def _found(self, place: Place, agent: AgentUid, record: JobRecord | None) -> None:
        """An agent has a job of that uid: this one, or what another router was asked for by it."""
        if record is None or record.asked in ("", place.asked):
            self._placed(place, agent)
        elif not place.done.done():
            self._taken(place)

    def _taken(self, place: Place) -> None:
        error = Conflict(f"a job {place.uid!r} was made before with other arguments, through another router")
        self._end(place, JobState.FINISHED, Reason.START_FAILED, error.detail, error)

    def refused(self, place: Place, error: ProuterError) -> None:
        """No agent has room, or it went wrong: what can not become right ends it."""
        place.detail = clipped(error.detail)
        if passes(error):
            self._again.after_failure(place)
        elif isinstance(error, RequestError) and not isinstance(error, TooManyRequests):
            self._end(place, JobState.FINISHED, Reason.START_FAILED, place.detail)
        else:
            until = min((down.until for down in place.turned_down.values()), default=math.inf)
            if until < math.inf:
                self._again.at(until)

    def begin_to_dial(self, place: Place) -> None:
        self._dialing.begin(place, self._again)

    def begin_to_make(self, place: Place, agent: AgentUid, trail: Trail) -> None:
        place.agent = agent
        self._tasks.start(f"queued job {place.uid}", self._make(place, agent, trail))

    async def _make(self, place: Place, agent: AgentUid, trail: Trail) -> None:
        heard = self.looking.news.get(agent, 0)
        try:
            with context.about(request=place.request_id, job=place.uid, agent=agent), recorded(trail):
                place.agent = agent = self._placing.place_of(place.uid, agent)
                heard = self.looking.news.get(agent, 0)
                await self._placing.make(agent, place.request, place.asked)
        except ProuterError as error:
            self._not_made(place, agent, heard, error)
        except Exception as error:
            log.exception("queued job %s was not made on agent %s", place.uid, agent)
            unexpected.tell(error, f"queued job {place.uid}")
            self._not_made(place, agent, heard, Internal("it could not be made, for a reason that nobody expected"))
        else:
            self._placed(place, agent)
        finally:
            trail.close()

    def _not_made(self, place: Place, agent: AgentUid, heard: int, error: ProuterError) -> None:
        place.agent = None
        if place.done.done() or self.is_made(place):
            return
        place.unsure = agent if is_unknown(error) else None
        if place.ends_as is not None:
            self._end(place, *place.ends_as)
            return
        if isinstance(error, NoAgent | TooManyRequests):
            place.turned_down[agent] = Down(heard, error.detail)
            self.look()
            return
        if type(error) is Conflict:
            self._taken(place)
            return
        self.refused(place, error)
        if not place.done.done():  # others may have room meanwhile
            place.turned_down[agent] = Down(heard, error.detail, self._again.after_failure(place))
            self.look()

    def _placed(self, place: Place, agent: AgentUid) -> None:
        if place.done.done():
            return
        self._leave(place)
        place.agent = agent
        waited = time.monotonic() - place.began
        log.info("job %s has an agent, %s, after %.1f s", place.uid, agent, waited)
        self.news.placed(place, waited)
        place.done.set_result(JobRef(agent, place.uid))

    def _overdue(self, place: Place, seconds: float) -> None:
        why = f"no agent had room within {seconds:g} s: {place.detail}"
        self._end_soon(place, JobState.FINISHED, Reason.TIMEOUT, why)

    def _end_soon(self, place: Place, state: JobState, reason: Reason | None, why: str) -> None:
        """Now, or when it is known whether the agent that is asked to make it has done so."""
        if place.agent is not None:
            place.ends_as = (state, reason, why)
        elif not place.done.done():
            self._end(place, state, reason, why)

    def _end(
        self, place: Place, state: JobState, reason: Reason | None, why: str, error: ProuterError | None = None
    ) -> None:
        """`error` is what those are told who wait for it; where there is none it is told for a while how it ended."""
        self._leave(place)
        if place.unsure is not None:
            self.unwanted.add(place.uid, place.unsure)
        place.detail = clipped(why)
        ended = place.ended(state, reason, time.time())
        if state is JobState.FINISHED and error is None:
            self.gone.add(ended, place.asked)
        log.info("job %s is not made: %s", place.uid, one_line(why))
        self._selection.tell_not_made(place.request, place.principal, place.detail)
        self.news.ended(ended)
        place.done.set_result(error or ended)

    def _leave(self, place: Place) -> None:
        self.line.remove(place)
        self.looking.fleet += 1
        place.stop()
        if not self.line:
            self._holds = NOTHING
            self.looking.news.clear()
        self.news.moved()
        self.look()

    def end(self) -> None:
        """The router is about to end: nobody waits any longer, and it forgets who did."""
        self._ending = True
        self.news.end()
        self._again.end()
        for place in self.line:
            self.line.remove(place)
            ending = Unavailable("the router is ending; ask again when it is back")
            place.stop()
            place.done.set_result(ending)

    def _turned_away(self, error: NoAgent | TooManyRequests) -> NoAgent:
        """The refusal of one that would have waited, and had no place to."""
        self.news.counts["turned_away"] += 1
        why = f"{len(self.line)} jobs wait already, which is the limit" if self._settings.most else "no job may wait"
        detail = f"{error.detail}; the queue is full: {why} (queue.max_jobs)"
        return NoAgent(detail, retry_after=FULL_RETRY_SECONDS, extra=error.extra)
