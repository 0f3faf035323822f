"""What the dashboard and the alert rules name is there: every metric, label and value, of a router that is in use."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from promql import named

from prouter.client import Client
from prouter.testing import eventually
from prouter.testing.fleet import Fleet, serving_job

PLACE = Path(__file__).parents[2] / "examples" / "monitoring"
OF_PROMETHEUS = {"instance", "job"}
"""Labels that it adds itself, and `up` is a metric of its own."""
VARIABLE = "$instance"
SERVER = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/well":
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""
Samples = dict[str, list[dict[str, str]]]
"""Labels of each sample, by its name."""


def expressions() -> Iterator[tuple[str, str, str]]:
    """(where it is, the expression, what is said about its values)."""
    board = json.loads((PLACE / "dashboard.json").read_text())
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            yield f"panel {panel['title']!r}", target["expr"], target["legendFormat"].replace("{{", "{{ $labels.")
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            query = re.sub(r"\((\w+), \w+\)", r"(\1)", variable["query"]["query"])
            yield f"variable {variable['name']!r}", query, ""
    for rule in rules():
        yield f"alert {rule['alert']!r}", rule["expr"], rule["annotations"]["summary"]


def rules() -> list[dict[str, Any]]:
    read = yaml.safe_load((PLACE / "alerts.yaml").read_text())
    return [rule for group in read["groups"] for rule in group["rules"]]


async def samples(client: Client) -> Samples:
    async with client.session.get(f"{client.url}/metrics") as answer:
        text = await answer.text()
    found: Samples = {"up": [{}]}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(dict(sample.labels))
    return found


async def test_all_that_is_named_is_really_shown(fleet: Fleet) -> None:
    router, agent = await fleet.pair("jobs.activity_interval=0.1")
    async with router.client() as client:
        job = await serving_job(client, agent, SERVER)
        for path, status in (("well", 200), ("badly", 502)):
            async with client.session.get(job.url(path)) as answer:
                assert answer.status == status

        async def told() -> Samples | None:
            found = await samples(client)
            return found if "prouter_agent_loop_delay_seconds" in found else None

        shown = await eventually(told)
    mistakes = [mistake for where, *texts in expressions() for mistake in wrong(where, *texts, shown)]
    assert mistakes == []


def wrong(where: str, expression: str, said: str, shown: Samples) -> Iterator[str]:
    found = named(expression)
    if not found.metrics:
        yield f"{where}: it names no metric"
    for metric in found.metrics - shown.keys():
        yield f"{where}: {metric} is not shown"
    labels = {label for metric in found.metrics for sample in shown.get(metric, ()) for label in sample}
    spoken = set(re.findall(r"\{\{ \$labels\.(\w+)", said))
    for label in (found.labels | spoken) - labels - OF_PROMETHEUS:
        yield f"{where}: no sample has the label {label}"
    if found.by is not None:
        for label in spoken - found.by:
            yield f"{where}: the label {label} is summed away"
    for metric, label, operator, value in found.matchers:
        values = {sample[label] for sample in shown.get(metric, ()) if label in sample}
        if label in OF_PROMETHEUS or operator.startswith("!"):
            continue
        if not any(value == there if operator == "=" else re.fullmatch(value, there) for there in values):
            yield f"{where}: {metric} has no {label} {operator} {value!r}, only {sorted(values)}"


@pytest.mark.parametrize(
    ("expression", "said", "mistake"),
    [
        ("prouter_nothing > 0", "", "prouter_nothing is not shown"),
        ('prouter_jobs{state="LOST"}', "", "prouter_jobs has no state = 'LOST'"),
        ('prouter_jobs{status="RUNNING"}', "", "prouter_jobs has no status"),
        ("sum by (colour) (prouter_jobs)", "", "no sample has the label colour"),
        ("sum by (instance) (prouter_jobs)", "{{ $labels.state }}", "the label state is summed away"),
        ("sum(rate(prouter_jobs[5m])) / sum(rate(prouter_lost[5m]))", "", "prouter_lost is not shown"),
    ],
)
def test_what_is_not_there_would_be_found(expression: str, said: str, mistake: str) -> None:
    shown = {"prouter_jobs": [{"state": "RUNNING"}]}
    assert any(mistake in found for found in wrong("here", expression, said, shown))


def test_each_alert_says_what_happens_and_what_to_do() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names)) > 5
    page = (PLACE.parents[1] / "docs" / "operations.md").read_text()
    for rule in rules():
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["description"]
        assert rule["annotations"]["summary"]
        assert f"`{rule['alert']}`" in page, f"{rule['alert']} is not in docs/operations.md"


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    board = json.loads((PLACE / "dashboard.json").read_text())
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, f"{panel['title']} lies on another panel"
        taken |= cells
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel.get("targets", ()))
