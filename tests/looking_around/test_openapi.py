"""The description of the API: true, complete, and what it does not say does not happen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from prouter.client import Client

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
ENDLESS = "^/(shutdown|events)$|/wait$|/archive$"
"""Routes that end the router, or stay open, or answer in parts."""


def fuzzed(url: str, place: Path, *options: str, config: str = "") -> str:
    """What schemathesis finds wrong; empty when nothing."""
    (place / "schemathesis.toml").write_text(config)
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(place / "schemathesis.toml"), "run"]
    command += [f"{url}/openapi.json", "--checks", CHECKS, "--seed", "1", "--no-color", "--request-timeout", "30"]
    found = subprocess.run([*command, *options], capture_output=True, text=True, timeout=110, cwd=place)
    return "" if found.returncode == 0 else found.stdout + found.stderr


async def test_no_undocumented_status_and_no_500_whoever_asks_for_what(fleet, tmp_path) -> None:
    router, _ = await fleet.pair()
    found = fuzzed(router.url(), tmp_path, "--max-examples", "10", "--exclude-path-regex", ENDLESS)
    assert not found, found


async def test_no_undocumented_status_and_no_500_on_a_job_that_runs(fleet, tmp_path) -> None:
    router, agent = await fleet.pair("jobs.stop_grace=0.1")
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid})
        await job.start([sys.executable, "-c", "import time; time.sleep(600)"], port_expected_count=0)
        config = f'[parameters]\n"path.job" = "{job.info["uid"]}"\n'
        only = ("--include-path-regex", r"/jobs/\{job\}/", "--exclude-path-regex", f"{ENDLESS}|/remove$")
        found = fuzzed(router.url(), tmp_path, "--max-examples", "10", *only, config=config)
    assert not found, found


async def described(client: Client) -> dict[str, dict[str, dict[str, object]]]:
    return dict((await client.request("GET", "/openapi.json"))["paths"])


async def test_the_paths_are_below_the_prefix_under_which_the_client_sees_us(fleet) -> None:
    router = fleet.router("control.trusted_proxies=['127.0.0.1']")
    async with router.client() as client:
        for headers, url in (({}, "/"), ({"X-Forwarded-Prefix": "/lab"}, "/lab")):
            async with client.session.get(f"{client.url}/openapi.json", headers=headers) as answer:
                assert (await answer.json())["servers"] == [{"url": url}]


async def test_every_route_has_an_action_a_summary_and_the_shape_of_its_answer(fleet) -> None:
    async with fleet.router().client() as client:
        paths = await described(client)
    for path, operations in paths.items():
        for method, operation in operations.items():
            where = f"{method} {path}"
            assert operation["summary"], where
            assert "Authorized as `" in str(operation["description"]), where
            assert "4XX" in operation["responses"], where
            if "application/json" in str(operation["responses"]) and method == "post" and path.startswith("/jobs/{"):
                assert "properties" in str(operation["responses"]["200"]), where  # type: ignore[index]


async def test_a_route_of_a_plugin_that_is_switched_off_is_not_described(fleet) -> None:
    async with fleet.router("plugins.disabled=['job_control']").client() as client:
        paths = await described(client)
    assert "/jobs/{job}/stop" not in paths
    assert "/jobs/{job}/start" in paths


async def test_the_page_needs_nothing_from_elsewhere(fleet) -> None:
    async with fleet.router().client() as client, client.session.get(f"{client.url}/docs") as answer:
        assert answer.content_type == "text/html"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        page = await answer.text()
    assert "openapi.json" in page
    for elsewhere in ("http://", "https://", "//cdn"):
        assert elsewhere not in page


@pytest.mark.parametrize("name", ["/openapi.json", "/docs"])
async def test_who_may_not_use_the_api_does_not_read_about_it(fleet, name) -> None:
    router = fleet.router(environ={"PROUTER_CONTROL__TOKENS": '["a-token-of-a-client-for-this-test"]'})
    async with router.client() as client, client.session.get(client.url + name) as answer:
        assert answer.status == 401
