"""Plugins that look at requests and answers on their way: their changes arrive, the bytes stay in step."""

from __future__ import annotations

from pathlib import Path

from proxied import joined

PLUGIN = """
import asyncio, dataclasses
from prouter import hookimpl
from prouter.model.access import Principal
from prouter.model.http import Reply

class Way:
    @hookimpl
    def prouter_authenticate_request(self, head, peer):
        cookies = "; ".join(head.all("cookie"))
        if "session=ours" in cookies:
            return Principal("me", "way", used_cookies=frozenset(("session",)))

    @hookimpl
    async def prouter_proxy_request(self, head, target):
        if "/answered" in head.target:
            return Reply.text("by the plugin", 418)
        if "/reframed" in head.target:
            framing = (("Expect", "100-continue"), ("Content-Length", "7"), ("Trailer", "X-Lied"))
            return dataclasses.replace(head, headers=(("Host", head.get("host")), *framing))
        return dataclasses.replace(head, headers=head.headers + (("X-Way", target.principal.name),))

    @hookimpl
    async def prouter_proxy_response(self, answer, target):
        await asyncio.sleep(0.01)
        if answer.get("x-break"):
            raise RuntimeError("broken on purpose")
        if answer.get("x-lie"):
            lies = (("Content-Length", "1"), ("Connection", "close"), ("X-Way", "lied"))
            return dataclasses.replace(answer, status=204, headers=lies)
        return dataclasses.replace(answer, headers=answer.headers + (("X-Way", "back"),))

plugin = Way()
"""


async def test_hooks_change_and_answer_and_can_not_lie_about_framing(fleet, tmp_path: Path) -> None:
    (tmp_path / "way.py").write_text(PLUGIN)
    load = (f"plugins.load=[{str(tmp_path / 'way.py')!r}]", "access.authenticators=['token_auth', 'way']")
    fleet.expected_errors += ["plugin way failed", "Traceback"]
    job = joined(fleet, *load)()
    job.says("lie", b"HTTP/1.1 200 OK\r\nX-Lie: 1\r\nContent-Length: 5\r\n\r\nhello")
    job.says("break", b"HTTP/1.1 200 OK\r\nX-Break: 1\r\nContent-Length: 5\r\n\r\nhello")
    job.says("switch", b"HTTP/1.1 101 S\r\nUpgrade: torture\r\nConnection: Upgrade\r\n\r\nearly")
    async with job.wired() as wire:

        async def ask(rest: str, *lines: str):
            await wire.send(job.request(rest, *lines))
            return await wire.answer()

        asked = await ask("/x", "Cookie: a=b; session=ours; c=d")
        assert b"X-Way: me\r\n" in asked.body
        assert b"Cookie: a=b; c=d\r\n" in asked.body
        assert asked.get("x-way") == "back"
        assert b"session" not in (await ask("/x", "Cookie: session=ours")).body
        answered = await ask("/answered")
        assert (answered.status, answered.body) == (418, b"by the plugin")
        kept = (await ask("/x", "Connection: X-Way, X-Hop, keep-alive", "X_Hop: 1", "X-Hop: 1", "X-Empty:")).body
        assert b"X-Way: anonymous\r\n" in kept, "a client had taken off what a plugin set"
        assert b"Hop: 1" not in kept
        assert b"X-Empty:" in kept
        framed = (await ask("/reframed", "TE: trailers", "Connection: TE")).body
        assert b"TE: trailers\r\n" in framed
        assert b"Expect" not in framed
        assert b"Content-Length" not in framed
        assert b"X-Lied" not in framed
        lied = await ask("/say/lie?then=keep")
        assert (lied.status, lied.get("x-way"), lied.body) == (200, "lied", b"hello")
        assert (await ask("/say/break?then=keep")).status == 500
        big = await ask("/big?bytes=3000000")
        assert (big.get("x-way"), len(big.body)) == ("back", 3_000_000)
        await wire.send(job.request("/say/switch?then=hang", "Connection: Upgrade", "Upgrade: torture"))
        head = await wire.head()
        assert (head.status, head.get("upgrade"), head.get("x-way")) == (101, "torture", "back")
        assert await wire.exactly(5) == b"early"
