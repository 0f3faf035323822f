"""Plugins that want to see each request and each answer do, though all else is decided once for many."""

from __future__ import annotations

from pathlib import Path

import pytest
from proxied import Proxied, joined

from prouter.testing import Fleet, eventually

PLUGIN = """
import asyncio, dataclasses, pathlib
from prouter import hookimpl
from prouter.errors import Forbidden
from prouter.model.http import Reply

HEARD = pathlib.Path(__file__).with_suffix(".heard")

def write(what, target):
    with HEARD.open("a") as file:
        file.write(f"{what} {target.rest} {target.request_id} {target.peer.port}\\n")

class Way:
    @hookimpl
    KIND prouter_proxy_request(self, head, target):
        WAIT
        write("asked", target)
        assert head.target == target.prefix + target.rest
        match target.rest.split("/")[1]:
            case "added":
                return dataclasses.replace(head, headers=(*head.headers, ("X-Way", head.get("x-own") or target.rest)))
            case "answered":
                return Reply.text(target.rest, 418)
            case "refused":
                raise Forbidden("not this one")
            case "fails":
                raise RuntimeError

    @hookimpl
    KIND prouter_proxy_response(self, answer, target):
        WAIT
        write("answered", target)
        return dataclasses.replace(answer, headers=(*answer.headers, ("X-Back", target.rest)))

    @hookimpl
    def prouter_proxy_finished(self, finished):
        write(f"ended {finished.status}", finished.target)
"""
RESTS = ["/added/1", "/left/2", "/answered/3", "/left/4", "/refused/5", "/fails/6", "/added/7?x", "/added/8", "/left/9"]
STATUS = {"answered": 418, "refused": 403, "fails": 500}


@pytest.mark.parametrize(("kind", "wait"), [("def", "pass"), ("async def", "await asyncio.sleep(0)")])
async def test_each_is_what_its_own_hooks_make_of_it(fleet: Fleet, tmp_path: Path, kind: str, wait: str) -> None:
    (tmp_path / "way.py").write_text(PLUGIN.replace("KIND", kind).replace("WAIT", wait))
    fleet.expected_errors += ["plugin way failed", "'way' failed", "Traceback"]
    job = joined(fleet, f"plugins.load=[{str(tmp_path / 'way.py')!r}]")()
    expected = []
    for method, body in (("GET", b""), ("POST", b"four")):
        for first in ("/left/0", "/added/0"):
            expected += await asked(job, [first] * 3 + RESTS, method, body)
    heard = tmp_path / "way.heard"
    await eventually(lambda: len(heard.read_text().splitlines()) >= len(expected))
    assert sorted(heard.read_text().splitlines()) == sorted(expected)
    async with job.router.client() as client:
        counts = (await client.request("GET", "/debug/state"))["proxied"]["control"]
    assert counts["alike"] >= counts["finished"] - 2 * 4  # it is learned from the second of each run
    async with job.wired() as wire:
        for number in range(8):  # lines that nobody else reads are read by it
            await wire.send(job.request("/added/0", f"X-Own: {number}"))
            assert f"X-Way: {number}\r\n".encode() in (await wire.answer()).body


async def asked(job: Proxied, rests: list[str], method: str, body: bytes) -> list[str]:
    """What a plugin is told of these requests, whose answers are what it makes of them."""
    told = []
    async with job.wired() as wire:
        port = wire.writer.get_extra_info("sockname")[1]
        for rest in rests:
            lines = [f"X-First: {rests[0]}", *["Content-Length: 4"] * bool(body)]  # none is like those of another run
            await wire.send(job.request(rest, *lines, method=method) + body)
            answer = await wire.answer(method=method)
            name, about = rest.split("/")[1], f"{rest} {answer.get('x-request-id')} {port}"
            assert answer.status == STATUS.get(name, 200), rest
            told.append(f"asked {about}")
            if answer.status == 200:
                assert answer.body.startswith(f"{method} {rest} ".encode())
                assert answer.body.endswith(b"\r\n\r\n" + body)
                assert answer.body.count(b"X-Way") == (name == "added")
                assert (f"X-Way: {rest}\r\n".encode() in answer.body) == (name == "added")
                assert answer.get("x-back") == rest
                told += [f"answered {about}", f"ended 200 {about}"]
    return told
