"""A scrape of very many samples is the text that Prometheus's own client writes, and holds nobody up meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from prouter.plugins.metrics.turns import PIECE, TURN_SECONDS, in_turns, written


class Families:
    """With no, few, very many samples, odd texts, and a histogram."""

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("none", "There are\nno samples \\ of it.", labels=["a"])
        yield GaugeMetricFamily("one", "One.", value=1.5)
        for count in (PIECE, PIECE + 1, 10 * PIECE):
            many = CounterMetricFamily(f"many_{count}", "# HELP not", labels=["name"])
            for number in range(count):
                many.add_metric([f"# TYPE {number}\n"], number)
            yield many
        times = HistogramMetricFamily("times", "Of all.", labels=["route"])
        times.add_metric(["/"], [("0.1", 1.0), ("+Inf", 2.0)], 3.0)
        yield times


async def test_pieces_are_together_what_is_written_at_once() -> None:
    assert await written(Families().collect()) == generate_latest(Families())


async def test_others_have_their_turn_while_a_scrape_is_made() -> None:
    turns, steps = 0, 10

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    def long() -> Iterator[int]:
        for number in range(steps):
            until = time.perf_counter() + TURN_SECONDS
            while time.perf_counter() < until:
                pass
            yield number

    beside = asyncio.create_task(others())
    assert [number async for number in in_turns(long())] == list(range(steps))
    assert turns >= steps - 1
    beside.cancel()
