"""Requests of one connection with the same header lines: each gets what it would have got alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from proxied import Proxied, joined
from wire import Wire

from prouter.testing import Fleet, eventually

RESTS = ["/a", "/b?c=d", "/%2Fx%00", "//double", "/a/../b", "/;p@q", "/?", "/a?b=c?d", "/same", "/same"]
COUNTING = """
from dataclasses import replace
from prouter import hookimpl

class Counting:
    count = 0

    @hookimpl
    def {hook}(self, {arguments}):
        Counting.count += 1
        open({place!r}, "a").write("asked\\n")
"""
ASKED = {
    "prouter_authorize": "principal, action, resource",
    "prouter_principal": "principal, head",
    "prouter_proxy_request": "head, target",
    "prouter_proxy_response": "answer, target",
    "prouter_resolve_route": "head",
    "prouter_plan": "head, target",
    "prouter_audit": "event",
    "prouter_proxy_finished": "finished",
}


WANTS_EACH = {
    "prouter_audit": True,
    "prouter_principal": True,
    "prouter_proxy_request": False,
    "prouter_proxy_response": False,
    "prouter_proxy_finished": False,
}
"""Whether all is decided anew for who implements it. The last one is what an access log is made of
(docs/plugins/calling.md)."""


def without_id(head: list[str]) -> list[str]:
    return [line for line in head if not line.lower().startswith("x-request-id:")]


async def heads_on_one_connection(job: Proxied, rests: list[str], *lines: str) -> list[list[str]]:
    """What the job got of each."""
    found = []
    async with job.wired() as wire:
        for rest in rests:
            await wire.send(job.request(rest, *lines))
            found.append((await wire.answer()).body.decode("latin-1").split("\r\n")[:-2])
    return found


@pytest.mark.parametrize("lines", [(), ("Accept: */*", "Cookie: a=b", "Origin: http://elsewhere", "Referer: /x")])
async def test_the_job_gets_of_each_what_it_would_get_alone(job: Proxied, lines: tuple[str, ...]) -> None:
    together = await heads_on_one_connection(job, RESTS, *lines)
    for rest, head in zip(RESTS, together, strict=True):
        assert without_id(head) == without_id(await job.heard_head(rest, *lines))
    ids = [line for head in together for line in head if line.lower().startswith("x-request-id:")]
    assert len(set(ids)) == len(RESTS)


async def test_other_lines_in_between_count_for_their_own_request_only(job: Proxied) -> None:
    async with job.wired() as wire:
        for number in range(6):
            lines = (f"X-Number: {number}",) if number % 2 else ()
            await wire.send(job.request(f"/{number}", *lines))
            head = (await wire.answer()).body.decode()
            assert head.startswith(f"GET /{number} ")
            assert ("x-number: " in head.lower()) == bool(lines)


@pytest.mark.parametrize("bad", ["/a b", "/a#b", "/\xe9", "/a\0"])
async def test_what_would_be_refused_alone_is_refused_behind_others(job: Proxied, bad: str) -> None:
    async with job.wired() as wire:
        for _ in range(2):
            await wire.send(job.request("/good"))
            assert (await wire.answer()).status == 200
        await wire.send(job.request(bad))
        assert (await wire.answer()).status == 400
        assert (await wire.rest())[1] == "end"


async def test_a_target_too_long_is_414_behind_others_too(job: Proxied) -> None:
    async with job.wired() as wire:
        for _ in range(2):
            await wire.send(job.request("/good"))
            assert (await wire.answer()).status == 200
        await wire.send(job.request("/" + "a" * 20000))
        assert (await wire.answer()).status == 414


async def test_pipelined_and_in_pieces(job: Proxied) -> None:
    async with job.wired() as wire:
        await wire.send(b"".join(job.request(f"/{number}") for number in range(8)))
        for number in range(8):
            assert (await wire.answer()).body.startswith(f"GET /{number} ".encode())
        for number in range(4):
            request = job.request(f"/{number}")
            await wire.send(request[:20])
            await wire.send(request[20:])
            assert (await wire.answer()).body.startswith(f"GET /{number} ".encode())
            await wire.send(job.request("/whole"))
            assert (await wire.answer()).body.startswith(b"GET /whole ")


async def test_a_job_that_is_stopped_amid_them_is_asked_no_more(make_job: Callable[..., Proxied]) -> None:
    job = make_job()
    async with job.wired() as wire, job.router.client() as client:
        for _ in range(3):
            await wire.send(job.request("/x"))
            assert (await wire.answer()).status == 200
        await client.request("POST", f"{job.info['path']}/stop", {})

        async def over() -> bool:
            return (await client.request("GET", f"{job.info['path']}/info"))["state"] == "FINISHED"

        await eventually(over)
        await wire.send(job.request("/x"))
        assert (await wire.answer()).status == 404


async def test_a_token_that_is_withdrawn_opens_nothing_on_a_connection_that_used_it(
    fleet: Fleet, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("first-token\nsecond-token\n")
    job = joined(fleet, f"control.tokens_file={str(tokens)!r}", token="first-token")()
    async with job.wired() as wire, job.router.client("second-token") as client:
        for _ in range(3):
            await wire.send(job.request("/x", "X-Prouter-Token: first-token"))
            answer = await wire.answer()
            assert answer.status == 200
            assert b"first-token" not in answer.body
        tokens.write_text("second-token\n")
        await client.request("POST", "/reload")
        await wire.send(job.request("/x", "X-Prouter-Token: first-token"))
        assert (await wire.answer()).status == 401


@pytest.mark.parametrize("hook", ASKED)
async def test_a_plugin_that_wants_to_know_of_each_is_told_of_each(fleet: Fleet, tmp_path: Path, hook: str) -> None:
    place = tmp_path / "asked"
    text = COUNTING.format(hook=hook, arguments=ASKED[hook], place=str(place))
    (tmp_path / "counting.py").write_text(text)
    job = joined(fleet, f"plugins.load=[{str(tmp_path / 'counting.py')!r}]")()
    place.unlink(missing_ok=True)
    async with job.wired() as wire:
        for _ in range(5):
            await wire.send(job.request("/x"))
            assert (await wire.answer()).status == 200
    await eventually(lambda: place.exists() and place.read_text().count("asked") >= 5)


async def of_twenty_equal(job: Proxied, method: str = "GET", sizes: tuple[int, ...] = (0,)) -> dict[str, int]:
    """How many of these needed no decision of their own (`alike`), and no exchange (`short`), by what the router tells
    of itself. `sizes`: of the bodies, in turn."""
    async with job.wired() as wire:
        for number in range(20):
            body = b"x" * sizes[number % len(sizes)]
            lines = (f"Content-Length: {len(body)}",) if body else ()
            await wire.send(job.request("/same", *lines, method=method) + body)
            assert (await wire.answer()).status == 200
        async with job.router.client() as client:
            state = await client.request("GET", "/debug/state")
    assert set(state["plugins"].values()) == {"loaded"}, state["plugins"]
    assert {"http_proxy", "metrics", "events_api"} <= set(state["plugins"])
    assert state["proxied"]["control"]["finished"] == 20
    counts: dict[str, int] = state["proxied"]["control"]
    return counts


async def test_with_all_that_ships_most_are_decided_about_once_and_go_the_short_way(fleet: Fleet) -> None:
    """A plugin of ours that begins to look at each would make every request many times as dear, unseen."""
    counts = await of_twenty_equal(joined(fleet)())
    assert counts["alike"] >= 17
    assert counts["short"] >= 16


@pytest.mark.parametrize("sizes", [(100,), (1, 20, 300, 5, 70_000)], ids=["of one size", "of any"])
async def test_so_are_those_with_a_body(fleet: Fleet, sizes: tuple[int, ...]) -> None:
    counts = await of_twenty_equal(joined(fleet)(), "POST", sizes)
    assert counts["alike"] >= 16
    assert counts["short"] >= 10


async def test_a_job_gets_each_body_whole_however_it_comes(job: Proxied) -> None:
    sizes = [0, 1, 10, 4000, 200_000, 1, 0, 300_000]
    async with job.wired() as wire:
        for number, size in enumerate(sizes * 2):
            body = b"%d" % (number % 10) * size
            head = job.request(f"/{number}", f"Content-Length: {size}", method="POST")
            if number % 3 == 0:
                await wire.send(head + body)
            else:
                await wire.send(head)
                for part in (body[: size // 3], body[size // 3 :]):
                    if part:
                        await wire.send(part)
            heard, _, came = (await wire.answer(method="POST")).body.partition(b"\r\n\r\n")
            assert heard.startswith(b"POST /%d " % number)
            assert came == body


@pytest.mark.parametrize("hook", WANTS_EACH)
async def test_none_is_beside_a_plugin_that_decides_or_hears_of_each_decision_and_most_are_beside_one_that_sees_each(
    fleet: Fleet, tmp_path: Path, hook: str
) -> None:
    text = COUNTING.format(hook=hook, arguments=ASKED[hook], place=str(tmp_path / "asked"))
    (tmp_path / "counting.py").write_text(text)
    counts = await of_twenty_equal(joined(fleet, f"plugins.load=[{str(tmp_path / 'counting.py')!r}]")())
    assert counts["alike"] == 0 if WANTS_EACH[hook] else counts["alike"] >= 17


async def test_on_connections_of_their_own_too(job: Proxied) -> None:
    """What was learned on one connection counts for the next, for the same address."""
    first = without_id(await job.heard_head("/first", "Connection: close"))
    for rest in RESTS:
        async with job.wired() as wire:
            await wire.send(job.request(rest, "Connection: close"))
            answer = await wire.answer()
            assert answer.get("connection") == "close"
            assert await wire.rest() == (b"", "end")
        head = without_id(answer.body.decode("latin-1").split("\r\n")[:-2])
        assert head == [first[0].replace("/first", rest), *first[1:]]


async def test_who_comes_from_elsewhere_is_another(job: Proxied) -> None:
    for _ in range(2):
        for address in ("127.0.0.1", "127.0.0.2"):
            reader, writer = await asyncio.open_connection(
                *job.router.address("control"), local_addr=(address, 0), limit=2**20
            )
            try:
                wire = Wire(reader, writer)
                await wire.send(job.request("/x", "X-Same: line"))
                assert f"x-forwarded-for: {address}\r\n" in (await wire.answer()).body.decode().lower()
            finally:
                writer.close()


async def test_several_jobs_with_the_same_lines(job: Proxied, make_job: Callable[..., Proxied]) -> None:
    other = make_job()
    async with job.wired() as wire:
        for number in range(6):
            asked = other if number % 2 else job
            await wire.send(asked.request(f"/{number}"))
            body = (await wire.answer()).body.decode()
            assert body.startswith(f"GET /{number} ")
            assert f"Host: 127.0.0.1:{asked.port}\r\n" in body


JUDGE = """
import asyncio, pathlib
from prouter import hookimpl
from prouter.model.access import Refusal

