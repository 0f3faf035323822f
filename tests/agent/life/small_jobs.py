"""Jobs of a few lines of Python, and what the API says when it refuses one."""

from __future__ import annotations

import asyncio
import sys
import urllib.error
import urllib.request
from collections.abc import Awaitable
from typing import Any

import pytest

from prouter.client import Client, Job
from prouter.client.client import RequestFailed
from prouter.testing import AgentDaemon

SLEEPS = "import time; print('awake', flush=True); time.sleep(600)"
DESCRIBES = """
import json, os, sys
told = {"env": dict(os.environ), "args": sys.argv[1:], "cwd": os.getcwd()}
json.dump(told, open(os.environ.get("TO", "told.json"), "w"))
"""
"""Writes what it was given."""
SERVES = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.path)))
        self.end_headers()
        self.wfile.write(self.path.encode())
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", 0))), Handler)
"""
"""Listens; a test says what is done before it answers with the path it was asked for."""


def python(program: str, *args: str) -> list[str]:
    return [sys.executable, "-c", program, *args]


async def made(client: Client, agent: AgentDaemon, name: str = "small") -> Job:
    return await client.create({"type": "uid", "uid": agent.uid}, name)


async def runs(client: Client, agent: AgentDaemon, program: str = SLEEPS, *args: str, **options: Any) -> Job:
    """A job that serves nothing."""
    job = await made(client, agent)
    return await job.start(python(program, *args), port_expected_count=0, **options)


async def refusal(asked: Awaitable[object], status: int) -> str:
    """What the API says with that status."""
    with pytest.raises(RequestFailed) as error:
        await asked
    assert error.value.http_status == status, str(error.value)
    return str(error.value)


async def get(url: str) -> tuple[int, str]:
    """Status and text of a GET, errors too, without blocking the test's loop."""

    def ask() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    return await asyncio.to_thread(ask)
