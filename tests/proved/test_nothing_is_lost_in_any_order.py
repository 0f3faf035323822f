"""R22, and the invariants of all jobs: whatever is asked and whatever breaks, in any order that hypothesis finds.

The nodes are the real parts of routers and agents on a simulated network, disk and clock (simulated_nodes.py), with
jobs that end with their agent, and with guardians that wait for the next one. After each step what can be seen at once
is looked at; at the end all is made well, and the whole history has to be explained. A failure prints the steps, which
run again as they were. That mistakes are found, and which ones: test_the_model_finds_mistakes.py. The long form goes on
for PROUTER_MODEL_SECONDS with each kind of jobs.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from figures import LONG, Figures
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from simulated_world import AGENTS, World

SECONDS = float(os.environ.get("PROUTER_MODEL_SECONDS", 480)) if LONG else 0.0
"""With each of the two kinds of jobs; the short form has one round, which is the same each time."""
LEAST_HISTORIES = int(SECONDS / 4) if LONG else 40
MEMORY = Path("/dev/shm")
ASKED = st.sampled_from(
    [
        *("create", "start", "create-and-start", "restart", "restart", "stop", "remove"),
        *("upload", "upload", "download", "wait", "info"),
    ]
)
BREAKS = st.sampled_from(
    [
        *("cut", "cut", "cut", "agent-forgets", "router-forgets", "silence", "freeze", "jump"),
        *("agent-dies", "agent-dies", "router-dies", "guardian-dies"),
    ]
)
JOBS = st.sampled_from([0, 1, 2, 3, 7])
ROUTER = st.sampled_from(["r1", "r1", "r2"])
AGENT = st.sampled_from(sorted(AGENTS))
SOON = st.sampled_from([0.0, 0.003, 0.011, 0.013, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.12])
"""Seconds from a question to what breaks: all that a start does is done within these."""
THEN = st.sampled_from([0.0, 0.0, 0.003, 0.03, 0.3, 2.5])
"""Seconds until the next step; what takes longer than that is under way then."""
KEY = st.sampled_from(["first", "second"])


@dataclass(slots=True)
class Tried:
    """How much of it."""

    histories: int = 0
    steps: int = 0
    acked: int = 0


class EverythingBreaks(RuleBasedStateMachine):
    """Clients ask, and things break. Two jobs run when it begins, one is only made."""

    survive = False
    tried = Tried()

    def __init__(self) -> None:
        super().__init__()
        self.tried.histories += 1
        self.place = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None, prefix="proved-"))
        self.world = World(self.place, survive=self.survive)
        for job in (0, 1, 2):
            self.world.create(job, "r1")
        self.world.loop.run_for(0.1)
        for job in (0, 2):
            self.world.start(job, "r1")
        self.world.loop.run_for(0.2)

    def ask(self, what: str, job: int, router: str, key: str) -> None:
        world = self.world
        match what:
            case "create":
                world.create(job, router)
            case "start":
                world.start(job, router)
            case "create-and-start":
                world.create(job, router)
                world.loop.run_for(0.1)
                world.start(job, router)
            case "restart":
                world.restart(job, router, key)
            case "upload":
                world.upload(job, router)
            case "download":
                world.download(job, router)
            case "stop":
                world.stop(job, router)
            case "remove":
                world.remove(job, router, key if key == "first" else None)
            case "wait":
                world.wait(job, router, None if key == "first" else 1.0)
            case "info":
                world.info(job, router)

    def breaks(self, what: str, job: int, router: str, seconds: float) -> None:
        """Of what this job needs; what died is back after that time."""
        world, agent = self.world, "a2" if job % 3 == 2 else "a1"
        match what:
            case "cut":
                world.cut(agent, router)
                world.loop.run_for(seconds)
            case "agent-dies":
                world.crash_agent(agent)
                world.loop.run_for(seconds)
                world.start_agent(agent)
            case "router-dies":
                world.crash_router(router)
                world.loop.run_for(seconds)
                world.start_router(router)
            case "guardian-dies":
                world.guardian_dies(f"{job:032x}")
            case "freeze":
                node = agent if seconds > 1 else router
                world.freeze(node)
                world.loop.run_for(seconds * 8)
                world.thaw(node)
            case "silence":
                world.silence(agent, router)
                world.loop.run_for(seconds)
            case "agent-forgets":
                world.forgets(agent, router)
                world.loop.run_for(seconds)
            case "router-forgets":
                world.forgets(router, agent)
                world.loop.run_for(seconds)
            case "jump":
                world.jump(agent if seconds > 1 else router, 3600.0 if seconds < 0.1 else -3600.0)

    # --- what happens ---

    @rule(what=ASKED, job=JOBS, router=ROUTER, key=KEY, then=THEN)
    def asked(self, what: str, job: int, router: str, key: str, then: float) -> None:
        self.ask(what, job, router, key)
        self.world.loop.run_for(then)

    @rule(what=ASKED, job=JOBS, router=ROUTER, key=KEY, soon=SOON, breaks=BREAKS, seconds=THEN, again=st.booleans())
    def asked_and_meanwhile(
        self, what: str, job: int, router: str, key: str, soon: float, breaks: str, seconds: float, again: bool
    ) -> None:
        self.ask(what, job, router, key)
        self.world.loop.run_for(soon)
        self.breaks(breaks, job, router, seconds)
        if again:  # as a client does that was told to
            self.ask(what, job, router, key)
            self.world.loop.run_for(0.3)

    @rule(dies=st.booleans(), key=KEY)
    def a_restart_repeated(self, dies: bool, key: str) -> None:
        """Of a job that has ended both times; its agent may have died between them."""
        self.ask("create-and-start", 7, "r1", key)
        self.world.loop.run_for(2)
        for _ in range(2):
            self.ask("restart", 7, "r1", key)
            self.world.loop.run_for(2.5)
            if dies:
                self.breaks("agent-dies", 7, "r1", 0.03)
                self.world.loop.run_for(1)

    @rule(job=JOBS, router=ROUTER, then=THEN)
    def waited_for_from_before_its_start(self, job: int, router: str, then: float) -> None:
        for what in ("create", "wait"):
            self.ask(what, job, router, "first")
            self.world.loop.run_for(0.05)
        self.ask("start", job, router, "")
        self.world.loop.run_for(then)

    @rule(what=st.sampled_from(["remove", "stop"]), job=st.sampled_from([0, 1]), dies=st.booleans())
    def asked_elsewhere_while_a_link_is_down(self, what: str, job: int, dies: bool) -> None:
        """What one router knows is changed by the other one."""
        self.breaks("router-dies" if dies else "cut", job, "r1", 0.0)
        self.ask(what, job, "r2", "first")
        self.world.loop.run_for(0.05)

    @rule(what=BREAKS, job=JOBS, router=ROUTER, seconds=THEN)
    def broken(self, what: str, job: int, router: str, seconds: float) -> None:
        self.breaks(what, job, router, seconds)

    @rule(agent=AGENT, router=ROUTER, there=THEN, back=THEN)
    def slow(self, agent: str, router: str, there: float, back: float) -> None:
        self.world.slow(agent, router, there, back)

    @rule(then=THEN)
    def mended(self, then: float) -> None:
        self.world.mend_lines()
        self.world.loop.run_for(then)

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 16.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.loop.run_for(seconds)

    @rule()
    def settled(self) -> None:
        """Before anything else hides it: routers know what agents have."""
        self.world.settle()
        broken = self.world.disagreements()
        assert not broken, broken

    @rule(count=st.integers(1, 30))
    def a_few_steps(self, count: int) -> None:
        self.world.loop.run_steps(count)

    # --- what must hold ---

    @invariant()
    def nothing_is_wrong_now(self) -> None:
        self.tried.steps += 1
        broken = self.world.broken_now()
        assert not broken, broken

    def teardown(self) -> None:
        try:
            broken = self.world.prove()
        finally:
            self.tried.acked += sum(asked.acked for asked in self.world.history.calls)
            self.world.close()
            shutil.rmtree(self.place)
        assert not broken, "\n".join(map(str, [*broken, "of:", *self.world.history.calls]))


class GuardiansWait(EverythingBreaks):
    """The same with `jobs.survive_agent`: an agent that dies takes no job with it."""

    survive = True


SETTINGS = settings(
    max_examples=50 if LONG else 45,
    stateful_step_count=60 if LONG else 20,
    derandomize=not LONG,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("model", "jobs"), [(EverythingBreaks, "end with their agent"), (GuardiansWait, "outlive their agent")]
)
def test_nothing_is_lost(model: type[EverythingBreaks], jobs: str, figures: Figures) -> None:
    tried = model.tried = Tried()
    until, broken = time.monotonic() + SECONDS, 0
    try:
        while True:  # each round in an order of its own
            run_state_machine_as_test(model, settings=SETTINGS)
            if time.monotonic() >= until:
                break
    except BaseException as error:
        broken = len(error.exceptions) if isinstance(error, BaseExceptionGroup) else 1
        raise
    finally:
        where = f"in the model, jobs that {jobs}"
        least = LEAST_HISTORIES
        figures.record("R22", f"histories {where}", tried.histories, goal=f">= {least}", holds=tried.histories >= least)
        figures.record("R22", f"steps {where}", tried.steps)
        figures.record("R22", f"calls acknowledged {where}", tried.acked)
        figures.record("R22", f"promises broken {where}", broken, goal=0)
    assert tried.acked > tried.histories, "nobody was told anything"
