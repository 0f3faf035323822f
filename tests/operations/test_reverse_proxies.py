"""The example configurations of reverse proxies, started as they are but for their ports."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from prouter.client import Client
from prouter.testing import Fleet, eventually
from prouter.testing.network import reserved_port

EXAMPLES = Path(__file__).parents[2] / "examples" / "operations"
APP = """
import asyncio, json, os, sys
from aiohttp import web

async def seen(request):
    return web.json_response({"path": request.raw_path, "base": sys.argv[1], **{
        name: request.headers.get(name)
        for name in ("X-Forwarded-Prefix", "X-Forwarded-Proto", "X-Forwarded-For", "Forwarded")}})

async def moved(request):
    raise web.HTTPFound("/seen")

async def kept(request):
    raise web.HTTPFound(sys.argv[1] + "/seen", headers={"Set-Cookie": "a=b; Path=" + sys.argv[1] + "/"})

async def echo(request):
    socket = web.WebSocketResponse(protocols=("chat",))
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str(message.data)
    return socket

app = web.Application()
app.add_routes([
    web.get("/moved", moved), web.get(sys.argv[1] + "/kept", kept), web.get("/echo", echo), web.get("/{rest:.*}", seen)
])
web.run_app(app, host="127.0.0.1", port=int(os.environ["PORT"]), print=None)
"""


@contextmanager
def nginx(place: Path, port: int, router: str) -> Iterator[None]:
    example = (EXAMPLES / "nginx.conf").read_text().replace("http://127.0.0.1:8080", router)
    (place / "lab.conf").write_text(example)
    maps = "\n".join(line.lstrip("# ") for line in example.splitlines() if line.startswith("#   map "))
    (place / "nginx.conf").write_text(f"""
        daemon off; pid {place}/pid; error_log {place}/error.log; events {{}}
        {"user root;" if os.geteuid() == 0 else ""}
        http {{
            access_log off; client_body_temp_path {place}/body; proxy_temp_path {place}/proxy;
            fastcgi_temp_path {place}/f; uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;
            {maps}
            server {{ listen 127.0.0.1:{port}; include {place}/lab.conf; }}
        }}""")
    with program(["nginx", "-p", str(place), "-c", str(place / "nginx.conf")], place, {}):
        yield


@contextmanager
def caddy(place: Path, port: int, router: str) -> Iterator[None]:
    environ = {"SITE": f"http://127.0.0.1:{port}", "ROUTER": router.removeprefix("http://"), "HOME": str(place)}
    text = (EXAMPLES / "Caddyfile").read_text()
    (place / "Caddyfile").write_text("{\n\tadmin off\n\tgrace_period 1s\n}\n" + text)
    command = ["caddy", "run", "--config", str(place / "Caddyfile"), "--adapter", "caddyfile"]
    with program(command, place, environ):
        yield


@contextmanager
def program(command: list[str], place: Path, environ: dict[str, str]) -> Iterator[None]:
    with (
        (place / "log").open("wb") as log,
        subprocess.Popen(command, env=os.environ | environ, stdout=log, stderr=log) as process,
    ):
        try:
            yield
        finally:
            process.terminate()


Proxy = Callable[[Path, int, str], AbstractContextManager[None]]
PROXIES: dict[str, Proxy] = {"nginx": nginx, "caddy": caddy}


@pytest.mark.parametrize("name", PROXIES)
@pytest.mark.parametrize("said", ["public_url", "x-forwarded-prefix"])
async def test_the_whole_api_works_under_a_prefix_of_a_reverse_proxy(fleet: Fleet, tmp_path: Path, name, said) -> None:
    if shutil.which(name) is None:
        assert "CI" not in os.environ, f"{name} is not installed"
        pytest.skip(f"{name} is not installed")
    place = tmp_path / name
    place.mkdir()
    with reserved_port() as port:
        await behind(PROXIES[name], place, port, fleet, said)


async def behind(proxy: Proxy, place: Path, port: int, fleet: Fleet, said: str) -> None:
    url = f"http://127.0.0.1:{port}/lab"
    settings = ["control.trusted_proxies=['127.0.0.1']"]
    headers = {}
    if said == "public_url":
        settings.append(f"control.public_url={url!r}")
    else:
        headers["X-Forwarded-Prefix"] = "/lab"
    router = fleet.router(*settings)
    agent = fleet.agent(router)
    await router.agent_is_there(agent)
    with proxy(place, port, router.url()):
        async with Client(url) as client:
            client.session.headers.update(headers)
            await eventually(lambda: accepts(port), what=place.name)
            await use_all(client, agent.uid)


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def use_all(client: Client, agent: str) -> None:
    job = await client.create({"type": "uid", "uid": agent}, "behind")
    session = client.session
    start = [sys.executable, "-c", APP, "{base_path}"]
    await job.start(start, port={"mode": "assign"})
    async with session.get(job.url("a%2Fb?x=1"), headers={"Forwarded": "for=6.6.6.6;host=evil"}) as answer:
        seen = await answer.json()
    assert "evil" not in seen["Forwarded"]
    assert seen["path"] == "/a%2Fb?x=1"
    assert seen["base"] == f"/lab{job.path}/http"
    assert seen["X-Forwarded-Prefix"] == f"/lab{job.path}/http"
    assert seen["X-Forwarded-Proto"] == "http"
    assert seen["X-Forwarded-For"].startswith("127.0.0.1")
    async with session.get(job.url("moved"), allow_redirects=False) as answer:
        assert answer.headers["Location"] == f"/lab{job.path}/http/seen"
    async with session.ws_connect(job.url("echo"), protocols=("chat",)) as socket_:
        assert socket_.protocol == "chat"
        await socket_.send_str("through two proxies")
        assert await socket_.receive_str(timeout=10) == "through two proxies"
    body = os.urandom(900_000)
    upload = f"{client.url}{job.path}/file/data.bin"
    async with session.post(upload, data=body, headers={"Content-Type": "application/octet-stream"}) as answer:
        assert json.loads(await answer.read())["size"] == len(body)
    assert await job.read("data.bin") == body
    async with session.get(f"{client.url}/events") as events:
        assert await events.content.readline() == b": events follow\n"
    whole = await client.create({"type": "uid", "uid": agent}, "behind")
    await whole.start(start, port={"mode": "assign", "prefix": "keep"})
    async with session.get(whole.url("a%2Fb?x=1")) as answer:
        seen = await answer.json()
    assert seen["base"] == f"/lab{whole.path}/http"
    assert seen["path"] == f"{seen['base']}/a%2Fb?x=1"
    async with session.get(whole.url("kept"), allow_redirects=False) as answer:
        assert answer.headers["Location"] == f"{seen['base']}/seen"
        assert answer.headers["Set-Cookie"] == f"a=b; Path={seen['base']}/"
    await whole.remove()
    await job.remove()
