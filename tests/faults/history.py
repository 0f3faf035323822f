"""What clients asked, when, and what they were told; and whether that can be what happened, given what really did.

Belongs here: the history and the rules by which it is judged, for the simulation (tests/proved) and for real daemons.
Does not: who asks, what breaks. A call that ended in an error, or of which nobody knows how it ended, may have had its
effect or not, and may have it late; one that was acknowledged had it, once, before it ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

OK, UNKNOWN, PENDING = "ok", "unknown", "pending"
NOT_FOUND = ("job-not-found", "agent-not-found")
LOST = "agent-lost"
OVER = ("FINISHED", "CLOSED")
ORDER = ("NEW", "PENDING", "RUNNING", *OVER)
"""Of a job's states within a run."""


@dataclass(slots=True)
class Asked:
    """One call of one client."""

    verb: str
    job: str
    router: str
    """Which run of which router was asked."""
    begun: float
    place: str = ""
    """Which router that was, through all of its runs; empty: its runs are not compared."""
    key: str | None = None
    value: Any = None
    """What was uploaded, or was found by a download (None: no such file)."""
    timeout: bool = False
    """Of a wait: whether it may end before the job has."""
    outcome: str = PENDING
    """OK, UNKNOWN, PENDING or an error's code."""
    ended: float = 0.0
    state: str | None = None
    """Of the job, in the answer."""
    reason: str | None = None
    revision: int | None = None
    boots: tuple[int, int] = (0, 0)
    """The agent's boots at the beginning and at the end."""

    @property
    def acked(self) -> bool:
        return self.outcome == OK

    def before(self, other: Asked) -> bool:
        """Whether it had ended when the other began."""
        return self.outcome not in (UNKNOWN, PENDING) and self.ended < other.begun

    def __str__(self) -> str:
        told = f"{self.outcome} {self.state or ''} {self.reason or ''}".strip()
        return f"{self.verb}({self.key or ''}) of {self.job[-4:]} at {self.router}, {self.begun:.3f}: {told}"


@dataclass(slots=True)
class Truth:
    """What there really is in the end, when all is well again."""

    records: Mapping[str, list[tuple[str, str | None]]]
    """By job: state and reason, from each agent that has it."""
    started: Mapping[str, int]
    """How often its process really began."""
    alive: Iterable[str] = ()
    """Jobs whose process runs."""
    files: Mapping[str, Any] = field(default_factory=dict)
    """What the uploaded file of each job holds."""
    hurt: Iterable[str] = ()
    """Jobs whose agent or guardian died at some time: they may be lost, if they say so, and only then their files."""
    brief: Iterable[str] = ()
    """Jobs whose program ends by itself."""
    failing: Iterable[str] = ()
    """Jobs whose program can not be started."""
    orphaned: Iterable[str] = ()
    """Jobs that nobody asked for so long that they were ended."""
    tell_themselves: bool = False
    """Whether it is the processes that tell that they began: one that is ended at once may not come to it."""


class History:
    """All calls, in the order in which they began."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.calls: list[Asked] = []
        self._by_job: dict[str, list[Asked]] = {}
        self._sorted: tuple[int, int] = (0, 0)
        """Which list of calls that is made of, and how long it was."""
        self._now = now

    def begin(self, verb: str, job: str, router: str, **facts: Any) -> Asked:
        asked = Asked(verb, job, router, self._now(), **facts)
        self.calls.append(asked)
        return asked

    def end(self, asked: Asked, outcome: str, **facts: Any) -> None:
        if asked.outcome == PENDING:
            asked.outcome, asked.ended = outcome, self._now()
            for name, value in facts.items():
                setattr(asked, name, value)

    def router_died(self, router: str) -> None:
        """Nobody knows what became of the calls that it carried."""
        for asked in self.calls:
            if asked.router == router:
                self.end(asked, UNKNOWN)

    def pending(self) -> list[Asked]:
        return [asked for asked in self.calls if asked.outcome == PENDING]

    def of(self, job: str) -> OfJob:
        return OfJob(list(self._calls_by_job().get(job, ())))

    def jobs(self) -> list[str]:
        return list(self._calls_by_job())

    def _calls_by_job(self) -> dict[str, list[Asked]]:
        """Made anew after each change; an hour's history is looked at once for each of its jobs."""
        if self._sorted != (id(self.calls), len(self.calls)):
            self._by_job = {}
            for asked in self.calls:
                self._by_job.setdefault(asked.job, []).append(asked)
            self._sorted = id(self.calls), len(self.calls)
        return self._by_job


