"""GET /metrics: what Prometheus reads."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from prouter.client import Client
from prouter.testing.fleet import serving_job

SERVER = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"x" * 1000)
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


async def scraped(client: Client) -> dict[tuple[str, ...], float]:
    """Values by name and labels' values."""
    async with client.session.get(f"{client.url}/metrics") as answer:
        assert answer.content_type == "text/plain"
        text = await answer.text()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_requests_jobs_links_and_pipes_are_counted(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await serving_job(client, agent, SERVER)
        for _ in range(3):
            async with client.session.post(job.url(), data=b"y" * 10) as answer:
                await answer.read()
        async with client.session.get(f"{client.url}/jobs/unknown/info") as answer:
            assert answer.status == 404
        found = await scraped(client)
    assert found["prouter_requests_total", "proxy", "200"] == 3
    assert found["prouter_requests_total", "/jobs/{job}/info", "404"] == 1
    assert found["prouter_request_body_bytes_total", "proxy"] == 30
    assert found["prouter_answer_body_bytes_total", "proxy"] == 3000
    assert found["prouter_request_duration_seconds_count", "proxy"] == 3
    assert found["prouter_jobs", "RUNNING"] == 1
    assert found["prouter_agents", "true"] == 1
    assert found["prouter_links",] == 1
    assert found["prouter_pipes",] >= 1
    assert found["prouter_connections", "control"] >= 1
    assert found["process_open_fds",] > 0


async def test_labels_do_not_grow_with_what_is_asked_for(fleet) -> None:
    router = fleet.router()
    async with router.client() as client:
        for number in range(20):
            async with client.session.get(f"{client.url}/nowhere/{number}") as answer:
                assert answer.status == 404
        found = await scraped(client)
    routes = {key[1] for key in found if key[0] == "prouter_requests_total"}
    assert routes == {""}, "requests without a route are one"


BROKEN = """
from prouter import hookimpl

class Broken:
    @hookimpl
    async def prouter_health(self):
        raise RuntimeError("unwell")
"""


async def test_calls_of_plugins_are_counted_with_their_failures_and_time(fleet, tmp_path) -> None:
    (tmp_path / "broken.py").write_text(BROKEN)
    router = fleet.router(f"plugins.load=[{str(tmp_path / 'broken.py')!r}]")
    fleet.expected_errors += ["plugin broken failed in prouter_health after", "Traceback"]
    async with router.client() as client:
        for _ in range(3):
            async with client.session.get(f"{client.url}/readyz") as answer:
                await answer.read()
        found = await scraped(client)
    key = ("prouter_health", "broken")
    assert (found["prouter_hook_calls_total", *key], found["prouter_hook_failures_total", *key]) == (3, 3)
    assert 0 < found["prouter_hook_seconds_total", *key] < 10
    assert found["prouter_hook_failures_total", "prouter_resolve_route", "http_proxy"] == 0
    assert found["prouter_hook_calls_total", "prouter_resolve_route", "http_proxy"] >= 3
    hooks = {name[1] for name in found if name[0] == "prouter_hook_calls_total"}
    assert "prouter_proxy_response" not in hooks, "it was never called"
    assert router.log.count("RuntimeError: unwell") == 1, "a traceback now and then is enough"
