"""What is compared: each system, ready to take load, with the pids that it costs.

Behind each is the one upstream server that requests go to, and another one of the same kind for a bulk that
goes beside requests: from one server of one thread they would wait for each other there, and not in the proxy.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks import machine
from benchmarks.costs import family
from benchmarks.daemons import Pair, jobs_aside, running

UPSTREAM = Path(__file__).resolve().parent / "upstream.py"
START_SECONDS = 30.0
BULK = "/beside"
"""What a path begins with that goes to the server for a bulk."""
CHP_PACKAGE = "configurable-http-proxy@5.3.0"


@dataclass(frozen=True, slots=True)
class System:
    """Something that listens."""

    name: str
    host: str
    port: int
    prefix: str
    """The path behind which the upstream is, without a slash at its end."""
    pids: Sequence[int]
    """Of the proxy alone; empty for none."""
    bulk: str = ""
    """URL behind which the server for a bulk beside requests is, without a slash at its end; empty for none."""


class Missing(Exception):
    """A program that is needed is not installed."""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        number: int = found.getsockname()[1]
        return number


def needed(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise Missing(f"{program} is not installed")
    return found


@contextlib.contextmanager
def process(  # type: ignore[no-untyped-def]
    words: Sequence[str], place: Path, environ: dict[str, str] | None = None, *, session: bool = False
):
    """Ended with the context."""
    with (place / f"{Path(words[0]).name}-{secrets.token_hex(4)}.log").open("wb") as log:
        env = os.environ | (environ or {})
        made = subprocess.Popen(words, stdout=log, stderr=log, env=env, start_new_session=session)
        try:
            yield made
        finally:
            made.terminate()
            try:
                made.wait(15)
            except subprocess.TimeoutExpired:
                made.kill()
                made.wait()


async def listening(port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        except OSError:
            await asyncio.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port}")


@contextlib.asynccontextmanager
async def upstream(place: Path) -> AsyncIterator[int]:
    port = free_port()
    # in a session of its own, as a job is: Linux shares processors among sessions first (sched_autogroup)
    with process([sys.executable, str(UPSTREAM), str(port)], place, session=True):
        await listening(port)
        yield port


@contextlib.asynccontextmanager
async def upstreams(place: Path) -> AsyncIterator[tuple[int, int]]:
    """The ports of the one for requests and the one for a bulk."""
    async with upstream(place) as port, upstream(place) as bulk:
        yield port, bulk


def beside(port: int) -> str:
    """The URL of a proxy's path for a bulk."""
    return f"http://127.0.0.1:{port}{BULK}"


@contextlib.asynccontextmanager
async def direct(place: Path) -> AsyncIterator[System]:
    async with upstreams(place) as (port, bulk):
        yield System("direct", "127.0.0.1", port, "", (), beside(bulk))


NGINX = """
{user}
worker_processes 1;
daemon off;
pid {place}/nginx-{port}.pid;
error_log {place}/nginx-{port}.err;
worker_rlimit_nofile 20000;
events {{ worker_connections 16000; }}
http {{
  access_log off;
  client_max_body_size 0;
  client_body_temp_path {place}/b-{port}; proxy_temp_path {place}/p-{port};
  fastcgi_temp_path {place}/f-{port}; uwsgi_temp_path {place}/u-{port}; scgi_temp_path {place}/s-{port};
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  upstream up {{ server 127.0.0.1:{to}; keepalive 512; keepalive_requests 100000000; keepalive_timeout 1h; }}
  upstream bulk {{ server 127.0.0.1:{bulk}; keepalive 512; keepalive_requests 100000000; keepalive_timeout 1h; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    keepalive_requests 100000000;
    keepalive_timeout 1h;
    proxy_http_version 1.1;
    proxy_request_buffering off;
    proxy_max_temp_file_size 0;
    proxy_set_header Host $host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $connection_upgrade;
    location / {{ proxy_pass http://up; }}
    location {path}/ {{ proxy_pass http://bulk; }}
  }}
}}
"""


