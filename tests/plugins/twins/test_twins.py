"""Each built-in is replaced by a stranger's plugin that does its job, and what is promised of it holds.

The tests of contracts are those of other directories, run in a pytest of their own in whose daemons only twins can be
loaded (making.py). CONTRACTS says which ones are about which plugin.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from making import ROOT, distribution, entry_points, make_twins

from prouter.testing import Fleet, eventually

CONTRACTS: dict[str, dict[str, Sequence[str]]] = {
    "doors": {
        "token_auth": [
            "safety/test_tokens.py::test_a_wrong_token_is_401_wherever_the_right_one_comes_from[file]",
        ],
        "selector_uid": ["api/test_jobs.py::test_a_job_from_create_to_remove"],
        "selector_address": [
            "fleet_order/test_draining.py::test_an_agent_that_is_dialed_refuses_routers_that_come_only_now"
        ],
        "selector_labels": ["selectors/test_choosing.py::test_labels_choose_by_properties_and_say_why_not"],
        "selector_select": ["selectors/test_choosing.py::test_select_takes_the_least_loaded_of_those_named"],
        "health": ["api/test_router_routes.py::test_health_needs_no_credentials_and_everything_else_does"],
        "admin_api": ["api/test_router_routes.py::test_connections_and_agents_show_who_is_there_and_no_token"],
        "draining": ["fleet_order/test_draining.py::test_changes_are_events"],
        "openapi": ["looking_around/test_openapi.py::test_the_page_needs_nothing_from_elsewhere"],
    },
    "jobs": {
        "jobs_api": [
            "api/test_jobs.py::test_the_list_shows_the_jobs_of_all_agents_as_their_info_does",
        ],
        "job_control": ["job_control/test_steering.py::test_a_restart_runs_the_same_again_in_the_same_sandbox"],
        "process_driver": ["api/test_jobs.py::test_a_program_that_is_missing_is_named_and_says_422"],
        "job_environment": [
            "agent/life/test_what_a_job_is_given.py"
            "::test_a_job_inherits_the_agents_environment_without_secrets_and_prouters_own",
        ],
        "idle_culling": ["idle/test_culling.py::test_an_open_connection_that_carries_nothing_keeps_no_job_alive"],
        "events_api": ["looking_around/test_events.py::test_the_life_of_a_job_is_told_and_can_be_resumed"],
        "metrics": ["looking_around/test_metrics.py::test_requests_jobs_links_and_pipes_are_counted"],
        "debug_state": ["seeing/test_debug_state.py::test_who_may_only_read_may_not_see_it"],
        "clean_up": [
            "agent/life/test_a_full_agent_cleans_up.py::test_who_may_not_see_jobs_is_not_told_which_would_go",
        ],
        "explain": [
            "explaining/test_explained_jobs.py::test_a_job_that_runs_tells_why_it_is_there_and_whom_a_request_meets"
        ],
    },
    "files and proxying": {
        "file_transfer": [
            "files/test_uploads_over_http.py::test_every_way_to_send_a_file_gives_its_size_and_digest",
            "files/test_downloads_over_http.py::test_a_download_tells_its_length_and_kind_and_head_tells_the_same",
        ],
        "archive_transfer": ["archives/test_archives.py::test_what_goes_up_is_what_comes_down"],
        "job_output": ["job_output/test_reading.py::test_both_streams_come_in_the_order_in_which_they_were_written"],
        "http_proxy": [
            "proxy/test_request_policy.py::test_the_routers_credentials_never_reach_the_job",
            "proxy/test_websockets.py::test_close_codes_and_reasons_pass_both_ways",
        ],
        "ws_bridge": ["bridge/test_wsconnect.py::test_messages_pass_both_ways_with_path_and_subprotocol"],
        "original_proxy": [
            f"originals/test_recordings_told_by_our_agent.py::test_a_story_over_a_link_that_the_agent_dialed[{story}]"
            for story in ("http_get", "ws_echo")
        ],
    },
}
"""By area: the plugins, and tests that fail without what each is for."""


def found(place: Path) -> dict[str, str]:
    """The environment of a process that finds the twins at `place`."""
    return {"PYTHONPATH": os.pathsep.join([str(place), *filter(None, [os.environ.get("PYTHONPATH")])])}


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_twins(tmp_path_factory.mktemp("twins"))


def test_every_built_in_has_contracts_here() -> None:
    named = [plugin for area in CONTRACTS.values() for plugin in area]
    assert sorted(named) == sorted({name for points in entry_points().values() for name in points})


@pytest.mark.timeout(300)
@pytest.mark.parametrize("area", CONTRACTS)
def test_what_is_promised_of_those_that_ship_holds_of_their_twins(twins: Path, tmp_path: Path, area: str) -> None:
    wanted = [f"tests/{test}" for tests in CONTRACTS[area].values() for test in tests]
    pytest_itself = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [*pytest_itself, f"--basetemp={tmp_path / 'in_it'}", *wanted],
        cwd=ROOT,
        env=environ | found(twins),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed in " in done.stdout
    assert "skipped" not in done.stdout, done.stdout


async def test_their_twins_are_shown_as_somebody_elses(fleet: Fleet, twins: Path) -> None:
    router = fleet.router(environ=found(twins))
    async with router.client() as client:
        shown = {plugin["name"]: plugin for plugin in (await client.request("GET", "/plugins"))["plugins"]}
    ours = {name: distribution(point) for name, point in entry_points()["prouter.plugins"].items()}
    assert {name: (shown[name]["distribution"], shown[name]["state"]) for name in ours} == {
        name: (twin, "loaded") for name, twin in ours.items()
    }


async def test_the_guard_of_twins_lets_no_built_in_and_no_closed_door_through(fleet: Fleet, tmp_path: Path) -> None:
    """Else the tests above would prove nothing."""
    place = make_twins(tmp_path / "twins")
    peeping = place / "twin_of_health" / "__init__.py"
    peeping.write_text(peeping.read_text() + "\nfrom prouter.core import app\n")
    (place / "twin_of_metrics-9.9.dist-info" / "entry_points.txt").unlink()
    fleet.expected_errors.append("can not be loaded and is left out")
    router = fleet.router(environ=found(place))
    async with router.client() as client:
        shown = {plugin["name"]: plugin for plugin in (await client.request("GET", "/plugins"))["plugins"]}
    assert "twin_of_health is a plugin and may not import prouter.core" in shown["health"]["why"]
    assert "prouter.plugins" in shown["metrics"]["why"]


@pytest.mark.parametrize("half", ["router", "agent"])
async def test_a_half_works_with_the_other_half_that_ships(
    fleet: Fleet, twins: Path, tmp_path: Path, half: str
) -> None:
    """What the halves of a plugin say to each other is HTTP and RPC, and no secret between them."""
    (tmp_path / "in").write_text("from outside")
    theirs = found(twins)
    router = fleet.router(environ=theirs if half == "router" else {})
    agent = fleet.agent(router, environ=theirs if half == "agent" else {})
    await router.agent_is_there(agent)
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid}, "both")
        await job.upload(tmp_path / "in", "in")
        await job.start([sys.executable, "-c", "print(open('in').read())"], port_expected_count=0)
        assert (await job.wait()).info["exit_code"] == 0
        for path in ("/output", "/archive"):

            async def answers(path: str = path) -> bool:
                async with client.session.get(f"{client.url}{job.path}{path}") as answer:
                    return answer.status == 200 and b"from outside" in await answer.read()

            await eventually(answers, what=path)
