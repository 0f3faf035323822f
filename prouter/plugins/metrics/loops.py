"""How late event loops are, for Prometheus: the router's own as a histogram, those of agents as they tell it."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from prouter.model.agents import AgentInfo
from prouter.model.services import Router
from prouter.model.traffic import BUCKETS

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric


def loops(router: Router, agents: Sequence[AgentInfo], max_agents: int) -> Iterator[Metric]:
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    count = router.describe.loop()
    about = "How late the event loop came to what was due, looked at a few times a second."
    late = HistogramMetricFamily("prouter_loop_delay_seconds", about, labels=[])
    late.add_metric([], cumulative(count.durations), count.seconds)
    yield late
    about = "The most that the event loop was late within about a minute."
    yield GaugeMetricFamily("prouter_loop_delay_worst_seconds", about, value=count.worst_seconds)
    about = "Times that something held the event loop for longer than loop.slow_callback; the log names it."
    yield CounterMetricFamily("prouter_loop_slow_callbacks", about, value=count.slow)
    told = [(agent.loop, agent.uid) for agent in agents if agent.loop is not None]
    shown = heapq.nlargest(max_agents, told, key=lambda pair: pair[0].worst_seconds)
    about = "The most that an agent's event loop was late within about a minute, as it told last."
    worst = GaugeMetricFamily("prouter_agent_loop_delay_seconds", about, labels=["agent"])
    slow = CounterMetricFamily("prouter_agent_loop_slow_callbacks", "As it told last.", labels=["agent"])
    for delay, agent in shown:
        worst.add_metric([agent], delay.worst_seconds)
        slow.add_metric([agent], delay.slow)
    yield worst
    yield slow


def cumulative(durations: Sequence[int]) -> list[tuple[str, float]]:
    """As buckets of a histogram."""
    so_far, shown = 0, []
    for bound, count in zip((*map(str, BUCKETS), "+Inf"), durations, strict=True):
        so_far += count
        shown.append((bound, float(so_far)))
    return shown
