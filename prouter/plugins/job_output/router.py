"""The router's half: the request goes to the agent's own service; one that follows has no idle limit there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from prouter import hookimpl
from prouter.model.frames import FOLLOWED_HEADER, FRAMES_HEADER, UNDERSTOOD
from prouter.model.http import ForwardPlan
from prouter.model.plugin import Call, Relay, Route, relay_to_agent
from prouter.model.query import SWITCH, switch

QUERY: Mapping[str, Mapping[str, Any]] = {
    "stream": {"enum": ["stdout", "stderr"], "description": "One stream; both in order without it."},
    "follow": SWITCH
    | {"description": "1: go on until the job has ended; a job that was not started yet is waited for."},
    "offset": {"type": "integer", "minimum": 0, "description": "Begin at this byte of what is asked for."},
    "tail": {"type": "integer", "minimum": 0, "description": "Begin with the last so many lines."},
}
OURS = {FRAMES_HEADER.lower(), FOLLOWED_HEADER.lower()}
"""Between router and agent; what a client says in them counts nothing."""


class JobOutput:
    """Plugin `job_output` of the router."""

    @hookimpl
    def prouter_routes(self) -> Sequence[Route]:
        return [
            Route(
                ("GET", "HEAD"),
                "/jobs/{job}/output",
                "output.read",
                "What a job wrote to its standard streams.",
                relay=self._relay,
                query=QUERY,
                media_type="application/octet-stream",
            )
        ]

    async def _relay(self, call: Call) -> Relay:
        relay = relay_to_agent(call, "output", follows=switch(call.query, "follow"))
        if not relay.follows or call.head.method != "GET":
            return replace(relay, plan=replace(relay.plan, drop=relay.plan.drop | OURS))
        path = relay.plan.target.partition("?")[0]
        stream = f"&stream={call.query['stream']}" if "stream" in call.query else ""
        plan = replace(
            relay.plan,
            drop=relay.plan.drop | OURS,
            set_headers=(*relay.plan.set_headers, (FRAMES_HEADER, UNDERSTOOD)),
        )

        def resume(place: int) -> ForwardPlan:
            target = f"{path}?follow=1&offset={place}{stream}"
            return replace(plan, target=target, drop=plan.drop | {"last-event-id"})

        return replace(relay, plan=plan, resume=resume)
