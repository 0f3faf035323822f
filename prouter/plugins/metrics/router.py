"""GET /metrics: Prometheus text about connections, links, pipes, jobs and requests.

Read from counts that the core keeps anyway, at the moment of the scrape; nothing is counted here. No label grows
without bound: routes are patterns, agents and jobs are added up, and of agents one by one only so many are shown
(loops.py). What plugins hand over is beside it (contributed.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from prouter import hookimpl
from prouter.model.agents import AgentInfo
from prouter.model.http import Reply
from prouter.model.jobs import JobState
from prouter.model.plugin import Call, ConfigSection, Route
from prouter.model.services import Router
from prouter.model.traffic import RequestCount
from prouter.plugins.metrics.contributed import Contributed
from prouter.plugins.metrics.loops import cumulative, loops
from prouter.plugins.metrics.turns import in_turns, written

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

STATES = tuple(state for state in JobState if state is not JobState.CLOSED)


class Metrics:
    """Plugin `metrics`."""

    def __init__(self) -> None:
        self._router: Router | None = None
        self._registry: CollectorRegistry | None = None
        self._contributed = Contributed(0)
        self._max_agents = 0

    @hookimpl
    def prouter_config_sections(self) -> Sequence[ConfigSection]:
        samples = {
            "type": "integer",
            "minimum": 0,
            "default": 1000,
            "description": "Samples that one plugin may show in GET /metrics; what is more is left out.",
        }
        agents = {
            "type": "integer",
            "minimum": 0,
            "default": 500,
            "description": "Agents of which GET /metrics shows each one's event loop; of more, those that are latest.",
        }
        return [ConfigSection("metrics", {"plugin_samples": samples, "agents": agents})]

    @hookimpl
    def prouter_startup(self, router: Router) -> None:
        from prometheus_client import CollectorRegistry
        from prometheus_client.gc_collector import GCCollector
        from prometheus_client.platform_collector import PlatformCollector
        from prometheus_client.process_collector import ProcessCollector

        self._router = router
        section = router.config.section("metrics")
        self._contributed, self._max_agents = Contributed(section["plugin_samples"]), section["agents"]
        self._registry = CollectorRegistry()
        self._registry.register(self)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)

    @hookimpl
    def prouter_routes(self) -> Sequence[Route]:
        summary = "Counts for Prometheus."
        return [Route(("GET", "HEAD"), "/metrics", "metrics.read", summary, self._scrape, media_type="text/plain")]

    async def _scrape(self, call: Call) -> Reply:
        from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

        assert self._registry is not None
        assert self._router is not None
        told = await self._router.describe.metrics()
        families = [family async for family in in_turns(self._registry.collect())]
        taken = {name for family in families for name in (family.name, *(sample.name for sample in family.samples))}
        families += [family async for family in in_turns(self._contributed.families(told, taken))]
        return Reply(200, (), await written(families), CONTENT_TYPE_PLAIN_0_0_4)

    def collect(self) -> Iterable[Metric]:
        """Prometheus's Collector: asked at every scrape."""
        assert self._router is not None
        yield from _connections(self._router)
        agents = self._router.agents.list()
        yield from _agents(self._router, agents)
        yield from _queue(self._router)
        yield from _requests(self._router)
        yield from _hooks(self._router)
        yield from loops(self._router, agents, self._max_agents)


def _connections(router: Router) -> Iterator[Metric]:
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

    there = GaugeMetricFamily("prouter_connections", "Open connections by endpoint.", labels=["endpoint"])
    ever = CounterMetricFamily("prouter_connections_accepted", "Connections so far, by endpoint.", labels=["endpoint"])
    for endpoint, traffic in router.traffic.items():
        there.add_metric([endpoint], traffic.connections)
        ever.add_metric([endpoint], traffic.connections_ever)
    yield there
    yield ever


