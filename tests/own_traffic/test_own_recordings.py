"""Routers and agents of today with those of earlier versions: what was recorded then is told to them now."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent.parent / "rpc"))  # the recordings are read by a module there

from recordings import SIDES, Recorded, Recording, read_file
from replay import Replay

from prouter.errors import LinkError, RemoteError
from prouter.model.agents import Hello
from prouter.model.skew import NEEDED
from prouter.rpc import websocket
from prouter.rpc.calls import CallContext
from prouter.rpc.connection import Link
from prouter.rpc.limits import Limits
from prouter.rpc.messages import CallType, decode, encode
from prouter.rpc.methods import Methods
from prouter.testing import eventually

FILES = sorted(Path(__file__).parent.glob("*.jsonl"))
UID = "0123456789abcdef0123456789abcdef"
WATCH = "prouter_watch"

recorded = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def hello_of(recording: Recording, side: str, token: str) -> Mapping[str, Any]:
    """What that side said of itself, with a token that counts today."""
    handshake = [message for message in recording.messages if message.kind in (1, 6) and message.sender == side]
    said: Mapping[str, Any] = handshake[0].fields[2][2]
    return {**said, "auth": {**said["auth"], "token": token}}


def results(recording: Recording) -> dict[str, deque[Any]]:
    """What the agent answered, by method and in order."""
    methods = {call.call_id: call.fields[3] for call in recording.calls()}
    found: dict[str, deque[Any]] = defaultdict(deque)
    for message in recording.messages:
        if message.kind == 7:
            found[methods[message.call_id]].append(message.result())
    return found


def news(recording: Recording) -> list[Any]:
    """What the agent told in the watch."""
    (watch,) = [call.call_id for call in recording.calls() if call.fields[3] == WATCH]
    return [message.fields[2] for message in recording.messages if (message.kind, message.call_id) == (8, watch)]


def fits(then: object, now: object) -> bool:
    """Whether `now` has all that `then` had, of the same kinds; it may have more."""
    if isinstance(then, Mapping):
        return isinstance(now, Mapping) and all(key in now and fits(then[key], now[key]) for key in then)
    if isinstance(then, list):
        return isinstance(now, list) and all(any(fits(each, one) for one in now) for each in (then if now else ()))
    if isinstance(then, int | float) and not isinstance(then, bool):
        return now is None or isinstance(now, int | float)
    return then is None or now is None or isinstance(now, type(then))


def test_something_is_recorded() -> None:
    assert {file.stem.rpartition("_")[0] for file in FILES} == {"agent_dials", "router_dials"}


@recorded
def test_every_message_is_read_and_written_as_it_was(file: Path) -> None:
    recording = read_file(file)
    for message in recording.messages:
        assert encode(decode(message.data, Limits()).message, len(message.data)) == message.data
    for side in SIDES:
        replay = Replay(recording, side).run()
        assert all(data in (message.data, None) for message, data in replay.outputs)


@recorded
def test_what_they_said_of_themselves_is_understood(file: Path) -> None:
    for side in SIDES:
        hello = Hello.from_wire(hello_of(read_file(file), side, "t"))
        assert hello.version
        assert hello.boot
        assert hello.capabilities >= NEEDED
        assert hello.needs


@pytest.mark.parametrize("file", [file for file in FILES if "router_dials" in file.stem], ids=lambda file: file.stem)
async def test_a_router_of_then_asks_an_agent_of_today(fleet, file) -> None:
    recording = read_file(file)
    agent = fleet.agent(None, "jobs.resources={'gpu': 2}")
    host, port = agent.address("server")
    channel = await websocket.dial(host, port, ping_interval_seconds=5)
    link = await Link.connect(channel, user_data=hello_of(recording, "router", agent.token), methods=Methods())
    running = asyncio.create_task(link.run())
    try:
        async with link.open(CallType.ISTREAM, WATCH) as watch:
            heard: list[Any] = []
            hearing = asyncio.create_task(_hear(watch, heard))
            answers = results(recording)
            for call in recording.calls():
                method, args = call.fields[3], call.fields[4]
                if method != WATCH:
                    answer = await link.call(method, *args, timeout_seconds=30)
                    then = answers[method].popleft()
                    assert fits(then, answer), (method, then, answer)
            kinds = {key for item in news(recording) for key in item}
            await eventually(lambda: kinds <= {key for item in heard for key in item}, what=f"news of {kinds}")
            hearing.cancel()
    finally:
        await link.close()
        await running


async def _hear(watch: Any, heard: list[Any]) -> None:
    with contextlib.suppress(LinkError):
        async for item in watch.values():
            heard.append(item)


@asynccontextmanager
async def agent_of_then(recording: Recording, host: str, port: int, token: str) -> AsyncIterator[None]:
    """Dials, and answers each method as it was answered then; its news come with the answers that they came with."""
    answers, told = results(recording), deque(_in_turn(recording))
    watching: list[CallContext] = []

    async def tell() -> None:
        for item in told.popleft() if told else ():
            await watching[0].send(item)

    async def watch(context: CallContext) -> None:
        watching.append(context)
        await tell()
        await asyncio.Event().wait()

    def answering(name: str) -> Any:
        async def answer(context: CallContext, *args: Any) -> Any:
            if not answers[name]:
                raise RemoteError(f"{name} was not asked so often then")
            await tell()
            return answers[name].popleft()

        return answer

    methods = Methods()
    methods.add(WATCH, watch, CallType.ISTREAM)
    for name in answers:
        methods.add(name, answering(name))
    channel = await websocket.dial(host, port, ping_interval_seconds=5)
    link = await Link.connect(channel, user_data=hello_of(recording, "agent", token), methods=methods)
    running = asyncio.create_task(link.run())
    try:
        yield
    finally:
        await link.close()
        await running


def _in_turn(recording: Recording) -> list[list[Any]]:
    """News of the watch, in lots: what came before the first answer, then what came with each."""
    lots: list[list[Any]] = [[]]
    (watch,) = [call.call_id for call in recording.calls() if call.fields[3] == WATCH]
    for message in recording.messages:
        if message.kind == 2 and message.call_id != watch:
            lots.append([])
        elif _is_news(message, watch):
            lots[-1].append(message.fields[2])
    return lots


def _is_news(message: Recorded, watch: int) -> bool:
    return message.kind == 8 and message.call_id == watch


@pytest.mark.parametrize("file", [file for file in FILES if "agent_dials" in file.stem], ids=lambda file: file.stem)
async def test_an_agent_of_then_serves_a_router_of_today(fleet, file) -> None:
    recording = read_file(file)
    router = fleet.router()
    host, port = router.address("server")
    async with agent_of_then(recording, host, port, router.agent_token), router.client() as client:

        async def there() -> bool:
            return [agent["uid"] for agent in await client.agents()] == ["recorded-agent"]

        await eventually(there)
        made = {"name": "recorded", "uid": UID, "labels": {"a": "b"}, "resources": {"gpu": 1}}
        job = await client.request("POST", "/jobs/create", {"agent": {"type": "uid", "uid": "recorded-agent"}, **made})
        assert (job["state"], job["labels"], job["resources"]) == ("NEW", {"a": "b"}, {"gpu": 1})
        path = job["path"]
        start = {"args": ["python3"], "port": {"mode": "assign"}}
        assert (await client.request("POST", f"{path}/start", start))["state"] == "RUNNING"
        assert (await client.request("POST", f"{path}/signal", {"signal": "CONT"}))["state"] == "RUNNING"
        stopped = await client.request("POST", f"{path}/stop", {"signal": "TERM"})
        assert (stopped["state"], stopped["exit_code"], stopped["reason"]) == ("FINISHED", -15, "stopped")
        assert (await client.request("POST", f"{path}/restart"))["state"] == "RUNNING"
        assert "recorded-agent" in str(await client.request("GET", f"{path}/explain"))
        assert (await client.request("POST", "/agents/recorded-agent/drain"))["draining"]
        assert not (await client.request("POST", "/agents/recorded-agent/undrain"))["draining"]
        assert (await client.request("POST", f"{path}/remove"))["state"] == "RUNNING"
        assert await client.jobs() == []
