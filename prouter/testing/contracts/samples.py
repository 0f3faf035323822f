"""Values as hooks get them, for contracts and for authors' own tests: each with all that it must have."""

from __future__ import annotations

import inspect
import random
import string
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any, get_type_hints

from prouter.model.access import ANONYMOUS, Peer, Principal, Resource
from prouter.model.activity import Activity
from prouter.model.agents import AgentInfo, Hello
from prouter.model.audit import AuditEvent
from prouter.model.http import Headers, RequestHead, ResponseHead
from prouter.model.ids import AgentUid, JobUid, new_uid
from prouter.model.jobs import CreateRequest, JobRecord, JobRef, JobState, Port, Reason, Sender, StartRequest
from prouter.model.output import OutputStream
from prouter.model.plugin import Candidate, JobTarget
from prouter.model.proxying import Bridge, ProxyFinished
from prouter.model.queue import QueuedJob
from prouter.model.writes import FileWrite, WriteWay

QUESTIONS = 16
ACTIONS = ("job.create", "job.read", "job.proxy", "job.remove", "files.write", "router.shutdown", "an.action.of.others")

SCHEMES = ("", "Bearer ", "Basic ", "bearer  ", "Digest ", "Bearer a.b.c", "Basic !!!", "x=y; ")
NOW = 1_700_000_000.0
PEERS = (Peer("127.0.0.1", 50000), Peer("2001:db8::7", 443, secure=True), Peer("", 0))
ODD_TEXTS = (
    "",
    " ",
    "\xff\xfe",
    "é",
    "'; DROP TABLE jobs; --",
    "../../etc/passwd",
    "%00",
    "a" * 8000,
    "Bearer",
    '=;,"',
)
"""All can stand in a header as it came."""


def a_head(method: str = "GET", target: str = "/jobs", headers: Headers = (), **named: str) -> RequestHead:
    """With a Host, these headers, and those that are named: `x_api_key="..."` is X-Api-Key."""
    more = tuple((name.replace("_", "-").title(), value) for name, value in named.items())
    return RequestHead(method, target, (("Host", "localhost:8080"), *headers, *more))


def an_answer(status: int = 200, headers: Headers = (("Content-Type", "text/plain"),)) -> ResponseHead:
    return ResponseHead(status, "OK", headers)


def a_principal(name: str = "lab", **fields: Any) -> Principal:
    return Principal(name, "testing_kit", **fields)


def a_target(rest: str = "/page?x=1", principal: Principal | None = None) -> JobTarget:
    """A job's port, as a proxied request found it."""
    ref = JobRef(AgentUid("agent-1"), JobUid("0" * 32))
    return JobTarget(
        ref, Port("http", 8000), f"{ref.path}/http", rest, PEERS[0], principal or a_principal(), "request-1",
        "http://localhost:8080",
    )  # fmt: skip


def candidates(count: int) -> list[Candidate]:
    """Agents of many kinds; the first ones are alike but for their names."""
    return [
        Candidate(
            AgentUid(f"agent-{number}"),
            f"name {number}" if number % 3 else "",
            {"rack": str(number % 4), "memory": str(2**number % 997), "odd": ODD_TEXTS[number % len(ODD_TEXTS)]},
            jobs=number % 5,
            waiting=number % 2,
            capacity={"jobs": 8} if number % 2 else {},
            used={"jobs": number % 5},
        )
        for number in range(count)
    ]


def a_create_request(**fields: Any) -> CreateRequest:
    return replace(CreateRequest({"type": "uid", "uid": "agent-1"}, "a job", {"team": "lab"}), **fields)


def an_agent(uid: str = "agent-1", **fields: Any) -> AgentInfo:
    info = AgentInfo(AgentUid(uid), "an agent", {"system": "Linux"}, {}, "1", True, NOW, "SERVER", 0)
    return replace(info, **fields)


def a_hello(token: str = "", uid: str = "agent-1", **fields: Any) -> Hello:
    return replace(Hello(uid, "an agent", token, version="1", boot="b"), **fields)


def a_record(state: JobState = JobState.NEW, **fields: Any) -> JobRecord:
    """A job in that state, with what goes with it."""
    record = JobRecord(JobUid(new_uid()), "a job", Sender("SERVER", "router", "router"), state, created_at=NOW)
    if state is JobState.RUNNING:
        record = replace(record, started_at=NOW, pid=4711, ports={"http": Port("http", 8000)})
    if state is JobState.FINISHED:
        record = replace(record, started_at=NOW, finished_at=NOW + 1, exit_code=0, reason=Reason.EXITED)
    return replace(record, **fields)


def life_of_a_job() -> list[JobRecord]:
    """The same job in all its states."""
    first = a_record()
    return [replace(a_record(state), uid=first.uid, revision=number) for number, state in enumerate(JobState)]


def rubbish_heads(count: int = 200, seed: int = 0) -> Iterator[RequestHead]:
    """Heads that are valid and make no sense, with headers of authentication among them; the same for the same seed."""
    chance = random.Random(seed)  # noqa: S311 -- no secret
    names = ("Authorization", "Cookie", "X-Api-Key", "X-Prouter-Token", "X-Forwarded-User", "Proxy-Authorization", "Te")
    letters = string.printable.strip() + "\xa0\xe9\xff"
    for _ in range(count):
        headers = []
        for _ in range(chance.randrange(5)):
            text = "".join(chance.choices(letters, k=chance.randrange(60)))
            scheme = chance.choice(
                ("", "Bearer ", "Basic ", "bearer  ", "Digest ", "Bearer a.b.c", "Basic !!!", "x=y; ")
            )
            headers.append((chance.choice(names), scheme + chance.choice((text, chance.choice(ODD_TEXTS)))))
        target = chance.choice(("/", "/jobs?x=%ff", "/%2e%2e/" + "a" * chance.randrange(200), "/jobs/a/b/http/?q"))
        yield a_head(chance.choice(("GET", "POST", "DELETE", "OPTIONS", "X")), target, tuple(headers))


