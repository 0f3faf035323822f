"""A value for every argument of every hook, to call the examples of their documentation with."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from prouter.model.access import Peer, Principal, Resource
from prouter.model.activity import Activity
from prouter.model.agents import AgentInfo, Hello
from prouter.model.audit import AuditEvent
from prouter.model.http import RequestHead, ResponseHead
from prouter.model.ids import AgentUid, JobUid
from prouter.model.jobs import CreateRequest, JobRecord, JobRef, JobState, Port, Sender, StartRequest
from prouter.model.plugin import Candidate, JobTarget
from prouter.model.proxying import Bridge, ProxyFinished
from prouter.model.queue import QueuedJob
from prouter.model.writes import FileWrite, WriteWay

AGENT, JOB = AgentUid("agent-1"), JobUid("job-1")
PEER = Peer("127.0.0.1", 40000)
PRINCIPAL = Principal("guest", "example")
REF = JobRef(AGENT, JOB)
HEAD = RequestHead("GET", f"/jobs/{AGENT}/{JOB}/http/page", (("Host", "localhost:8080"), ("X-Api-Key", "wrong")))
RECORD = JobRecord(JOB, "solve", Sender("192.0.2.1", "router-1", "router"), JobState.RUNNING, labels={"keep": "yes"})
INFO = AgentInfo(AGENT, "lab", {}, {"team": "blue", "data": "near"}, "0.2", True, 1.0, "SERVER", 1)
TARGET = JobTarget(
    ref=REF,
    port=Port("raw", 8000),
    prefix=REF.path + "/http",
    rest="/page",
    peer=PEER,
    principal=PRINCIPAL,
    request_id="r-1",
    public_origin="http://localhost:8080",
)


def samples(place: Path) -> dict[str, Any]:
    """By the argument's name."""
    return {
        "action": "job.remove",
        "activity": Activity(1, 2, 3, 4.0),
        "address": "gpu.lab:5050",
        "agent": INFO,
        "answer": ResponseHead(200, "OK", (("Content-Length", "0"),)),
        "bridge": Bridge(REF, "/ws", "ws://client.example/ws"),
        "candidate": Candidate(AGENT, "lab", {"team": "blue", "data": "near"}, 1),
        "config": SimpleNamespace(section=lambda name: {}),
        "considered": {AGENT: "it is full"},
        "count": 3,
        "about": "a bridge",
        "data": b"the password is hunter2\n",
        "detail": "it broke",
        "env": {"PATH": "/bin"},
        "error": RuntimeError("a mistake"),
        "event": AuditEvent(1.0, "r-1", PEER, "guest", "", "GET", "/jobs", "job.list", Resource(), 200, "", ()),
        "finished": ProxyFinished(TARGET, "GET", 200, 0, 5, 1.0, 0.1, 0.2),
        "head": HEAD,
        "hello": Hello(AGENT, "lab", "s3cret"),
        "idle_seconds": 60.0,
        "jobs": (QueuedJob(JOB, "a job", {}, {}, Sender("", "r", "router"), 1, 0, 1.0, 61.0, "it is full"),),
        "moved": False,
        "peer": PEER,
        "plugin": "starter",
        "principal": PRINCIPAL,
        "progress": print,
        "record": RECORD,
        "request": CreateRequest({"type": "labels"}),
        "resource": Resource(AGENT, JOB),
        "router": SimpleNamespace(jobs=None),
        "sandbox": place,
        "stream": None,
        "target": TARGET,
        "why": "its line was cut",
        "write": FileWrite("tool.exe", WriteWay.FILE, 10),
    }


def samples_of_the_agent(place: Path) -> dict[str, Any]:
    guarded = SimpleNamespace(recover=None, destroy=None, launch=None)
    return samples(place) | {
        "agent": SimpleNamespace(jobs=None, guarded=guarded),
        "request": StartRequest(("solve",)),
    }
