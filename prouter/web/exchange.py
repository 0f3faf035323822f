"""One request and its answer: asks the dispatcher, then relays, serves or tunnels, until the end or the cut.

Belongs here: the order of things in one exchange. Does not: the client's bytes (connection.py), the upstream's
(pipe/upstream.py, stand_in.py), what the client gets of an answer (answering.py).

What is decided before the bytes go is a coroutine that mostly waits for nothing, so that a request costs no task; from
then on everything happens in callbacks of the two sides.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

from prouter.errors import Internal, InvalidRequest, ProuterError, TimedOut, Unavailable
from prouter.http1.framing import wants_close
from prouter.http1.policy import forward_request
from prouter.http1.reply import write_reply
from prouter.model import unexpected
from prouter.model.http import ForwardPlan, Reply
from prouter.model.traffic import Traffic
from prouter.model.trail import current as trail
from prouter.pipe.steps import begin, in_a_task
from prouter.pipe.upstream import Upstream, UpstreamPipe
from prouter.pluginkit import context
from prouter.web.accounting import CLIENT_GONE, ENDING
from prouter.web.again import REPEATABLE, Again
from prouter.web.answering import Answering, switching
from prouter.web.client import Client
from prouter.web.limits import WebLimits
from prouter.web.outcomes import Dispatcher, Forward, Incoming, Serve, Tunnel
from prouter.web.problem import note, problem
from prouter.web.stand_in import LocalUpstream

log = logging.getLogger(__name__)

ONCE_MORE_SECONDS = 15.0
"""From a request's begin until it has a second connection, where the first was lost: who asks has waited already."""


