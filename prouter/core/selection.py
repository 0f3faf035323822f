"""From a request for a job to an agent: spec chain, admission, filters, scores, selector. Plugins decide, this asks.

Does not belong here: starting an agent where none fits (provisioning.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from prouter.core.agents.directory import AgentDirectory
from prouter.core.scoring import score
from prouter.errors import Forbidden, InvalidRequest, NoAgent, PluginFailure, ProuterError
from prouter.model import unexpected
from prouter.model.access import Principal, Refusal
from prouter.model.agents import AgentInfo
from prouter.model.ids import AgentUid
from prouter.model.jobs import CreateRequest
from prouter.model.plugin import Candidate, Selector
from prouter.model.resources import shortage
from prouter.model.selection import KEPT, no_agent, reasons
from prouter.model.trail import choosing, current, is_dry_run
from prouter.pluginkit.calling import Hooks
from prouter.pluginkit.checking import check

log = logging.getLogger(__name__)


CHOOSE_SECONDS = 60.0
"""For a selector, which may have to dial an agent or wait for somebody to say."""
View = Callable[[AgentInfo], AgentInfo]
"""How an agent looks to a job: with what is kept for others."""


class Selection:
    """Chooses the agent for a new job."""

    def __init__(self, hooks: Hooks, directory: AgentDirectory) -> None:
        self._hooks = hooks
        self._directory = directory
        self._selectors: dict[str, tuple[str, Selector]] = {}

    @property
    def filters(self) -> bool:
        """Whether plugins look at a job and who wants it when they say which agents it may have."""
        return self._hooks.implemented("prouter_filter_agent")

    def collect(self) -> None:
        """Once, after start-up, when each locator type has one owner."""
        for plugin, selectors in self._hooks.collect("prouter_selectors"):
            for selector in selectors:
                self._selectors[selector.name] = (plugin, selector)

    def by_plugin(self) -> Mapping[str, Sequence[Selector]]:
        """The selectors that plugins brought."""
        found: dict[str, list[Selector]] = {}
        for plugin, selector in self._selectors.values():
            found.setdefault(plugin, []).append(selector)
        return found

    async def spec(self, request: CreateRequest, principal: Principal) -> CreateRequest:
        """The request as the plugins want it, admitted. Raises Forbidden with the reason of the plugin that refused."""
        if self._hooks.implemented("prouter_job_spec"):
            request = await self._hooks.chain("prouter_job_spec", request=request, principal=principal)
        if self._hooks.implemented("prouter_admit_job"):
            with self.telling(request, principal):
                refused = await self._hooks.veto("prouter_admit_job", request=request, principal=principal)
                if refused is not None:
                    raise Forbidden(f"the job is not admitted: {refused[1].reason}")
        return request

    @contextmanager
    def telling(self, request: CreateRequest, principal: Principal) -> Iterator[None]:
        """What fails in it comes to no job, which plugins hear of."""
        try:
            yield
        except BaseException as error:
            if not is_dry_run():
                why = error.detail if isinstance(error, ProuterError) else "the request was given up"
                self.tell_not_made(request, principal, why)
            raise

    def tell_not_made(self, request: CreateRequest, principal: Principal, why: str) -> None:
        """To the plugins that want to know: it was admitted, and there is no job."""
        if self._hooks.implemented("prouter_job_not_made"):
            told = {"request": request, "principal": principal, "why": why}
            self._hooks.notify("prouter_job_not_made", subject=request.uid or "a new job", **told)

    async def choose(
        self,
        request: CreateRequest,
        principal: Principal,
        turned_down: Mapping[AgentUid, str] | None = None,
        view: View = lambda agent: agent,
    ) -> AgentUid:
        """`turned_down` are agents that refused this job themselves, and why; `view` is how agents look to it.

        Raises InvalidRequest (no such selector), SchemaMismatch, AgentNotFound, NoAgent.
        """
        kind = request.locator.get("type")
        found = self._selectors.get(kind) if isinstance(kind, str) else None
        if found is None:
            raise InvalidRequest(
                f"Invalid request: no plugin that is loaded selects agents by type {kind!r}; "
                f"there are: {', '.join(sorted(self._selectors)) or 'none'}"
            )
        plugin, selector = found
        await check(request.locator, selector.schema, below="/agent")
        candidates, refused = await self._filter(request, principal, turned_down or {}, view)
        candidates = await score(self._hooks, candidates, request, principal)
        try:
            with choosing(str(kind), plugin):
                async with asyncio.timeout(CHOOSE_SECONDS):
                    choosing_it = selector.choose(request.locator, candidates)
                    chosen = await self._hooks.watch(plugin).over(choosing_it, f"its selector {kind}")
            if not isinstance(chosen, str):
                raise PluginFailure(plugin, "choose", f"it chose {type(chosen).__name__} instead of an agent's uid")
        except NoAgent as error:
            raise _with_filtered(error, refused) from error
        except ProuterError:
            raise
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            log.error("plugin %s failed to choose", plugin, exc_info=error)
            unexpected.tell(error, f"selector {kind} of plugin {plugin}")
            raise PluginFailure(plugin, "choose", type(error).__name__) from error
        if all(candidate.uid != chosen for candidate in candidates):  # one that was dialed, past the filters
            info = self._directory.entry(chosen).info()
            seen = view(info)
            why_not = refused.get(chosen) or await self._why_not(info, seen, _candidate(seen), request, principal)
            if why_not is not None:
                raise no_agent({chosen: why_not})
        return chosen

    async def _filter(
        self, request: CreateRequest, principal: Principal, turned_down: Mapping[AgentUid, str], view: View
    ) -> tuple[Sequence[Candidate], Mapping[AgentUid, str]]:
        kept: list[Candidate] = []
        refused: dict[AgentUid, str] = {}
        for info in [entry.info() for entry in self._directory if entry.link is not None]:
            seen = view(info)
            candidate = _candidate(seen)
            why_not = turned_down.get(info.uid) or await self._why_not(info, seen, candidate, request, principal)
            if why_not is None:
                kept.append(candidate)
            else:
                refused[info.uid] = why_not
        trail = current.get()
        if trail is not None:
            trail.filtered({candidate.uid: candidate.name for candidate in kept}, refused)
        return kept, refused

    async def _why_not(
        self, info: AgentInfo, seen: AgentInfo, candidate: Candidate, request: CreateRequest, principal: Principal
    ) -> str | None:
        """Why this agent may not have the job, as a sentence's end: by what is known of it, then by the plugins."""
        if info.draining:
            return "it is draining"
        short = shortage(request.resources, seen.capacity, seen.used)
        if short is not None and seen is not info:
            short = shortage(request.resources, info.capacity, info.used)
            short = short or KEPT
        if short is not None or not self._hooks.implemented("prouter_filter_agent"):
            return short
        answer: tuple[str, Refusal] | None = await self._hooks.veto(
            "prouter_filter_agent", candidate=candidate, request=request, principal=principal
        )
        return answer[1].reason if answer is not None else None


def _candidate(info: AgentInfo) -> Candidate:
    return Candidate(info.uid, info.name, info.properties, info.jobs, info.waiting, info.capacity, info.used)


def _with_filtered(error: NoAgent, refused: Mapping[AgentUid, str]) -> NoAgent:
    """The selector saw only what the filters left; the refusal names those as well, with the filters' reasons.

    Where the selector names some of them itself, it means those and no others.
    """
    if not refused:
        return error
    considered = reasons(error)
    meant = {uid: reason for uid, reason in refused.items() if uid in considered} or refused
    return no_agent({**considered, **meant})
