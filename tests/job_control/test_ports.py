"""How a job's ports are found: detected, unix sockets, several by name; and each way in which they are not."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from serving_programs import (
    BRIEF,
    ELSEWHERE,
    FREE,
    MANY,
    MUTE_AND_FREE,
    NOT_YET,
    ON_ANOTHER_ADDRESS,
    PLAIN,
    SILENT,
    SIX,
    TWO,
    UNIX,
    WITH_SOCKETS,
)

from prouter.agent.guard import ports
from prouter.client import Client, Job
from prouter.client.client import RequestFailed
from prouter.testing import AgentDaemon, eventually
from prouter.testing.network import reserved_port

pytestmark = pytest.mark.as_user


async def made(client: Client, agent: AgentDaemon) -> Job:
    return await client.create({"type": "uid", "uid": agent.uid}, "ports")


async def text(client: Client, url: str) -> str:
    async with client.session.get(url) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.text()


async def refusal(job: Job, *args: str, **options: object) -> RequestFailed:
    with pytest.raises(RequestFailed) as error:
        await job.start([sys.executable, "-c", *args], **options)
    assert error.value.http_status == 422
    await job.refresh()
    assert (job.info["state"], job.info["reason"]) == ("FINISHED", "start-failed")
    return error.value


async def test_a_port_is_detected(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await made(client, agent)
        await job.start([sys.executable, "-c", FREE], port={"mode": "detect"})
        assert str(job.info["ports"]["http"]) in (await job.read(".pagent.stdout")).decode()
        assert await text(client, job.url("page")) == "free /page"
        several = await made(client, agent)
        await several.start([sys.executable, "-c", MUTE_AND_FREE], port={"mode": "detect"})
        assert await text(client, several.url()) == "free /"


async def test_a_unix_socket_in_the_sandbox_is_served(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await made(client, agent)
        port = {"mode": "unix", "path": "app.sock", "ready": "/ready"}
        await job.start([sys.executable, "-c", UNIX, "app.sock"], port=port)
        assert job.info["ports"] == {"http": "app.sock"}
        assert await text(client, job.url("page?x=1")) == "unix /page?x=1"
        absolute = await made(client, agent)
        await absolute.start([sys.executable, "-c", "print(__import__('sys').argv)", "{socket}"], port_expected_count=0)
        await absolute.wait()


async def test_a_job_with_a_unix_socket_is_told_where_and_runs_again_where_it_was(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await made(client, agent)
        (agent.sandbox(job) / "run").mkdir()
        port = {"mode": "unix", "path": "run/app.sock", "prefix": "keep"}
        begin = """