class OfJob:
    """The calls about one job."""

    def __init__(self, calls: list[Asked]) -> None:
        self.calls = calls

    def of(self, *verbs: str) -> list[Asked]:
        return [asked for asked in self.calls if asked.verb in verbs]

    def acked(self, *verbs: str) -> list[Asked]:
        return [asked for asked in self.of(*verbs) if asked.acked]


def broken_promises(history: History, truth: Truth) -> list[str]:
    """In words; empty when what happened explains all that was said."""
    broken = [f"it has not ended: {asked}" for asked in history.pending()]
    for job in history.jobs():
        calls = history.of(job)
        told = [*existence(job, calls, truth), *starts(job, calls, truth), *file(job, calls, truth)]
        told += [*ends(job, calls, truth), *answers(calls)]
        told += list(order(job, calls, truth))
        broken += [f"job {job[-4:]}: {each}" for each in told]
    for job in truth.records.keys() - set(history.jobs()):
        broken.append(f"job {job[-4:]} was never asked for")
    return broken


def existence(job: str, calls: OfJob, truth: Truth) -> Iterable[str]:
    """An acknowledged create is there once, until it is removed."""
    there = truth.records.get(job, [])
    created, removed = calls.acked("create"), calls.of("remove")
    if len(there) > 1:
        yield f"there are {len(there)} of it"
    if created and not removed and not there:
        yield "it was made, and is gone"
    if there and not calls.of("create"):
        yield "nobody made it"
    for gone in calls.acked("remove"):
        if there and all(create.acked and create.before(gone) for create in calls.of("create")):
            yield f"it is there after it was removed: {gone}"
    for asked in calls.calls:
        if asked.verb == "create":  # on an agent that is away that is an answer, too
            continue
        if asked.outcome in NOT_FOUND and not any(each.begun < asked.ended for each in removed):
            known = [each for each in calls.calls if each.acked and each.router == asked.router and each.before(asked)]
            if known:
                yield f"it was said not to be there: {asked}"


def starts(job: str, calls: OfJob, truth: Truth) -> Iterable[str]:
    """A start that was acknowledged was done, and none is done twice."""
    really = truth.started.get(job, 0)
    at_most = bool(calls.of("start")) + len({asked.key for asked in calls.of("restart")})
    if really > at_most:
        yield f"its process began {really} times, and was asked for {at_most} times"
    done = [asked for asked in calls.acked("start", "restart") if asked.state in ("PENDING", "RUNNING")]
    at_least = len({(asked.verb, asked.key) for asked in done})
    if calls.of("restart"):  # one that is told of by an older key may be of another run
        at_least = min(at_least, 1)
    if really < at_least and not (truth.tell_themselves and _ended_by_us(job, calls, truth)):
        yield f"{at_least} starts of it were acknowledged, its process began {really} times"


def _ended_by_us(job: str, calls: OfJob, truth: Truth) -> bool:
    """Whether its process may have been killed as soon as it began, and nobody was told that it ended by itself."""
    if any(asked.acked and asked.reason == "exited" for asked in calls.calls):
        return False
    return job in truth.hurt or bool(calls.of("stop", "remove", "restart"))


def ends(job: str, calls: OfJob, truth: Truth) -> Iterable[str]:
    """What is said of it in the end is so, and why it ended is something that happened."""
    alive = job in set(truth.alive)
    there = truth.records.get(job, [])
    if alive and not there:
        yield "its process runs, and nobody knows of it"
    for state, reason in there:
        if state == "RUNNING" and not alive:
            yield "it is said to run, and its process is gone"
        if state in ("NEW", "FINISHED") and alive:
            yield f"it is {state} ({reason}), and its process runs"
        if state == "NEW" and calls.acked("start"):
            yield "its start was acknowledged and is forgotten"
        if state in ("PENDING", "RUNNING") and _stopped_last(calls):
            yield f"it is {state}, and its stop was acknowledged"
        why_not = _why_not(reason, job, calls, truth)
        if why_not:
            yield why_not


def _stopped_last(calls: OfJob) -> bool:
    """Whether a stop was acknowledged behind which nothing can have made it run again."""
    stops, restarts = calls.acked("stop"), calls.of("restart")
    return any(all(each.acked and each.before(stop) for each in restarts) for stop in stops)