@contextlib.asynccontextmanager
async def nginx(place: Path, hops: int) -> AsyncIterator[System]:
    program = needed("nginx")
    async with contextlib.AsyncExitStack() as stack:
        to, bulk = await stack.enter_async_context(upstreams(place))
        pids = []
        for _ in range(hops):
            port = free_port()
            file = place / f"nginx-{port}.conf"
            user = "user root;" if hasattr(os, "getuid") and os.getuid() == 0 else ""
            file.write_text(NGINX.format(place=place, port=port, to=to, bulk=bulk, path=BULK, user=user))
            pids.append(stack.enter_context(process([program, "-c", str(file)], place)).pid)
            await listening(port)
            to = bulk = port
        yield System(f"nginx x{hops}", "127.0.0.1", to, "", sorted(family(pids)), beside(to))


HAPROXY = """
global
  maxconn 8000
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout tunnel 1h
  option forwardfor
frontend in
  bind 127.0.0.1:{port}
  use_backend bulk if {{ path_beg {path}/ }}
  default_backend up
backend up
  http-reuse always
  server one 127.0.0.1:{to}
backend bulk
  http-reuse always
  server one 127.0.0.1:{bulk}
"""


@contextlib.asynccontextmanager
async def haproxy(place: Path, hops: int) -> AsyncIterator[System]:
    program = needed("haproxy")
    async with contextlib.AsyncExitStack() as stack:
        to, bulk = await stack.enter_async_context(upstreams(place))
        pids = []
        for _ in range(hops):
            port = free_port()
            file = place / f"haproxy-{port}.cfg"
            file.write_text(HAPROXY.format(port=port, to=to, bulk=bulk, path=BULK))
            pids.append(stack.enter_context(process([program, "-f", str(file)], place)).pid)
            await listening(port)
            to = bulk = port
        yield System(f"haproxy x{hops}", "127.0.0.1", to, "", sorted(family(pids)), beside(to))


def chp_program() -> str:
    """configurable-http-proxy, installed from the npm registry into a cache of this user where it is not there."""
    found = shutil.which("configurable-http-proxy")
    if found is not None:
        return found
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "prouter-benchmarks"
    program = cache / "node_modules" / ".bin" / "configurable-http-proxy"
    if not program.exists():
        cache.mkdir(parents=True, exist_ok=True)
        npm = needed("npm")
        subprocess.run([npm, "install", "--silent", "--prefix", str(cache), CHP_PACKAGE], check=True, timeout=300)
    return str(program)


def chp_version() -> str:
    try:
        return machine.said([chp_program(), "--version"])
    except (Missing, subprocess.SubprocessError):
        return "not there"


async def chp_route(api: int, token: str, bulk: int) -> None:
    """Paths of the bulk go there, as they are."""
    url, target = f"http://127.0.0.1:{api}/api/routes{BULK}", {"target": f"http://127.0.0.1:{bulk}"}
    async with aiohttp.ClientSession(headers={"Authorization": f"token {token}"}, raise_for_status=True) as session:
        await (await session.post(url, json=target)).read()


@contextlib.asynccontextmanager
async def chp(place: Path, hops: int) -> AsyncIterator[System]:
    program = chp_program()
    async with contextlib.AsyncExitStack() as stack:
        to, bulk = await stack.enter_async_context(upstreams(place))
        pids = []
        for _ in range(hops):
            port, api = free_port(), free_port()
            words = [program, "--ip", "127.0.0.1", "--port", str(port), "--api-ip", "127.0.0.1", "--api-port", str(api)]
            words += ["--default-target", f"http://127.0.0.1:{to}", "--log-level", "warn"]
            token = secrets.token_hex(16)
            environ = {"CONFIGPROXY_AUTH_TOKEN": token, "NODE_ENV": "production"}
            pids.append(stack.enter_context(process(words, place, environ)).pid)
            await listening(port)
            await listening(api)
            await chp_route(api, token, bulk)
            to = bulk = port
        yield System(f"configurable-http-proxy x{hops}", "127.0.0.1", to, "", sorted(family(pids)), beside(to))


