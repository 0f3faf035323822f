"""What a request looks like that goes to a job, and its answer: what hooks make of them, and the plan.

Belongs here: asking those who want to see each proxied request. Does not: who makes it and which job it is for
(dispatch.py), what of that holds for the next ones (alike.py).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

from prouter.core.openers import Opener
from prouter.core.told import Told, another
from prouter.errors import RouteNotFound
from prouter.http1.policy import end_to_end, reframed, without_credentials
from prouter.model.access import Principal
from prouter.model.http import ForwardPlan, Reply, RequestHead, ResponseHead
from prouter.model.plugin import JobTarget
from prouter.pluginkit import context
from prouter.pluginkit.calling import Hooks
from prouter.web.outcomes import Anew, AnswerChange, Forward, Incoming, Lasting

SEES, CHANGES = "prouter_proxy_request", "prouter_proxy_response"
"""The hooks that see each request, and each answer."""
Decided = Callable[[ForwardPlan, Anew | None], Lasting | None]
"""What of it holds for the next ones, with the plan and with what is asked about each of them."""


class Planning:
    """Of one router."""

    def __init__(self, hooks: Hooks, told: Told, missing: Callable[[], str]) -> None:
        """`missing` says which plugins are not there, as the end of a sentence."""
        self._hooks = hooks
        self._told = told
        self._missing = missing

    async def planned(
        self, incoming: Incoming, target: JobTarget, opener: Opener, decided: Decided | None
    ) -> Forward | Reply:
        """How it goes there, or what is answered in the job's place."""
        head = await self._seen(incoming.head, target)
        if isinstance(head, Reply):
            return head
        plan = await self._plan(head, target)
        if isinstance(plan, Reply):
            return plan
        forward = partial(self._forward, incoming, target, head, plan, opener)
        if decided is None or not plan.lasting:
            return forward(None)
        sees = self._hooks.implemented(SEES) or self._hooks.implemented(CHANGES)
        anew = partial(self._anew, target, opener, head is incoming.head) if sees else None
        return forward(partial(decided, plan, anew))

    async def _anew(
        self, first: JobTarget, opener: Opener, as_it_came: bool, incoming: Incoming, rest: str
    ) -> Forward | Reply | AnswerChange | None:
        """About one like the first, which went on `as_it_came` where no hook had changed it."""
        target = another(first, rest, incoming.peer, incoming.request_id)
        context.stay_about(target.ref.job, target.ref.agent)
        head = await self._seen(incoming.head, target)
        if isinstance(head, Reply):
            return head
        if as_it_came and head is incoming.head:
            return self._change(target)
        plan = await self._plan(head, target)
        return plan if isinstance(plan, Reply) else self._forward(incoming, target, head, plan, opener, None)

    async def _seen(self, head: RequestHead, target: JobTarget) -> RequestHead | Reply:
        """What the hooks make of it; the same where they leave it as it is."""
        if not self._hooks.implemented(SEES):
            return head
        asked = end_to_end(head)
        changed = await self._hooks.chain(SEES, head=asked, target=target)
        if isinstance(changed, Reply) or changed is asked:
            return changed
        assert isinstance(changed, RequestHead)
        return reframed(changed, asked)

    async def _plan(self, head: RequestHead, target: JobTarget) -> ForwardPlan | Reply:
        answer = await self._hooks.first("prouter_plan", head=head, target=target)
        if answer is None:
            raise RouteNotFound(f"no plugin that is loaded proxies requests to jobs{self._missing()}")
        plan: ForwardPlan | Reply = answer[1]
        return plan

    def _forward(
        self,
        incoming: Incoming,
        target: JobTarget,
        head: RequestHead,
        plan: ForwardPlan,
        opener: Opener,
        lasting: Callable[[], Lasting | None] | None,
    ) -> Forward:
        self._told.of_proxied(incoming, target)
        return Forward(
            opener,
            without_cookies(plan, target.principal),
            without_credentials(head, incoming.head, target.principal.used_headers),
            self._change(target),
            lasting=lasting,
        )

    def _change(self, target: JobTarget) -> AnswerChange | None:
        if not self._hooks.implemented(CHANGES):
            return None

        async def change(answer: ResponseHead) -> ResponseHead:
            changed = await self._hooks.chain(CHANGES, answer=answer, target=target)
            assert isinstance(changed, ResponseHead)
            return changed

        return change


def without_cookies(plan: ForwardPlan, principal: Principal) -> ForwardPlan:
    """Whoever planned it: the cookies that authenticated stay here."""
    if principal.used_cookies <= plan.drop_cookies:
        return plan
    return dataclasses.replace(plan, drop_cookies=plan.drop_cookies | principal.used_cookies)