def _agents(router: Router, agents: Sequence[AgentInfo]) -> Iterator[Metric]:
    from prometheus_client.metrics_core import GaugeMetricFamily

    known = GaugeMetricFamily("prouter_agents", "Agents by whether they have a link now.", labels=["connected"])
    linked = sum(agent.connected for agent in agents)
    known.add_metric(["true"], linked)
    known.add_metric(["false"], len(agents) - linked)
    yield known
    yield GaugeMetricFamily("prouter_links", "Control links to agents.", value=linked)
    yield GaugeMetricFamily("prouter_pipes", "Data connections to agents.", value=sum(a.pipes for a in agents))
    yield from _pipes(router)
    counts = Counter(record.state for _, record in router.jobs.list())
    jobs = GaugeMetricFamily("prouter_jobs", "Jobs by state.", labels=["state"])
    for state in STATES:
        jobs.add_metric([state.value], counts[state])
    yield jobs


def _queue(router: Router) -> Iterator[Metric]:
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

    now = router.queue.now()
    yield GaugeMetricFamily("prouter_queue_jobs", "Jobs that wait for an agent with room.", value=now.jobs)
    yield GaugeMetricFamily("prouter_queue_places", "As many as may.", value=now.most)
    yield GaugeMetricFamily(
        "prouter_queue_longest_seconds", "Of the one that waits for longest.", value=now.longest_seconds
    )
    left = CounterMetricFamily("prouter_queue_left", "Jobs that wait no more, by what became of them.", labels=["how"])
    for how in ("placed", "given_up", "removed", "turned_away"):
        left.add_metric([how], getattr(now.counts, how))
    yield left
    waited = "Seconds that those which were placed waited, together."
    yield CounterMetricFamily("prouter_queue_wait_seconds", waited, value=now.counts.wait_seconds)


def _pipes(router: Router) -> Iterator[Metric]:
    from prometheus_client.metrics_core import GaugeMetricFamily

    counts: Counter[str] = Counter()
    for link in router.agents.connections():
        counts.update({name: link["pipes"][name] for name in ("busy", "idle", "warm", "waiting")})
    uses = GaugeMetricFamily("prouter_pipes_by_use", "Data connections to agents by what they do.", labels=["use"])
    for use in ("busy", "idle", "warm"):
        uses.add_metric([use], counts[use])
    yield uses
    yield GaugeMetricFamily(
        "prouter_pipes_waiting", "Requests that wait for a data connection.", value=counts["waiting"]
    )


def _requests(router: Router) -> Iterator[Metric]:
    from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily

    labels = ["route", "status"]
    count = CounterMetricFamily("prouter_requests", "Finished requests; status 0: the client left.", labels=labels)
    inward = CounterMetricFamily("prouter_request_body_bytes", "Bytes of bodies from clients.", labels=["route"])
    outward = CounterMetricFamily("prouter_answer_body_bytes", "Bytes of bodies to clients.", labels=["route"])
    duration = HistogramMetricFamily(
        "prouter_request_duration_seconds", "From the whole head to the end of the answer.", labels=["route"]
    )
    by_route: dict[str, RequestCount] = {}
    for (route, status), row in router.traffic["control"].requests.items():
        count.add_metric([route, str(status)], row.count)
        _add(by_route.setdefault(route, RequestCount()), row)
    for route, row in by_route.items():
        inward.add_metric([route], row.bytes_in)
        outward.add_metric([route], row.bytes_out)
        duration.add_metric([route], cumulative(row.durations), row.seconds)
    yield from (count, inward, outward, duration)


def _hooks(router: Router) -> Iterator[Metric]:
    from prometheus_client.metrics_core import CounterMetricFamily

    labels = ["plugin", "hook"]
    calls = CounterMetricFamily("prouter_hook_calls", "Calls of plugins that ended, however they did.", labels=labels)
    failures = CounterMetricFamily("prouter_hook_failures", "Of these, without an answer.", labels=labels)
    seconds = CounterMetricFamily("prouter_hook_seconds", "From the calls to the answers.", labels=labels)
    for count in router.describe.hook_calls():
        calls.add_metric([count.plugin, count.hook], count.calls)
        failures.add_metric([count.plugin, count.hook], count.failures)
        seconds.add_metric([count.plugin, count.hook], count.seconds)
    yield from (calls, failures, seconds)


def _add(total: RequestCount, row: RequestCount) -> None:
    total.bytes_in += row.bytes_in
    total.bytes_out += row.bytes_out
    total.seconds += row.seconds
    total.durations = [left + right for left, right in zip(total.durations, row.durations, strict=True)]
