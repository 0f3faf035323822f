"""One request and its answer: asks the dispatcher, then relays, serves or tunnels, until the end or the cut.

Belongs here: the order of things in one exchange. Does not: the client's bytes (connection.py), the upstream's
(pipe/upstream.py, stand_in.py). Runs as one task; while bytes pass, they pass in callbacks, not in this task.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from prouter.errors import Internal, InvalidRequest, ProuterError, TimedOut, Unavailable, UpstreamFailed
from prouter.http1.framing import NO_BODY, BodyKind, ChunkDecoder
from prouter.http1.policy import forward_request, forward_response, keep_framing
from prouter.http1.reply import write_reply
from prouter.model import unexpected
from prouter.model.http import AnswerPolicy, ForwardPlan, Headers, Reply, RequestHead, ResponseHead
from prouter.model.traffic import Traffic
from prouter.pipe.upstream import Upstream
from prouter.pluginkit import context
from prouter.web.limits import WebLimits
from prouter.web.outcomes import Dispatcher, Ending, Forward, Incoming, Serve, Tunnel
from prouter.web.problem import note, problem
from prouter.web.stand_in import LocalUpstream

log = logging.getLogger(__name__)

REPEATABLE = ("GET", "HEAD", "OPTIONS")
"""Sent once more when a kept connection had just been closed (RFC 9110 9.2.2)."""

ENDING = "the router is ending; come back in a moment"
CLIENT_GONE = "the client closed the connection"


class Client(Protocol):
    """The connection, as an exchange sees it."""

    @property
    def body_complete(self) -> bool: ...

    def may_keep_alive(self, head: RequestHead) -> bool: ...

    def write(self, data: bytes) -> None: ...

    def end_by_close(self) -> None: ...

    def write_eof(self) -> None: ...

    def pause_body(self, reason: str) -> None: ...

    def resume_body(self, reason: str) -> None: ...

    def become_tunnel(self) -> None: ...

    def give_away(self) -> tuple[asyncio.Transport, bytes]: ...

    def exchange_over(self, *, keep_alive: bool, cut: bool) -> None: ...

    def cut(self) -> None: ...


class Exchange:
    """A Carrier for the upstream, and what the connection feeds with the request's body."""

    def __init__(
        self, client: Client, incoming: Incoming, dispatcher: Dispatcher, limits: WebLimits, traffic: Traffic
    ) -> None:
        self._client = client
        self._incoming = incoming
        self._dispatcher = dispatcher
        self._limits = limits
        self._traffic = traffic
        self._status = 0
        """Of the answer, once it has begun."""
        self._bytes_in = 0
        self._bytes_out = 0
        self._loop = asyncio.get_running_loop()
        self._upstream: Upstream | None = None
        self._held: list[bytes] = []
        """The body's bytes that came before there was an upstream."""
        self._held_bytes = 0
        self._policy = AnswerPolicy()
        self._changes = False
        """Somebody changes answer heads: the head waits for that, and the body behind it."""
        self._new_head: asyncio.Future[ResponseHead] | None = None
        self._parts: list[bytes] = []
        self._over: asyncio.Future[tuple[ProuterError | None, bool]] | None = None
        """Done when the answer ended or was cut: the error, and whether no byte of it came."""
        self._head_sent = False
        self._unsent = b""
        """The answer's head, until what came with it is told: both go out as one."""
        self._keep_alive = False
        self._decoder: ChunkDecoder | None = None
        self._tunnel = False
        self._follows = False
        self._served = False
        """By a handler of ours, which ends by itself when the endpoint does."""
        self._ending = False
        self._slow = False
        """The client does not read just now."""
        self._eofs = 0
        self._framed = False
        """Whether the client sees from the framing where the answer ends."""
        self._broken: ProuterError | None = None
        """What was wrong with the body before there was an upstream."""
        self._cut_by = ""
        """Why it did not come to a clean end."""
        self._begun_at = self._loop.time()
        self._answered_at = 0.0
        self._moved_at = 0.0
        self._idle_timer: asyncio.TimerHandle | None = None

    # --- the story ---

    async def run(self) -> None:
        """The whole exchange; never raises but for cancellation, which means that the client is gone."""
        context.request_id.set(self._incoming.request_id)
        try:
            await self._answer()
        except asyncio.CancelledError:
            self._cut_by = f"{CLIENT_GONE} while the router was ending" if self._ending else CLIENT_GONE
            if self._upstream is not None:
                self._upstream.abort()
            raise
        except ProuterError as error:
            self._problem(error)
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            log.exception("request %s failed", self._incoming.request_id)
            unexpected.tell(error, f"request {self._incoming.request_id}")
            self._problem(Internal())
        finally:
            if self._idle_timer is not None:
                self._idle_timer.cancel()
            seconds = self._loop.time() - self._begun_at
            if log.isEnabledFor(logging.DEBUG):
                head = self._incoming.head
                log.debug("%s %s: %s in %.3f s", head.method, head.path[:200], self._status or "no answer", seconds)
            self._traffic.finished(self._incoming.route, self._status, seconds, self._bytes_in, self._bytes_out)
            self._tell_answered()
            if self._incoming.on_end is not None:
                self._incoming.on_end(self._so_far())

    async def _answer(self) -> None:
        outcome = await self._dispatcher.dispatch(self._incoming)
        match outcome:
            case Reply():
                self._reply(outcome)
            case Forward():
                await self._forward(outcome)
            case Serve():
                self._served, self._follows = True, outcome.follows
                head = self._incoming.head
                plan = ForwardPlan(head.target, head.get("host") or "", set_headers=(("X-Request-Id", self._id()),))
                await self._carry(LocalUpstream(outcome, self._incoming), forward_request(head, plan))
            case Tunnel():
                self._client.write(_switching(outcome.headers))
                transport, leftover = self._client.give_away()
                outcome.accept(transport, leftover)

    async def _forward(self, outcome: Forward) -> None:
        head = self._incoming.head
        self._policy = outcome.plan.answer
        self._changes = outcome.change_answer is not None
        self._follows = outcome.follows
        request = forward_request(outcome.head or head, outcome.plan)
        if not self._follows:
            self._watch_idle()
        repeat = head.method in REPEATABLE and self._client.body_complete and not self._held and not head.upgrade
        upstream = await outcome.open(False)
        if await self._carry(upstream, request, outcome, may_repeat=repeat):
            await self._carry(await outcome.open(True), request, outcome)

    async def _carry(
        self, upstream: Upstream, request: bytes, forward: Forward | None = None, *, may_repeat: bool = False
    ) -> bool:
        """Send the request, pass the answer on until its end. True: the upstream was stale, nothing came, try again."""
        if self._broken is not None:
            upstream.abort()
            raise self._broken
        self._over = self._loop.create_future()
        if self._changes:
            self._new_head = self._loop.create_future()
        self._upstream = upstream
        upstream.begin(self, request, self._incoming.head.method)
        self._send_held()
        if self._new_head is not None and forward is not None and forward.change_answer is not None:
            await asyncio.wait((self._new_head, self._over), return_when=asyncio.FIRST_COMPLETED)
            if self._new_head.done():
                head = self._new_head.result()
                self._send_head(keep_framing(head, await forward.change_answer(head)))
                self._new_head = None
                for part in self._parts:
                    self._write_body(part)
                self.passed()
                upstream.resume_reading("hook")
        error, untouched = await self._over
        if error is None:
            self._end(upstream)
            return False
        self._upstream = None
        if untouched and may_repeat:
            return True
        if not self._head_sent:
            raise error
        self._cut(error)
        return False

    def _end(self, upstream: Upstream) -> None:
        self._upstream = None
        upstream.release(in_step=self._client.body_complete and not self._tunnel)
        keep = self._keep_alive and self._client.body_complete
        self._client.exchange_over(keep_alive=keep, cut=False)

    def _cut(self, error: ProuterError) -> None:
        self._cut_by = error.detail
        log.info("the answer to request %s was cut: %s", self._id(), error.detail)
        if not self._framed:
            self._client.cut()
        self._client.exchange_over(keep_alive=False, cut=True)

    # --- answers of our own ---

    def _reply(self, reply: Reply) -> None:
        head = self._incoming.head
        keep = self._client.may_keep_alive(head) and not reply.close
        old = head.version == "1.0"
        self._status = reply.status
        self._bytes_out += len(reply.body) if head.method != "HEAD" else 0
        self._client.write(
            write_reply(reply, head_only=head.method == "HEAD", keep_alive=keep, old_client=old, extra=self._extra())
        )
        self._client.exchange_over(keep_alive=keep, cut=False)

    def _problem(self, error: ProuterError) -> None:
        note(error, self._id(), self._incoming.head)
        self._cut_by = error.detail
        if self._upstream is not None:
            self._upstream.abort()
            self._upstream = None
        if self._head_sent:
            self._cut(error)
        else:
            self._reply(problem(error, self._id()))

    def _extra(self) -> Headers:
        return (("X-Request-Id", self._id()),)

    def _id(self) -> str:
        return self._incoming.request_id

    # --- who wants to know ---

    def _tell_answered(self) -> None:
        tell, self._incoming.on_answer = self._incoming.on_answer, None
        if tell is not None:
            tell(self._so_far())

    def _so_far(self) -> Ending:
        wait = self._answered_at - self._begun_at if self._answered_at else None
        seconds = self._loop.time() - self._begun_at
        return Ending(self._status, self._bytes_in, self._bytes_out, wait, seconds, self._cut_by)

    # --- the client's side tells ---

    def body(self, data: bytes) -> None:
        """Bytes of the request's body, or of the tunnel."""
        self._moved_at = self._loop.time()
        self._bytes_in += len(data)
        if self._upstream is not None:
            self._upstream.write(data)
            return
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > self._limits.held_bytes:
            self._client.pause_body("held")

    def body_broken(self, why: str) -> None:
        """The body is none: the upstream must not take what it has for whole."""
        self._finish(InvalidRequest(why), abort=True)

    def body_eof(self) -> None:
        """The client closed its half of the tunnel."""
        if self._upstream is not None:
            self._upstream.write_eof()
        self._half_closed()

    def client_slow(self) -> None:
        self._slow = True
        if self._ending and self._follows:
            self._end_follower()
        elif self._upstream is not None:
            self._upstream.pause_reading("client")

    def client_ready(self) -> None:
        self._slow = False
        if self._upstream is not None:
            self._upstream.resume_reading("client")

    def endpoint_ends(self) -> None:
        """Both sides of a tunnel are closed, an answer that follows is cut; any other may go on to its end."""
        if self._tunnel:
            self._cut_by = ENDING
            self._finish(None)
        elif self._follows:
            if self._slow or not self._served:
                self._end_follower()
        elif self._served and not self._head_sent and not self._client.body_complete:
            self._finish(Unavailable(ENDING), abort=True)  # nobody knows whether the rest of it ever comes
        self._ending = True

    def _end_follower(self) -> None:
        if self._slow:
            self._client.cut()  # what it has not read would hold up our end
        self._finish(Unavailable(ENDING), abort=True)

    # --- the upstream tells (Carrier) ---

    def informed(self, head: ResponseHead) -> None:
        if self._incoming.head.version == "1.1" and not self._head_sent:
            self._client.write(
                forward_response(head, AnswerPolicy(), framing=NO_BODY, keep_alive=True, old_client=False)
            )

    def answered(self, head: ResponseHead) -> None:
        self._answered_at = self._moved_at = self._loop.time()
        if head.status == 101 and not (self._incoming.head.upgrade and head.get("upgrade")):
            self._finish(UpstreamFailed("the job switched protocols without being asked to"), abort=True)
        elif self._new_head is not None:
            assert self._upstream is not None
            self._upstream.pause_reading("hook")
            self._new_head.set_result(head)
        else:
            self._send_head(head)

    def carried(self, data: bytes) -> None:
        self._moved_at = self._loop.time()
        if self._new_head is not None:
            self._parts.append(data)
        else:
            self._write_body(data)

    def passed(self) -> None:
        unsent, self._unsent = self._unsent, b""
        if unsent:
            self._client.write(unsent)

    def finished(self) -> None:
        if self._tunnel:
            self._client.write_eof()
            self._half_closed()
        else:
            self._finish(None)

    def failed(self, error: ProuterError, *, untouched: bool) -> None:
        self._finish(error, untouched=untouched)

    def body_pause(self) -> None:
        self._client.pause_body("upstream")

    def body_resume(self) -> None:
        self._client.resume_body("upstream")

    # --- its parts ---

    def _send_head(self, head: ResponseHead) -> None:
        assert self._upstream is not None
        asked, framing = self._incoming.head, self._upstream.reader.framing
        old_client = asked.version == "1.0"
        self._tunnel = framing.kind is BodyKind.TUNNEL
        self._framed = framing.kind in (BodyKind.LENGTH, BodyKind.CHUNKED)
        self._keep_alive = (self._framed or framing.empty) and self._client.may_keep_alive(asked)
        if old_client and framing.kind is BodyKind.CHUNKED:
            self._decoder = ChunkDecoder()
            self._framed = self._keep_alive = False
        if not (self._framed or framing.empty):
            self._client.end_by_close()
        self._head_sent = True
        self._status = head.status
        self._unsent = forward_response(
            head,
            self._policy,
            framing=framing,
            keep_alive=self._keep_alive,
            old_client=old_client,
            extra=self._extra(),
        )
        if self._tunnel:
            self.passed()
            self._client.become_tunnel()
            self._tell_answered()

    def _write_body(self, data: bytes) -> None:
        if self._decoder is not None:
            data = self._decoder.feed(data)
        self._bytes_out += len(data)
        unsent, self._unsent = self._unsent, b""
        self._client.write(unsent + data if unsent else data)

    def _send_held(self) -> None:
        assert self._upstream is not None
        held, self._held = self._held, []
        self._held_bytes = 0
        for data in held:
            self._upstream.write(data)
        self._client.resume_body("held")

    def _half_closed(self) -> None:
        self._eofs += 1
        if self._eofs == 2:
            self._finish(None)
        else:
            self._watch_idle()

    def _finish(self, error: ProuterError | None, *, untouched: bool = False, abort: bool = False) -> None:
        self.passed()
        if abort and self._upstream is not None:
            self._upstream.abort()
        if self._over is None:
            self._broken = self._broken or error
        elif not self._over.done():
            self._over.set_result((error, untouched))

    def _watch_idle(self) -> None:
        """Look again when the exchange would be idle for too long, if nothing moved from now on."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        limit = self._limits.half_close_seconds if self._eofs else self._limits.relay_idle_seconds
        idle_at = max(self._moved_at, self._begun_at) + limit
        if self._loop.time() < idle_at:
            self._idle_timer = self._loop.call_at(idle_at, self._watch_idle)
        elif self._eofs:
            self._finish(None)
        else:
            self._finish(TimedOut(f"nothing was sent either way for {limit:g} s"), abort=True)


def _switching(headers: Headers) -> bytes:
    lines = ["HTTP/1.1 101 Switching Protocols", *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