def _why_not(reason: str | None, job: str, calls: OfJob, truth: Truth) -> str:
    """What is wrong with what is said to have ended it; empty where nothing is."""
    if reason is None:
        return ""
    if reason == LOST:
        return "" if job in set(truth.hurt) else "it is lost, and nothing died"
    if reason == "stopped":
        return "" if calls.of("stop", "remove") else "it was stopped, and nobody asked for that"
    if reason in ("exited", "signaled"):
        itself = job in set(truth.brief) or calls.of("stop", "signal")
        return "" if itself else f"it ended by itself ({reason}), and does not do that"
    if reason == "start-failed":
        return "" if job in set(truth.failing) else "its start failed, and could not fail"
    if reason == "orphaned":
        return "" if job in set(truth.orphaned) else "it was ended as orphaned, and was asked for"
    return f"it ended for a reason that there was not: {reason}"


def file(job: str, calls: OfJob, truth: Truth) -> Iterable[str]:
    """Its file holds what was uploaded last; what is found was uploaded, whole, and not overwritten before."""
    uploads = calls.of("upload")
    found = list(calls.acked("download"))
    there = truth.records.get(job, [])
    if job in truth.files and there:
        last = Asked("download", job, "the disk", float("inf"), value=truth.files[job], outcome=OK, ended=float("inf"))
        last.reason = there[0][1]
        found.append(last)
    for read in found:
        overwritten = [each for each in uploads if each.acked and each.before(read)]
        if read.value is None:
            if overwritten and not _files_may_be_lost(read, job, calls, truth):
                yield f"what was uploaded is gone: {read}"
            continue
        possible = [
            each
            for each in uploads
            if each.begun < read.ended and not (each.acked and any(each.before(later) for later in overwritten))
        ]
        if read.value not in [each.value for each in possible]:
            yield f"the file holds {read.value!r}, which is none of {[each.value for each in possible]}: {read}"


def _files_may_be_lost(read: Asked, job: str, calls: OfJob, truth: Truth) -> bool:
    """Whether it is said to be lost, or nobody can be told any more that it was: it is removed or began anew."""
    there = truth.records.get(job, [])
    if LOST in [reason for _, reason in there] + [each.reason for each in calls.calls if each.acked]:
        return True
    if job not in set(truth.hurt):
        return False
    if any(each.begun < read.ended for each in calls.of("restart", "remove")):
        return True
    return not there and not any(each.acked and each.state in OVER and each.before(read) for each in calls.calls)


def order(job: str, calls: OfJob, truth: Truth) -> Iterable[str]:
    """Within a run a job goes on and never back, as one router tells it and as it is in the end; and it ends once."""
    told = [asked for asked in calls.calls if asked.acked and asked.state in ORDER]
    last = [
        Asked("list", job, "the end", float("inf"), outcome=OK, ended=float("inf"), state=state, reason=reason)
        for state, reason in truth.records.get(job, [])
    ]
    for later in [*told, *last]:
        if later.key is not None:  # repeated, it is answered as it was answered first
            continue
        for earlier in told:
            at_one = later in last or (later.place or later.router) == (earlier.place or earlier.router)
            if not at_one or not earlier.before(later) or _began_anew(calls, earlier, later):
                continue
            if ORDER.index(str(later.state)) < ORDER.index(str(earlier.state)):
                yield f"it was {earlier.state}, and {later.state} after that: {later}, after {earlier}"
            elif earlier.state in OVER and later.state in OVER and later.reason != earlier.reason != LOST:
                yield f"it ended as {earlier.reason}, and as {later.reason} after that: {later}, after {earlier}"


def _began_anew(calls: OfJob, earlier: Asked, later: Asked) -> bool:
    """Whether another run can have begun between the two: by a restart, or by a create after a removal."""
    again = calls.of("restart") + (calls.of("create") if calls.of("remove") else [])
    return any(each.begun < later.ended and not (each.acked and each.before(earlier)) for each in again)


def answers(calls: OfJob) -> Iterable[str]:
    """Of one router: no older news after newer ones; no wait ends before its job has."""
    for asked in calls.acked("wait"):
        if asked.state not in OVER and not asked.timeout:
            yield f"a wait ended before the job: {asked}"
        if asked.state in OVER and not asked.reason:
            yield f"a wait told of an end without a reason: {asked}"
    seen: dict[tuple[str, tuple[int, int]], list[Asked]] = {}
    for asked in sorted(calls.calls, key=lambda each: each.begun):
        if not asked.acked or asked.revision is None or asked.boots[0] != asked.boots[1]:
            continue
        if asked.key is not None:  # repeated, it is answered as it was answered first
            continue
        earlier = seen.setdefault((asked.router, asked.boots), [])
        for each in earlier:
            if each.before(asked) and each.revision is not None and each.revision > asked.revision:
                yield f"revision {asked.revision} was told after {each.revision}: {asked}, after {each}"
        earlier.append(asked)