class Exchange(Answering):
    """A Carrier for the upstream, and what the connection feeds with the request's body."""

    _carrying = False
    """The request is with an upstream: what comes of it ends the exchange."""
    _held: tuple[bytes, ...] = ()
    """The body's bytes that came before there was an upstream."""
    _held_bytes = 0
    _rest = b""
    _repeat: Callable[[bool], Awaitable[Upstream]] | None = None
    """How the request is sent once more, where it may be."""
    _request = b""
    _ending = False
    _broken: ProuterError | None = None
    """What was wrong with the body before there was an upstream."""
    _task: asyncio.Task[None] | None = None
    """What waits for something."""

    def __init__(
        self, client: Client, incoming: Incoming, dispatcher: Dispatcher, limits: WebLimits, traffic: Traffic
    ) -> None:
        super().__init__(incoming, traffic)
        self._client = client
        self._dispatcher = dispatcher
        self._limits = limits

    # --- the story ---

    def begin(self) -> None:
        """As far as it goes without waiting; on return it may be over."""
        self._context.run(_begin_anew, self._incoming.request_id)
        self._go(self._guarded(self._answer()))

    def _go(self, work: Coroutine[Any, Any, None]) -> None:
        rest = begin(work, self._context)
        if rest is not None:
            self._task = self._client.go_on(rest, self._context)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """Whatever happens in it, the client has an answer. Raises nothing but its own cancellation."""
        try:
            await work
        except (asyncio.CancelledError, GeneratorExit):
            lost = self._over
            self._lose()
            if self._task is not None and not lost:  # it was not the client that went: what decides ended its task
                self._client.cut()
            raise
        except ProuterError as error:
            self._problem(error)
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            log.exception("request %s failed", self._incoming.request_id)
            unexpected.tell(error, f"request {self._incoming.request_id}")
            self._problem(Internal())

    async def _answer(self) -> None:
        outcome = await self._dispatcher.dispatch(self._incoming)
        if type(outcome) is Forward:
            await self._forward(outcome)
        elif type(outcome) is Reply:
            self._reply(outcome)
        elif type(outcome) is Serve:
            self._served, self._follows = True, outcome.follows
            head = self._incoming.head
            plan = ForwardPlan(head.target, head.get("host") or "", set_headers=(("X-Request-Id", self._id()),))
            self._carry(LocalUpstream(outcome, self._incoming), forward_request(head, plan))
        else:
            assert isinstance(outcome, Tunnel)
            self._client.write(switching(outcome.headers))
            transport, leftover = self._client.give_away()
            outcome.accept(transport, leftover)
            self._account()

    async def _forward(self, outcome: Forward) -> None:
        head = self._incoming.head
        self._policy = outcome.plan.answer
        self._change = outcome.change_answer
        self._follows = outcome.follows
        request = forward_request(outcome.head or head, outcome.plan)
        if head.method in REPEATABLE and self._client.body_complete and not self._held:
            self._repeat, self._request = outcome.open, request
        lasting = outcome.lasting() if outcome.lasting is not None and not head.upgrade else None
        if lasting is not None:
            self._client.learn(head, request, self._id(), lasting, outcome)
        self._carry(await outcome.open(False), request)

    def begin_again(self, again: Again, rest: bytes) -> None:
        """For a request like the one before: all is decided."""
        self._again, self._rest = again, rest
        if log.isEnabledFor(logging.DEBUG):
            self._name_itself()
        self._policy = again.policy
        self._request = again.request(rest, self._incoming.request_id.encode("ascii"))
        self._repeat = again.fresh if again.repeatable else None
        self._context.run(_begin_anew, self._incoming.request_id)
        pipe, asked = None, again.lasting.judge is not None or again.lasting.anew is not None
        if not asked:
            self._will_tell(again)
            pipe = again.lasting.take()
        if pipe is not None:
            self._carry(pipe, self._request)
        else:
            self._go(self._guarded(self._asked(again) if asked else self._opened(again)))

    def take_over(self, again: Again, rest: bytes, request: bytes, pipe: UpstreamPipe, begun_at: float) -> None:
        """For such a request that was sent without an exchange (connection.py), and needs one now."""
        self._context.run(_begin_anew, self._id())
        self._again, self._rest = again, rest
        self._policy, self._bytes_in = again.policy, again.length
        if again.repeatable:
            self._repeat, self._request = again.fresh, request
        self._begun_at = self._moved_at = begun_at
        self._upstream, self._carrying = pipe, True
        self._will_tell(again)
        pipe.carry(self, self._incoming.head.method)

    def _name_itself(self) -> None:
        """Who reads of this request wants to know it by its own target, which nobody needed until now."""
        if self._again is not None:
            self._incoming.head = self._again.head_of(self._rest)

    def _will_tell(self, again: Again) -> None:
        incoming, tell = self._incoming, again.lasting.tell
        if tell is not None:
            rest = self._rest.decode("ascii")
            incoming.on_end = partial(tell, incoming.peer, incoming.head.method, incoming.request_id, rest)

    async def _opened(self, again: Again) -> None:
        self._carry(await again.fresh(False), self._request)

    async def _asked(self, again: Again) -> None:
        """All but whether it may, and what plugins make of it that want to see each, was decided before."""
        lasting = again.lasting
        if lasting.judge is not None:
            await lasting.judge()
        outcome = None
        if lasting.anew is not None:
            self._name_itself()
            outcome = await lasting.anew(self._incoming, self._rest.decode("ascii"))
        if isinstance(outcome, Reply):
            self._reply(outcome)
        elif isinstance(outcome, Forward):
            self._repeat = None
            await self._forward(outcome)
        else:
            self._change = outcome
            self._will_tell(again)
            self._carry(lasting.take() or await again.fresh(False), self._request)

    async def _once_more(self, fresh: Callable[[bool], Awaitable[Upstream]]) -> None:
        """The kept connection had just been closed, and nothing had come of it."""
        await in_a_task()
        try:
            async with asyncio.timeout(ONCE_MORE_SECONDS - (self._loop.time() - self._begun_at)):
                upstream = await fresh(True)
        except TimeoutError:
            raise TimedOut("the way to the job was lost, and there was no other one in time") from None
        self._carry(upstream, self._request)

    def _carry(self, upstream: Upstream, request: bytes) -> None:
        """Send the request; what comes back, and how it ends, is told by callbacks."""
        if self._broken is not None:
            upstream.abort()
            raise self._broken
        self._upstream, self._carrying = upstream, True
        head = self._incoming.head
        plain = self._change is None and head.version == "1.1" and not self._policy.set_headers
        upstream.begin(self, request, head.method, plain=plain)
        if self._held:
            self._send_held()

    def _conclude(self, error: ProuterError | None, untouched: bool) -> None:
        """The upstream has nothing more to say."""
        if not self._carrying:
            return
        if self._changing:
            self._ended = (error, untouched)
            return
        self._carrying = False
        upstream, self._upstream = self._upstream, None
        if error is None:
            assert upstream is not None
            self._end(upstream)
        elif untouched and self._repeat is not None:
            again, self._repeat = self._repeat, None
            self._client.resume_body("upstream")  # the one that was to be waited for is gone
            self._go(self._guarded(self._once_more(again)))
            return
        elif self._head_sent:
            self._within(self._cut, error)
        else:
            self._within(self._problem, error)
        self._account()

    def client_gone(self) -> None:
        """Nobody is there any more to whom an answer could go."""
        task, self._task = self._task, None
        if task is not None and not task.done():
            task.cancel()  # which ends in `_lose`
        else:
            self._lose()

    def _lose(self) -> None:
        if self._over:
            return
        self._cut_by = f"{CLIENT_GONE} while the router was ending" if self._ending else CLIENT_GONE
        self._carrying = False
        if self._upstream is not None:
            self._upstream.abort()
        self._account()

    def _end(self, upstream: Upstream) -> None:
        client = self._client
        upstream.release(in_step=client.body_complete and not client.sent_trailers and not self._tunnel)
        keep = self._keep_alive and self._client.body_complete
        self._client.exchange_over(keep_alive=keep, cut=False)

    def _cut(self, error: ProuterError) -> None:
        self._cut_by = error.detail
        log.info("the answer to request %s was cut: %s", self._id(), error.detail)
        if not self._framed:
            self._client.cut()
        self._client.exchange_over(keep_alive=False, cut=True)

    @property
    def last_of_client(self) -> bool:
        """It said that it sends no more requests on this connection."""
        return self._again.closes if self._again is not None else wants_close(self._incoming.head)

    def _become_tunnel(self) -> None:
        """The answer was a 101, and all that came with it is written: from here on nothing is looked at any more."""
        upstream, self._upstream, self._carrying = self._upstream, None, False
        assert upstream is not None
        self._within(self._tell_answered)
        self._client.become_tunnel(self, upstream, endless=self._served or self._follows, early=self._early)

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
        self._account()

    def _problem(self, error: ProuterError) -> None:
        self._name_itself()
        note(error, self._id(), self._incoming.head)
        self._cut_by = error.detail
        self._carrying = self._changing = False
        if self._upstream is not None:
            self._upstream.abort()
            self._upstream = None
        if self._head_sent:
            self._cut(error)
            self._account()
        else:
            self._reply(problem(error, self._id()))

    # --- the client's side tells ---

    def body(self, data: bytes) -> None:
        """Bytes of the request's body, or of the tunnel."""
        self._moved_at = self._loop.time()
        self._bytes_in += len(data)
        if self._upstream is not None:
            self._upstream.write(data)
            return
        self._held += (data,)
        self._held_bytes += len(data)
        if self._held_bytes > self._limits.held_bytes:
            self._client.pause_body("held")

    def body_broken(self, why: str) -> None:
        """The body is none: the upstream must not take what it has for whole."""
        self._finish(InvalidRequest(why), abort=True)

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
        """An answer that follows is cut; any other may go on to its end."""
        if self._follows:
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

    def finished(self) -> None:
        self._finish(None)

    def failed(self, error: ProuterError, *, untouched: bool) -> None:
        self._finish(error, untouched=untouched)

    def only_waits(self, seconds: float) -> bool:
        return self._client.body_complete and self._loop.time() - max(self._moved_at, self._begun_at) >= seconds

    def body_pause(self) -> None:
        if self._pace is not None:
            self._pace.hold()
        self._client.pause_body("upstream")

    def body_resume(self) -> None:
        if self._pace is not None:
            self._pace.go_on()
        self._client.resume_body("upstream")

    # --- its parts ---

    def _send_held(self) -> None:
        assert self._upstream is not None
        held, self._held = self._held, ()
        self._held_bytes = 0
        for data in held:
            self._upstream.write(data)
        self._client.resume_body("held")

    def _finish(self, error: ProuterError | None, *, untouched: bool = False, abort: bool = False) -> None:
        if self._unsent:
            self.passed()
        if abort and self._upstream is not None:
            self._upstream.abort()
        if self._carrying:
            self._conclude(error, untouched)
        else:
            self._broken = self._broken or error


def _begin_anew(request_id: str) -> None:
    """In a context that may be that of the connection's request before: who resumes reading gives his to the loop."""
    context.begin_about(request_id)
    trail.set(None)