import os, sys
open("told", "w").write(os.environ["WHERE"])
os.chdir(os.path.dirname(sys.argv[1]))  # the path of a socket has at most 108 bytes
sys.argv[1] = "app.sock"
"""
        start = [sys.executable, "-c", begin + UNIX, "{socket}"]
        await job.start(start, env={"WHERE": "{socket:http} {base_path}"}, port=port)
        where = str(agent.sandbox(job) / "run" / "app.sock")
        assert (await job.read("told")).decode() == f"{where} {job.path}/http"
        assert await text(client, job.url("x")) == f"unix {job.path}/http/x"
        await job.stop(grace_seconds=0)
        assert (agent.sandbox(job) / "run" / "app.sock").is_socket(), "nobody was left to remove it"
        await job.restart()
        assert await text(client, job.url("y")) == f"unix {job.path}/http/y"


async def test_only_a_socket_is_removed_before_a_start(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await made(client, agent)
        (agent.sandbox(job) / "app.sock").write_text("mine")
        port = {"mode": "unix", "path": "app.sock", "ready_timeout": 60}
        with pytest.raises(RequestFailed) as error:
            await job.start([sys.executable, "-c", UNIX, "app.sock"], port=port)
        assert "exited with status 1" in str(error.value)
        assert await job.read("app.sock") == b"mine"


async def test_a_socket_that_leads_out_of_the_sandbox_is_not_connected_to(fleet, tmp_path) -> None:
    router, agent = await fleet.pair()
    with socket.socket(socket.AF_UNIX) as outside:
        path = tmp_path / "o.sock"
        outside.bind(str(path))
        outside.listen()
        program = (
            f"import os, time; os.symlink({str(path)!r}, 'app.sock'); print('linked', flush=True); time.sleep(600)"
        )
        async with router.client() as client:
            job = await made(client, agent)
            port = {"mode": "unix", "path": "app.sock", "ready_timeout": 1}
            assert "app.sock" in str(await refusal(job, program, port=port))


async def test_several_ports_have_names(fleet) -> None:
    router, agent = await fleet.pair()
    ports = {"ui": {"mode": "assign"}, "api": {"mode": "assign", "prefix": "keep"}}
    async with router.client() as client:
        job = await made(client, agent)
        await job.start([sys.executable, "-c", TWO, "{port:ui}"], ports=ports)
        assert set(job.info["ports"]) == {"ui", "api"}
        base = client.url + job.path
        assert await text(client, f"{base}/port/ui/x") == "ui /x"
        assert await text(client, f"{base}/port/api/x") == f"api {job.path}/port/api/x"
        assert await text(client, f"{base}/http/x") == "ui /x", "the first is the default"
        async with client.session.get(f"{base}/port/none/x") as answer:
            assert answer.status == 404


async def test_the_port_called_http_is_the_default_wherever_it_stands_and_each_takes_websockets(fleet) -> None:
    router, agent = await fleet.pair()
    ports = {"ui": {"mode": "assign", "prefix": "keep"}, "http": {"mode": "assign"}}
    async with router.client() as client:
        job = await made(client, agent)
        await job.start([sys.executable, "-c", WITH_SOCKETS], ports=ports)
        long, short = job.path, f"/jobs/{job.info['uid']}"
        for path, said in (
            (f"{long}/http/a?b", "http /a?b"),
            (f"{long}/port/http/a", "http /a"),
            (f"{long}/port/ui/a?b", f"ui {long}/port/ui/a?b"),
            (f"{short}/port/ui/a", f"ui {short}/port/ui/a"),
        ):
            async with client.session.ws_connect(client.url + path) as websocket:
                assert await websocket.receive_str(timeout=20) == said


async def test_a_start_waits_in_every_mode_until_the_ready_path_answers_below_500(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        for port, argument in (
            ({"mode": "assign"}, "{port}"),
            ({"mode": "detect"}, "0"),
            ({"mode": "report"}, "0"),
            ({"mode": "unix", "path": "app.sock"}, "app.sock"),
        ):
            job = await made(client, agent)
            start = job.start([sys.executable, "-c", NOT_YET, argument], port=port | {"ready": "/ready"})
            starting = asyncio.create_task(start)
            await eventually((agent.sandbox(job) / "asked").exists, what=str(port))
            (info,) = [found.info for found in await client.jobs() if found.info["uid"] == job.info["uid"]]
            assert (info["state"], info["ports"]) == ("PENDING", {})
            (agent.sandbox(job) / "go").touch()
            await starting
            assert await text(client, job.url("x")) == "at last /x"


async def test_a_ready_path_that_never_answers_well_is_told(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        for mode in ("detect", "report"):
            port = {"mode": mode, "ready": "/ready", "ready_timeout": 3}
            error = str(await refusal(await made(client, agent), NOT_YET, "0", port=port))
            assert "did not answer /ready below 500 on port" in error
            assert "within 3 s" in error


async def test_the_base_path_is_right_behind_a_public_prefix(fleet) -> None:
    router = fleet.router("control.public_url='https://example.org/lab'")
    agent = fleet.agent(router)
    await router.agent_is_there(agent)
    program = PLAIN + "\n"
    async with router.client() as client:
        job = await made(client, agent)
        shown = "import os, sys; open('shown', 'w').write(os.environ['BASE'])\n" + program
        start = [sys.executable, "-c", shown, "{port}"]
        await job.start(start, env={"BASE": "{base_path}"}, port={"mode": "assign", "prefix": "keep"})
        base = (await job.read("shown")).decode()
        assert base == f"/lab{job.path}/http"
        async with client.session.get(job.url("below?x")) as answer:
            assert await answer.text() == f"plain {base}/below?x", "a path that the job has under its base path"


async def test_a_program_that_ends_before_it_serves_is_told_at_once_with_its_last_lines(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        for port in ({"mode": "detect"}, {"mode": "unix", "path": "a.sock"}, {"mode": "assign"}, {"mode": "report"}):
            begun = time.monotonic()
            error = str(await refusal(await made(client, agent), BRIEF, port=port | {"ready_timeout": 60}))
            assert time.monotonic() - begun < 30
            assert "exited with status 3" in error
            assert "bad configuration" in error


async def test_a_program_that_listens_elsewhere_or_never_is_told_so(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        elsewhere = str(
            await refusal(await made(client, agent), ELSEWHERE, port={"mode": "assign", "ready_timeout": 1})
        )
        assert "it listens on " in elsewhere
        assert "I am elsewhere" in elsewhere
        for port in ({"mode": "detect"}, {"mode": "unix", "path": "a.sock"}):
            never = str(await refusal(await made(client, agent), SILENT, port=port | {"ready_timeout": 1}))
            assert "I do not serve" in never
            assert "within 1 s" in never


def test_both_ways_of_looking_who_listens_see_the_same(monkeypatch) -> None:
    with socket.create_server(("127.0.0.2", 0)) as four, socket.socket(socket.AF_INET6) as six:
        six.bind(("::1", 0))
        six.listen()
        wanted = {(address, sock.getsockname()[1]) for address, sock in (("127.0.0.2", four), ("::1", six))}
        assert wanted <= set(ports.listening().values())
        monkeypatch.setattr(ports, "NETLINK_SOCK_DIAG", 10_000)
        assert wanted <= set(ports.listening().values())


def test_of_several_sockets_the_one_that_the_kernel_takes_counts() -> None:
    def seen(*addresses: str) -> tuple[str, ...]:
        """With the job's socket at the first address and strangers' at the others."""
        listeners = {inode: ports.Listener(address, 80) for inode, address in enumerate(addresses)}
        return ports.on_loopback(listeners, {0})[80]

    assert seen("127.0.0.1") == seen("127.0.0.1", "0.0.0.0") == seen("0.0.0.0", "::1") == ("127.0.0.1",)
    assert seen("::") == ("127.0.0.1", "::1")
    assert seen("::", "127.0.0.1") == seen("::1", "127.0.0.1", "::") == ("::1",)
    assert seen("127.0.0.2", "127.0.0.1") == seen("127.0.0.1", "127.0.0.1") == seen("::", "::1", "0.0.0.0") == ()


@contextlib.contextmanager
def stranger_at(number: int) -> Iterator[None]:
    """Somebody else listens there on 127.0.0.1."""
    with socket.create_server(("127.0.0.1", number)):
        yield


async def picked(agent: AgentDaemon, job: Job) -> int:
    """The port that a job wrote into the file `port`."""
    path = agent.sandbox(job) / "port"

    async def written() -> bool:
        return path.exists() and bool(path.read_text())

    await eventually(written)
    return int(path.read_text())


async def test_a_program_that_listens_on_ipv6_only_is_reached_there(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        for port, argument in (
            ({"mode": "assign", "ready": "/up"}, "{port}"),
            ({"mode": "detect", "ready": "/up"}, "0"),
            ({"mode": "report", "ready": "/up"}, "0"),
        ):
            job = await made(client, agent)
            await job.start([sys.executable, "-c", SIX, argument], port=port | {"ready_timeout": 20})
            number = job.info["ports"]["http"]
            with stranger_at(number):
                assert await text(client, job.url("page")) == f"[::1]:{number} /page", port


async def test_a_stranger_on_the_address_that_is_connected_to_is_not_taken_for_the_job(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await made(client, agent)
        port = {"mode": "assign", "ready_timeout": 60}
        starting = asyncio.create_task(job.start([sys.executable, "-c", ON_ANOTHER_ADDRESS, "{port}"], port=port))
        with stranger_at(await picked(agent, job)), pytest.raises(RequestFailed) as error:
            await starting
        assert error.value.http_status == 422
        assert "neither 127.0.0.1 nor ::1" in str(error.value)
        assert "I am elsewhere" in str(error.value)
        alone = await refusal(await made(client, agent), ON_ANOTHER_ADDRESS, "{port}", port=port | {"ready_timeout": 1})
        assert "within 1 s; it listens on" in str(alone)
        assert "neither 127.0.0.1 nor ::1" in str(alone)


async def test_assigned_ports_are_those_that_no_system_gives_away_while_one_is_free(fleet) -> None:
    router = fleet.router()
    with reserved_port() as taken:
        shipped, crowded = fleet.agent(router), fleet.agent(router, f"jobs.ports={[taken, taken]}")
        numbers = []
        async with router.client() as client:
            for agent in (shipped, crowded):
                await router.agent_is_there(agent)
                job = await made(client, agent)
                await job.start([sys.executable, "-c", PLAIN, "{port}"], port={"mode": "assign", "ready_timeout": 20})
                numbers.append(job.info["ports"]["http"])
    assert 20000 <= numbers[0] <= 29999
    assert numbers[1] not in (taken, *range(20000, 30000))


async def test_a_job_with_more_ports_than_the_range_has_is_given_those_and_others(fleet) -> None:
    router, agent = await fleet.pair("jobs.ports=[21000, 21001]")
    async with router.client() as client:
        ports = {name: {"mode": "assign", "ready_timeout": 1} for name in "abcd"}
        job = await made(client, agent)
        with pytest.raises(RequestFailed, match="within 1 s"):
            await job.start([sys.executable, "-c", SILENT], ports=ports)
        assert await client.info(), "nobody stands still"


def test_a_range_of_ports_that_ends_before_it_begins_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "prouter", "agent", "--set", "jobs.ports=[9000, 8999]"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "jobs.ports: the first, 9000, is above the last, 8999" in done.stderr


async def test_of_many_ports_a_sentence_names_some(fleet) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        error = await refusal(await made(client, agent), MANY, port={"mode": "assign", "ready_timeout": 1})
        assert " and 20 more" in str(error)
        assert len(str(error)) < 400


async def test_a_port_that_somebody_else_took_in_between_is_told_at_once(fleet) -> None:
    router, agent = await fleet.pair()
    waits = (
        "import socket, sys, time\n"
        "beside = socket.socket()\n"
        "beside.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n"
        "beside.bind(('127.0.0.1', int(sys.argv[1])))\n"
        "open('port', 'w').write(sys.argv[1])\n"
        "print('slow to start', flush=True)\n"
        "time.sleep(600)\n"
    )
    async with router.client() as client:
        job = await made(client, agent)
        starting = asyncio.create_task(
            job.start([sys.executable, "-c", waits, "{port}"], port={"mode": "assign", "ready_timeout": 60})
        )
        path = agent.sandbox(job) / "port"
        while not (path.exists() and path.read_text()):
            await asyncio.sleep(0.02)
        with socket.create_server(("127.0.0.1", int(path.read_text()))), pytest.raises(RequestFailed) as error:
            await starting
    assert error.value.http_status == 422
    assert "was taken" in str(error.value)
    assert "slow to start" in str(error.value)


@pytest.mark.parametrize(
    "body",
    [
        {"ports": {"a": {"mode": "report"}, "b": {"mode": "report"}}},
        {"ports": {"a": {"mode": "detect"}, "b": {"mode": "detect"}}},
        {"ports": {"a/b": {"mode": "assign"}}},
        {"port": {"mode": "unix"}},
        {"port": {"mode": "assign", "path": "x"}},
        {"port": {"mode": "unix", "path": "../x"}},
        {"port": {"mode": "nonsense"}},
        {"ports": {"a_b": {"mode": "assign"}, "a.b": {"mode": "assign"}}},
        {"ports": {"ui": {"mode": "assign"}, "UI": {"mode": "detect"}}},
        {"port": {"mode": "assign", "ready": "/a b"}},
        {"port": {"mode": "assign", "ready": "/a#b"}},
        {"port": {"mode": "assign"}, "ports": {}},
    ],
)
async def test_ports_that_can_not_be_had_are_refused_before_anything_is_begun(fleet, body) -> None:
    router, agent = await fleet.pair()
    async with router.client() as client:
        job = await made(client, agent)
        with pytest.raises(RequestFailed) as error:
            await job.start(["true"], **body)
        assert error.value.http_status == 400
        assert (await job.refresh()).info["state"] == "NEW"