def arguments(hook: Any, number: int) -> dict[str, Any]:
    """What the specification `hook` may be asked with; number 0 is the most ordinary. Raises KeyError for a new one."""
    text = ODD_TEXTS[number % len(ODD_TEXTS)]
    hints = get_type_hints(hook)
    makers = {
        name: _start if hints[name] is StartRequest else _MAKERS[name] for name in inspect.signature(hook).parameters
    }
    return {name: make(number, text) for name, make in makers.items()}


def questions(hook: Any) -> Iterator[dict[str, Any]]:
    """Of many kinds, the ordinary first."""
    for number in range(QUESTIONS):
        yield arguments(hook, number)


def _principal(number: int, text: str) -> Principal:
    return (a_principal(), ANONYMOUS)[number] if number < 2 else a_principal(text)


def _request(number: int, text: str) -> CreateRequest:
    usual = (
        a_create_request(),
        a_create_request(name="", labels={}),
        a_create_request(locator={"type": "labels", "match": {}}, resources={"gpu": 2}),
    )
    return usual[number] if number < len(usual) else a_create_request(name=text, labels={text: text})


def _start(number: int, text: str) -> StartRequest:
    usual = (
        StartRequest(("python3", "serve.py")),
        StartRequest(("true",), ports=(), cwd="below", timeout_seconds=60.0),
    )
    return usual[number] if number < len(usual) else StartRequest((text or "x", text), {"ODD": text}, name=text)


def _record(number: int, text: str) -> JobRecord:
    states = list(JobState)
    record = a_record(states[number % len(states)])
    return record if number < len(states) else replace(record, name=text, labels={text: text}, exit_code=None)


def _agent(number: int, text: str) -> AgentInfo:
    usual = (an_agent(), an_agent(connected=False), an_agent(draining=True, version=None))
    return usual[number] if number < len(usual) else an_agent(text or "x", name=text)


def _resource(number: int, text: str) -> Resource:
    ref = a_target().ref
    return (Resource(ref.agent, ref.job, {"team": "lab"}), Resource(ref.agent), Resource())[number % 3]


def _write(number: int, text: str) -> FileWrite:
    path = ("a/b.txt", "x", "\udcff")[number] if number < 3 else text or "file"
    ways = list(WriteWay)
    return FileWrite(path, ways[number % len(ways)], (10, None, 2**50)[number % 3])


def _finished(number: int, text: str) -> ProxyFinished:
    status, waited = ((200, 0.1), (101, 0.01), (0, None), (502, None))[number % 4]
    cut = "the client went away" if number % 3 == 2 else ""
    return ProxyFinished(a_target(), "GET", status, number, 2**40, NOW, waited, 3.0, cut)


def _audit(number: int, text: str) -> AuditEvent:
    status = (200, 401, 0)[number % 3]
    known: dict[str, Any] = {
        "at": NOW,
        "request_id": "request-1",
        "peer": PEERS[number % len(PEERS)],
        "principal": text or "anonymous",
        "authenticator": "",
        "method": "GET",
        "path": "/jobs",
        "action": "job.read",
        "resource": _resource(number, text),
        "status": status,
        "reason": "" if status == 200 else text,
        "decisions": (),
    }
    values: dict[str, Any] = {field.name: known.get(field.name) for field in fields(AuditEvent)}
    return AuditEvent(**values)


def _queued(number: int, text: str) -> tuple[QueuedJob, ...]:
    sender = Sender("", "router-1", text)
    return tuple(
        QueuedJob(JobUid(f"{place:032x}"), text, {"team": text}, {"gpu": 1}, sender, place, number, NOW, NOW + 60, text)
        for place in range(1, number + 2)
    )


_MAKERS: dict[str, Callable[[int, str], Any]] = {
    "about": lambda number, text: "bridge",
    "action": lambda number, text: ACTIONS[number % len(ACTIONS)],
    "activity": lambda number, text: Activity(1, number, 10, None if number % 2 else NOW),
    "agent": _agent,
    "bridge": lambda number, text: Bridge(a_target().ref, "/socket?x=%ff", f"wss://example.com/{number}", ("chat",)),
    "candidate": lambda number, text: candidates(number + 1)[number],
    "data": lambda number, text: (f"line {number} {text}\n".encode(), b"", bytes(range(256)), b"\n" * 3)[number % 4],
    "env": lambda number, text: {"PATH": "/usr/bin:/bin", "ODD": text} if number % 4 != 3 else {},
    "stream": lambda number, text: (None, *OutputStream)[number % 3],
    "count": lambda number, text: number + 1,
    "detail": lambda number, text: text or "it broke",
    "error": lambda number, text: ValueError(text),
    "event": _audit,
    "finished": _finished,
    "idle_seconds": lambda number, text: 600.0 * (number + 1),
    "jobs": _queued,
    "moved": lambda number, text: number % 2 == 1,
    "plugin": lambda number, text: "provisioner",
    "principal": _principal,
    "record": _record,
    "request": _request,
    "resource": _resource,
    "why": lambda number, text: text or "the link ended",
    "write": _write,
}
"""A value for each argument of the hooks that are told or decide, by the number of the question and an odd text."""