MODE = pathlib.Path(__file__).with_suffix(".mode")
ASKED = pathlib.Path(__file__).with_suffix(".asked")

class Judge:
    @hookimpl
    {kind} prouter_authorize(self, principal, action, resource):
        if action == "job.proxy":
            with ASKED.open("a") as asked:
                asked.write("x")
            mode = MODE.read_text()
            {wait}
            if mode == "refuses":
                return Refusal("not now")
            if mode == "fails":
                raise RuntimeError
            if mode == "leaves":
                raise SystemExit
"""


@pytest.mark.parametrize(
    ("kind", "wait"), [("def", "pass"), ("async def", "pass"), ("async def", "await asyncio.sleep(0)")]
)
async def test_who_authorizes_is_asked_once_about_each(fleet: Fleet, tmp_path: Path, kind: str, wait: str) -> None:
    mode, asked = tmp_path / "judge.mode", tmp_path / "judge.asked"
    (tmp_path / "judge.py").write_text(JUDGE.format(kind=kind, wait=wait))
    mode.write_text("allows")
    fleet.expected_errors += ["plugin judge failed", "'judge' failed", "Traceback"]
    job = joined(fleet, f"plugins.load=[{str(tmp_path / 'judge.py')!r}]")()
    async with job.wired() as wire:
        found = []
        for said in (
            "allows",
            "allows",
            "allows",
            "refuses",
            "refuses",
            "allows",
            "allows",
            "fails",
            "leaves",
            "allows",
        ):
            mode.write_text(said)
            asked.write_text("")
            await wire.send(job.request("/x"))
            answer = await wire.answer()
            found.append(answer.status)
            assert asked.read_text() == "x", said
            assert (answer.status == 200) == answer.body.startswith(b"GET /x ")
    assert found == [200, 200, 200, 403, 403, 200, 200, 500, 500, 200]


async def test_a_kept_connection_that_had_just_been_closed_is_retried_amid_them(
    make_job: Callable[..., Proxied],
) -> None:
    job = make_job()
    async with job.wired() as wire:
        for rest in ("/a", "/b", "/c", "/once", "/again", "/d"):
            await wire.send(job.request(rest))
            answer = await wire.answer()
            assert answer.status == 200
            assert answer.body.startswith(b"first" if rest == "/once" else f"GET {rest} ".encode())
    assert [heard.count(b"GET /again ") for heard in job.heard if heard] == [1, 1]


async def test_an_answer_before_the_end_of_a_body_and_a_refused_upload_leave_the_next_ones_alone(
    make_job: Callable[..., Proxied],
) -> None:
    """What was learned of good requests is not asked for those whose connection is out of step."""
    job = make_job()
    for _ in range(3):
        async with job.wired() as wire:
            for rest in ("/a", "/b", "/c"):
                await wire.send(job.request(rest))
                assert (await wire.answer()).body.startswith(f"GET {rest} ".encode())
            await wire.send(job.request("/early", "Content-Length: 400", method="POST") + b"x" * 10)
            assert (await wire.answer()).status == 413
            await wire.send(job.request("/smuggled"))
            assert (await wire.rest())[0] == b""
    assert not any(b"/smuggled" in heard for heard in job.heard)


async def test_what_goes_wrong_is_told_of_the_request_that_it_was(job: Proxied) -> None:
    job.says("nonsense", b"this is no answer\r\n\r\n")
    async with job.wired() as wire:
        for _ in range(3):
            await wire.send(job.request("/good"))
            assert (await wire.answer()).status == 200
        await wire.send(job.request("/say/nonsense"))
        assert (await wire.answer()).status == 502
    await eventually(lambda: f"GET {job.prefix}/say/nonsense: 502" in job.router.log)
    assert f"GET {job.prefix}/good: 502" not in job.router.log


async def test_other_lines_that_nobody_reads_reach_the_job_each_time_and_the_token_never_does(fleet: Fleet) -> None:
    job = joined(fleet, "control.tokens=['right-token']", token="right-token")()
    async with job.wired() as wire:
        for number in range(6):
            own = [f"If-None-Match: {number}", f"X-Odd: \xe9{number}", "X-Odd: twice", "Cookie: a=b"]
            lines = [own[0], "X-Prouter-Token: right-token", *own[1:]]
            await wire.send(job.request(f"/{number}", *lines))
            answer = await wire.answer()
            heard = answer.body.decode("latin-1").split("\r\n")[:-2]
            assert heard[0] == f"GET /{number} HTTP/1.1"
            assert heard[1] == f"Host: 127.0.0.1:{job.info['ports']['http']}"
            assert [line for line in heard if line in own] == own
            assert sum(line.startswith("X-Forwarded-For: ") for line in heard) == 1
            assert "right-token" not in answer.body.decode("latin-1")
        for lines in ([], ["X-Prouter-Token: wrong"], ["X_Prouter_Token: right-token"], ["Authorization: Bearer x"]):
            await wire.send(job.request("/x", *lines, "If-None-Match: 7"))
            assert (await wire.answer()).status == 401
        await wire.send(job.request("/x", "X-Prouter-Token: right-token", "Connection: X-Odd", "X-Odd: 8"))
        assert b"X-Odd" not in (await wire.answer()).body


async def test_what_a_header_says_of_a_version_opens_no_door(fleet: Fleet) -> None:
    job = joined(fleet, "control.tokens=['right-token']", token="right-token")()
    host = "Host: {}:{}".format(*job.router.address("control"))
    for _ in range(3):
        lines = (f"GET {job.prefix}/x HTTP/1.0", "X-Prouter-Token: right-token", "X-A: b HTTP/1.1", host, "", "")
        async with job.wired() as wire:
            await wire.send("\r\n".join(lines).encode())
            assert (await wire.answer()).status == 200
    assert (await job.ask("/x")).status == 401
    assert (await job.ask("/x", "X-A: b HTTP/1.1")).status == 401
