"""Metrics that plugins hand over: shown under their name, well-formed and bounded, whatever they hand over."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from prouter.model.contributions import Metric, MetricKind
from prouter.plugins.metrics.contributed import Contributed
from prouter.testing import Fleet, eventually

GAUGE, COUNTER = MetricKind.GAUGE, MetricKind.COUNTER
PLUGIN = """
import asyncio
from prouter import hookimpl
from prouter.model.contributions import Metric, MetricKind

class Plugin:
    @hookimpl
    async def prouter_metrics(self):
        BODY
"""
GOOD = """return [
            Metric("jobs", "Jobs\\nof teams.", MetricKind.GAUGE, [({"team": 'a"b\\\\\\n'}, 3), ({"team": "c"}, 4)]),
            Metric("refused", "Refusals.", MetricKind.COUNTER, [({}, 5)]),
        ]"""
MEET = """import builtins
        if not hasattr(builtins, "met"):
            builtins.met = asyncio.Event()
            await builtins.met.wait()
        builtins.met.set()
        return [Metric("met", "Both were asked.", MetricKind.GAUGE, [({}, 1)])]"""


def shown(told: list[tuple[str, Any]], *, most: int = 10, taken: tuple[str, ...] = ()) -> dict[str, list[Any]]:
    """Samples by the name of the family."""
    families = Contributed(most).families(told, taken)
    return {family.name: [(sample.labels, sample.value) for sample in family.samples] for family in families}


async def scraped(url: str, session: Any) -> dict[tuple[str, ...], float]:
    async with session.get(f"{url}/metrics") as answer:
        assert answer.status == 200
        text = await answer.text()
    found = {}
    for family in text_string_to_metric_families(text):
        found |= {(sample.name, *sample.labels.values()): sample.value for sample in family.samples}
    return found


async def test_metrics_of_a_plugin_stand_beside_those_of_the_router(fleet: Fleet, tmp_path: Path) -> None:
    bodies = {
        "team_quotas": GOOD,
        "broken": "raise RuntimeError",
        "rubbish": "return ['nonsense']",
        "odd": "return [Metric(5, None, 'x', 7)]",
        "slow": "await asyncio.sleep(600)",
        "one": MEET,
        "two": MEET,
    }
    for name, body in bodies.items():
        (tmp_path / f"{name}.py").write_text(PLUGIN.replace("BODY", body))
    fleet.expected_errors += ["failed in prouter_metrics", "Traceback"]
    load = f"plugins.load={[str(tmp_path / f'{name}.py') for name in bodies]!r}"
    router = fleet.router(load, "plugins.deadlines={'prouter_metrics': 1}")
    async with router.client() as client:
        found = await scraped(client.url, client.session)
    assert found["prouter_team_quotas_jobs", 'a"b\\\n'] == 3
    assert found["prouter_team_quotas_jobs", "c"] == 4
    assert found["prouter_team_quotas_refused_total",] == 5
    assert found["prouter_one_met",] == found["prouter_two_met",] == 1, "they wait for each other"
    assert found["prouter_connections", "control"] >= 1
    await eventually(lambda: "of the plugin odd's metric '5' something is left out" in router.log)


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        (Metric("a b", "", GAUGE, [({}, 1)]), {}),
        (Metric("é", "", GAUGE, [({}, 1)]), {}),
        (Metric("a", "", "histogram", [({}, 1)]), {}),  # type: ignore[arg-type]
        (Metric("a", "", GAUGE, [({"__name__": "x"}, 1), ({"ok": "x"}, 2)]), {"prouter_p_a": [({"ok": "x"}, 2)]}),
        (Metric("a", "", GAUGE, [({"x": "y" * 257}, 1)]), {"prouter_p_a": []}),
        (Metric("a", "", GAUGE, [({"x": "\udc80"}, 1), ({"x": 5}, 1), 7, ({}, "1x")]), {"prouter_p_a": []}),  # type: ignore[list-item,dict-item]
        (Metric("a", "", GAUGE, [({f"x{n}": "" for n in range(17)}, 1)]), {"prouter_p_a": []}),
        (Metric("a", "", GAUGE, [({"x": "1"}, 1), ({"x": "1"}, 2)]), {"prouter_p_a": [({"x": "1"}, 1)]}),
        (Metric("a_total", "", COUNTER, [({}, 1), ({"x": ""}, -1), ({"y": ""}, math.nan)]), {"prouter_p_a": [({}, 1)]}),
        (
            Metric("a", "\udc80" * 999, GAUGE, [({}, 10**999), ({"x": ""}, math.inf)]),
            {"prouter_p_a": [({"x": ""}, math.inf)]},
        ),
        (Metric("a", "", GAUGE, 5), {}),  # type: ignore[arg-type]
    ],
)
def test_what_is_not_well_formed_is_left_out(metric: Metric, said: dict[str, Any]) -> None:
    assert shown([("p", metric)]) == said


def test_a_plugin_has_room_for_so_many_samples_and_no_other_has_less(caplog: pytest.LogCaptureFixture) -> None:
    many = Metric("many", "", GAUGE, [({"n": str(n)}, n) for n in range(50)])
    empty = [("empty", Metric(f"m{n}", "", GAUGE)) for n in range(50)]
    found = shown(
        [("greedy", many), ("greedy", Metric("more", "", GAUGE, [({}, 1)])), ("modest", many), *empty], most=10
    )
    assert len(found["prouter_greedy_many"]) == len(found["prouter_modest_many"]) == 10
    assert found["prouter_greedy_more"] == []
    assert len([line for line in caplog.messages if "more than 10 samples" in line]) == 3


def test_what_is_left_out_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    contributed = Contributed(10)
    for _ in range(5):
        assert list(contributed.families([("p", Metric("a b", "", GAUGE))], ())) == []
    assert len(caplog.messages) == 1
    for number in range(500):
        list(contributed.families([("p", Metric(f"a {number}", "", GAUGE))], ()))
    assert len(caplog.messages) <= 100


@pytest.mark.parametrize(
    ("told", "taken"),
    [
        ([("a", Metric("b_c", "", GAUGE, [({}, 1)])), ("a_b", Metric("c", "", GAUGE, [({}, 2)]))], ()),
        ([("a", Metric("b", "", COUNTER, [({}, 1)])), ("a", Metric("b_total", "", GAUGE, [({}, 2)]))], ()),
        ([("a", Metric("b", "", GAUGE, [({}, 1)])), ("a", Metric("b", "", COUNTER, [({}, 2)]))], ()),
        (
            [("a", Metric("b", "", GAUGE, [({}, 1)])), ("requests", Metric("total", "", GAUGE))],
            ("prouter_requests_total",),
        ),
    ],
)
def test_a_name_is_shown_once(told: list[tuple[str, Metric]], taken: tuple[str, ...]) -> None:
    (samples,) = shown(told, taken=taken).values()
    assert samples == [({}, 1)]


def test_names_of_plugins_are_made_fit() -> None:
    assert list(shown([("my-plugin.x", Metric("a", "", GAUGE, [({}, 1)]))])) == ["prouter_my_plugin_x_a"]
