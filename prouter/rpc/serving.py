"""Running the calls of the peer: a task for each, its stream's inbox, its result or error.

Belongs here: the boundary at which any exception of a method ends. Does not: which methods there are (methods.py).
Made and fed by connection.py.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from prouter.errors import Internal, MethodNotFound, ProuterError, RemoteError
from prouter.model import unexpected
from prouter.rpc.calls import CallContext, error_info
from prouter.rpc.events import CallCancelled, CallerClosed, CallerSent, CallStarted, IncomingEvent
from prouter.rpc.limits import Limits
from prouter.rpc.machine import Machine
from prouter.rpc.messages import Status
from prouter.rpc.methods import Method, Methods
from prouter.rpc.streams import Budget, Inbox, Outbox

if TYPE_CHECKING:
    from prouter.rpc.connection import Link

logger = logging.getLogger(__name__)


class Serving:
    """The peer's calls. `_contexts` has those that may still be answered, `_running` all whose task has not ended."""

    def __init__(
        self, link: Link, machine: Machine, methods: Methods, limits: Limits, outbox: Outbox, budget: Budget
    ) -> None:
        self.tasks: asyncio.TaskGroup | None = None
        """Owns the tasks; set by `Link.run`."""
        self._link = link
        self._machine = machine
        self._methods = methods
        self._limits = limits
        self._outbox = outbox
        self._budget = budget
        self._contexts: dict[int, CallContext] = {}
        self._running: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """Calls that run."""
        return len(self._running)

    def take(self, event: IncomingEvent) -> None:
        """Act upon what the machine says of a call of the peer. Never waits."""
        if isinstance(event, CallStarted):
            self._start(event)
            return
        context = self._contexts.get(event.call_id)
        if context is None:
            return
        match event:
            case CallCancelled():
                self._stop(context)
            case CallerSent():
                if not context.inbox.put(event.data, event.cost_bytes):
                    full = RemoteError("the stream was not read fast enough", cause="StreamOverflow")
                    self._refuse(event.call_id, context.method, Status.SERVER_ERROR, full)
                    self._stop(context)
            case CallerClosed():
                context.inbox.end()

    def cancel_all(self) -> None:
        """The link ended."""
        for context in list(self._contexts.values()):
            self._stop(context)

    def _start(self, event: CallStarted) -> None:
        method = self._methods.get(event.method, event.call_type)
        if method is None:
            missing = MethodNotFound(f"there is no method {event.method[:200]!r}")
            self._refuse(event.call_id, event.method, Status.NO_METHOD, missing)
            return
        if len(self._running) >= self._limits.incoming_calls or not self._budget.take(event.cost_bytes):
            self._refuse(event.call_id, event.method, Status.SERVER_ERROR, RemoteError("too many calls are under way"))
            return
        assert self.tasks is not None
        inbox = Inbox(self._limits, self._budget)
        context = CallContext(self._link, event.call_id, method.name, self._machine, self._outbox, inbox)
        task = self.tasks.create_task(self._serve(event, method, context), name=f"link: {method.name}")
        context.task = task
        self._contexts[event.call_id] = context
        self._running.add(task)
        task.add_done_callback(lambda done: self._ended(done, event, context))

    def _stop(self, context: CallContext) -> None:
        context.over = True
        del self._contexts[context.call_id]
        assert context.task is not None
        context.task.cancel()

    async def _serve(self, event: CallStarted, method: Method, context: CallContext) -> None:
        try:
            method.check_arguments(event.args, event.kwargs)
            result = await method.function(context, *event.args, **event.kwargs)
            await self._outbox.room()
            if not context.over:
                message = self._machine.finish_call(context.call_id, result)
                if message is not None:
                    self._outbox.put(message)
        except ProuterError as error:
            self._fail(context, error)
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # a plugin's method may want to leave; we stay
            logger.exception("method %r, called over a link, failed", method.name)
            unexpected.tell(error, f"method {method.name}")
            self._fail(context, Internal())

    def _fail(self, context: CallContext, error: ProuterError) -> None:
        if not context.over:
            self._refuse(context.call_id, context.method, Status.METHOD_RAISED, error)

    def _ended(self, task: asyncio.Task[None], event: CallStarted, context: CallContext) -> None:
        self._running.discard(task)
        self._budget.give(event.cost_bytes)
        context.inbox.discard()
        if not context.over and self._contexts.get(context.call_id) is context:  # a peer may use an id again at once
            del self._contexts[context.call_id]
            context.over = True
            if context.call_id in self._machine.incoming:
                # The method was cancelled from inside: without this its caller would wait for ever.
                abandoned = Internal("the method was abandoned")
                self._refuse(context.call_id, context.method, Status.METHOD_RAISED, abandoned)

    def _refuse(self, call_id: int, method: str, status: Status, error: ProuterError) -> None:
        message = self._machine.fail_call(call_id, status, error_info(call_id, method, error))
        if message is not None and not self._outbox.put_reply(message):
            self._link.break_off("the peer asks but does not read the answers")
