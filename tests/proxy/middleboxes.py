"""What stands between an agent and a router and lets nothing but websockets pass: nginx, and a relay of our own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from proxied import Proxied, call, new_job

from prouter.testing import Fleet
from prouter.testing.network import reserved_port

SECONDS = 20.0
NGINX = """
daemon off; pid {place}/pid; error_log {place}/error.log; worker_processes 1; events {{}}
{user}
http {{
    access_log off; client_body_temp_path {place}/body; proxy_temp_path {place}/proxy;
    fastcgi_temp_path {place}/f; uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;
    map $http_upgrade $passed {{ default ""; websocket websocket; }}
    map $passed $hop {{ default close; websocket upgrade; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{target};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $passed;
            proxy_set_header Connection $hop;
        }}
    }}
}}
"""


class Middlebox:
    """One of them, in front of a port."""

    def __init__(self, kind: str, place: Path, target: int) -> None:
        place.mkdir()
        self.kind = kind
        self.log = place / "told"
        self._held = contextlib.ExitStack()
        self.port = self._held.enter_context(reserved_port())
        if kind == "nginx":
            if shutil.which("nginx") is None:
                assert "CI" not in os.environ, "nginx is not installed"
                pytest.skip("nginx is not installed")
            user = "user root;" if os.geteuid() == 0 else ""
            (place / "nginx.conf").write_text(NGINX.format(place=place, port=self.port, target=target, user=user))
            command = ["nginx", "-p", str(place), "-c", str(place / "nginx.conf")]
        else:
            relay = Path(__file__).with_name("strict_relay.py")
            command = [sys.executable, str(relay), str(self.port), str(target), str(self.log), kind]
        self.said = place / "log"
        with self.said.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        self._listens()

    def _listens(self) -> None:
        deadline = time.monotonic() + SECONDS
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.close()
                raise AssertionError(f"{self.kind} does not listen: {self.said.read_text()}")
            time.sleep(0.02)

    def told(self) -> list[str]:
        """What the strict relay refused, and what was wrong."""
        return self.log.read_text().splitlines()[1:]

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(SECONDS)
        finally:
            self.process.kill()
            self.process.wait()
            self._held.close()


class Behind:
    """A router, an agent and a middlebox between them, and jobs."""

    def __init__(self, fleet: Fleet, kind: str, dials: str) -> None:
        self.router = fleet.router()
        if dials == "agent":
            self.box = Middlebox(kind, fleet.place / "box", self.router.address("server")[1])
            self.agent = fleet.agent(self.router, f"client.address=127.0.0.1:{self.box.port}", "control.enabled=True")
            deadline = time.monotonic() + SECONDS
            while not any(found["connected"] for found in call(self.router, "GET", "/agents")["agents"]):
                assert time.monotonic() < deadline
                time.sleep(0.02)
        else:
            self.agent = fleet.agent(None, "control.enabled=True")
            self.box = Middlebox(kind, fleet.place / "box", self.agent.address("server")[1])
            where = {"type": "address", "address": f"127.0.0.1:{self.box.port}", "token": self.agent.token}
            call(self.router, "POST", "/jobs/create", {"agent": where, "name": "first"})

    def job(self, app: str = "torture.py") -> Proxied:
        return new_job(self.router, self.agent, "", app)

    def close(self) -> None:
        self.box.close()