@contextlib.asynccontextmanager
async def prouter(
    place: Path, loop: str, more: str = "", plugin: str = "", agent_settings: Mapping[str, Any] | None = None
) -> AsyncIterator[System]:
    """A router and an agent with all that ships, a job that is the upstream: two hops. The bulk's is another job.

    `more` is said behind its name, `plugin` is the text of a further plugin of the router.
    """
    if loop == "uvloop" and importlib.util.find_spec("uvloop") is None:
        raise Missing("uvloop is not installed")
    environ = {"PROUTER_NO_UVLOOP": "1"} if loop == "asyncio" else {}
    own = Path(tempfile.mkdtemp(dir=place))
    settings = {}
    if plugin:
        (own / "one_more.py").write_text(plugin.replace("PLACE", str(own)))
        settings["plugins.load"] = [str(own / "one_more.py")]
    async with running(own, settings, environ, agent_settings) as pair:
        path = (await upstream_job(pair)).removeprefix(pair.control["url"])
        # before the other job is there: its guardian is none of what one job costs, and no byte goes through one
        pids = sorted({pair.router.pid, *jobs_aside(pair.agent, str(UPSTREAM))})
        bulk = f"{await upstream_job(pair)}{BULK}"
        yield System(f"prouter ({loop}){more}", pair.control["host"], int(pair.control["port"]), path, pids, bulk)


async def upstream_job(pair: Pair) -> str:
    """The URL of a further job that is the upstream, without a slash at its end."""
    job = await pair.client.create({"type": "uid", "uid": pair.uid}, "upstream")
    await job.start([sys.executable, str(UPSTREAM)], port={"mode": "assign"})
    return job.url("").rstrip("/")


REQUEST_HOOK = """
from prouter import hookimpl

@hookimpl
def prouter_proxy_request(head, target):
    return None
"""
ANSWER_HOOK = """
from prouter import hookimpl

@hookimpl
def prouter_proxy_response(answer, target):
    return None
"""
ACCESS_LOG = """
from prouter import hookimpl

LINES = open("PLACE/access.log", "w", buffering=1)

@hookimpl
def prouter_proxy_finished(finished):
    LINES.write(f"{finished.target.ref.job} {finished.status} {finished.response_bytes}\\n")
"""
AUDIT = """
from prouter import hookimpl

@hookimpl
def prouter_audit(event):
    return None
"""
ACTIVITY = """
from prouter import hookimpl

@hookimpl
def prouter_proxy_activity(agent, record, activity):
    return None
"""
IDLE_CULLING = {"jobs.idle_timeout": 24 * 3600}
"""The agent looks at its jobs' activity every 10 s; longer than a run, so that no job is stopped in it."""
Maker = Callable[[Path], contextlib.AbstractAsyncContextManager[System]]
SYSTEMS: dict[str, Maker] = {
    "direct": direct,
    "nginx x1": lambda place: nginx(place, 1),
    "nginx x2": lambda place: nginx(place, 2),
    "haproxy x2": lambda place: haproxy(place, 2),
    "configurable-http-proxy x1": lambda place: chp(place, 1),
    "configurable-http-proxy x2": lambda place: chp(place, 2),
    "prouter (uvloop)": lambda place: prouter(place, "uvloop"),
    "prouter (asyncio)": lambda place: prouter(place, "asyncio"),
}
"""Under all loads."""
USED: dict[str, Maker] = {
    "prouter (uvloop), request hook": lambda place: prouter(place, "uvloop", ", request hook", REQUEST_HOOK),
    "prouter (uvloop), answer hook": lambda place: prouter(place, "uvloop", ", answer hook", ANSWER_HOOK),
    "prouter (uvloop), access log": lambda place: prouter(place, "uvloop", ", access log", ACCESS_LOG),
    "prouter (uvloop), audit hook": lambda place: prouter(place, "uvloop", ", audit hook", AUDIT),
    "prouter (uvloop), activity": lambda place: prouter(place, "uvloop", ", activity", ACTIVITY, IDLE_CULLING),
}
"""Under one load: what it costs when somebody uses it. Beside an audit hook each request is decided anew."""
