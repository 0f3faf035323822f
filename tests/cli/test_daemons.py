"""A daemon from its start to its end: where it listens, what it says of that, with which status it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from listening import listening_addresses

from prouter.client import Client
from prouter.testing import Daemon, Fleet, eventually

ENDED_WITHIN = 10.0
"""Twice what is promised: the machine may be busy."""


def test_without_a_command_it_is_the_router_with_two_endpoints_on_loopback(fleet: Fleet) -> None:
    router = fleet.daemon()
    assert set(router.ready) == {"pid", "uid", "control", "server"}
    assert router.ready["pid"] == router.pid
    expected = [router.address("control"), router.address("server")]
    assert sorted(listening_addresses(router.pid)) == sorted(expected)
    for endpoint, name in (("control", "control endpoint"), ("server", "agent endpoint")):
        host, port = router.address(endpoint)
        assert host == "127.0.0.1"
        assert router.url(endpoint) == f"http://127.0.0.1:{port}"
        assert f"Listening on http://127.0.0.1:{port} ({name})" in router.log


def test_an_agent_has_three_endpoints_on_loopback(fleet: Fleet) -> None:
    agent = fleet.daemon("agent")
    assert set(agent.ready) == {"pid", "uid", "control", "server", "report"}
    expected = [agent.address(endpoint) for endpoint in ("control", "server", "report")]
    assert sorted(listening_addresses(agent.pid)) == sorted(expected)
    assert {host for host, _ in expected} == {"127.0.0.1"}
    assert agent.log.count("Listening on http://127.0.0.1:") == 3


async def test_the_installed_command_is_the_same_and_its_ready_file_appears_whole(tmp_path: Path) -> None:
    """Whoever has the old file open keeps that; the new one takes its name when it is complete."""
    ready = tmp_path / "ready.json"
    ready.write_text("old")
    command = [str(Path(sys.executable).with_name("prouter")), "--ready-file", str(ready)]
    environ = os.environ | {"XDG_STATE_HOME": str(tmp_path / "state")}
    with ready.open() as old, subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL) as router:
        try:
            while ready.read_text() == "old":
                assert router.poll() is None
                await asyncio.sleep(0.02)
            document = json.loads(ready.read_text())
            assert old.read() == "old"
            async with Client(document["control"]["url"]) as client:
                assert (await client.info())["auth"]["uid"] == document["uid"]
                await client.shutdown()
            assert router.wait(ENDED_WITHIN) == 0
        finally:
            router.kill()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ready.json", "state"]


@pytest.mark.parametrize("kind", ["router", "agent"])
@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM", "shutdown"])
async def test_a_graceful_end_has_status_0(fleet: Fleet, kind: str, how: str) -> None:
    daemon = fleet.daemon(kind)
    begun = time.monotonic()
    if how == "shutdown":
        async with Client(daemon.url()) as client:
            await client.shutdown()
    else:
        daemon.signal(getattr(signal, how))
    assert daemon.ended(ENDED_WITHIN) == 0
    assert time.monotonic() - begun < ENDED_WITHIN


@pytest.mark.parametrize("kind", ["router", "agent"])
async def test_one_that_has_ended_and_is_told_to_end_has_status_0_too(kind: str, tmp_path: Path) -> None:
    """As when a service manager ends an agent that ends by itself, because its router did."""
    told_at_its_exit = (
        "import atexit, os, signal, sys; atexit.register(os.kill, os.getpid(), signal.SIGTERM);"
        "from prouter.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    ready = tmp_path / "ready.json"
    command = [sys.executable, "-c", told_at_its_exit, kind, "--ready-file", str(ready)]
    environ = os.environ | {"XDG_STATE_HOME": str(tmp_path / "state")}
    with subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL) as daemon:
        try:
            await eventually(ready.exists)
            daemon.terminate()
            assert daemon.wait(ENDED_WITHIN) == 0
        finally:
            daemon.kill()


async def test_an_open_wait_ends_at_once_when_the_router_does(fleet: Fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await client.create({"type": "uid", "uid": agent.uid}, "sleeper")
        await job.start([sys.executable, "-c", "import time; time.sleep(600)"], port_expected_count=0)
        with socket.create_connection(router.address("control"), ENDED_WITHIN) as waiting:
            waiting.sendall(f"POST {job.path}/wait HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            await client.info()  # a later connection is served, so the wait has begun
            await client.shutdown()
            assert waiting.recv(1000).startswith(b"HTTP/1.1 503 ")
    assert router.ended(ENDED_WITHIN) == 0


@pytest.mark.parametrize(("kind", "key"), [("router", "control"), ("router", "server"), ("agent", "server")])
def test_a_port_in_use_is_status_1_and_names_the_address(fleet: Fleet, kind: str, key: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = fleet.refused(kind, "--set", f"{key}.port={port}", status=1)
    assert f"127.0.0.1:{port}" in said.splitlines()[-1]


def test_an_interface_that_is_none_is_status_1_and_named(fleet: Fleet) -> None:
    said = fleet.refused("--set", "control.interface=203.0.113.9", "--insecure", status=1)
    assert "203.0.113.9" in said.splitlines()[-1]


def log_objects(daemon: Daemon) -> list[dict[str, object]]:
    return [json.loads(line) for line in daemon.log.splitlines()]


async def test_the_log_as_json_is_an_object_a_line(fleet: Fleet) -> None:
    router = fleet.daemon("--log-format", "json", "--log-level", "debug", "--connection-debug")
    listening = [line for line in log_objects(router) if str(line["message"]).startswith("Listening on http://")]
    assert len(listening) == 2
    assert {"time", "level", "logger", "message"} <= set(listening[0])


@pytest.mark.parametrize("level", ["warning", "error", "fatal"])
def test_a_quiet_log_says_nothing_of_a_good_start(fleet: Fleet, level: str) -> None:
    assert fleet.daemon("--log-level", level).log == ""
