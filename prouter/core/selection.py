"""From a request for a job to an agent: spec chain, admission, filters, selector. Plugins decide, this asks them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

import jsonschema

from prouter.core.agents.directory import AgentDirectory
from prouter.errors import Forbidden, InvalidRequest, NoAgent, PluginFailure, ProuterError, SchemaMismatch
from prouter.model.access import Principal, Refusal
from prouter.model.ids import AgentUid
from prouter.model.jobs import CreateRequest
from prouter.model.plugin import Candidate, Selector
from prouter.pluginkit.calling import Hooks
from prouter.pluginkit.schema import mistake_text

log = logging.getLogger(__name__)


CHOOSE_SECONDS = 60.0
"""For a selector, which may have to dial an agent or wait for somebody to say."""


class Selection:
    """Chooses the agent for a new job."""

    def __init__(self, hooks: Hooks, directory: AgentDirectory) -> None:
        self._hooks = hooks
        self._directory = directory
        self._selectors: dict[str, tuple[str, Selector]] = {}

    def collect(self) -> None:
        """Once, after start-up. Two plugins that claim one locator type are an error naming both."""
        for plugin, selectors in self._hooks.collect("prouter_selectors"):
            for selector in selectors:
                taken = self._selectors.get(selector.name)
                if taken is not None:
                    raise PluginFailure(
                        plugin, "prouter_selectors", f"selector {selector.name!r} is {taken[0]!r}'s already"
                    )
                self._selectors[selector.name] = (plugin, selector)

    async def spec(self, request: CreateRequest, principal: Principal) -> CreateRequest:
        """The request as the plugins want it, admitted. Raises Forbidden with the reason of the plugin that refused."""
        if self._hooks.implemented("prouter_job_spec"):
            request = await self._hooks.chain("prouter_job_spec", request=request, principal=principal)
        if self._hooks.implemented("prouter_admit_job"):
            refused = await self._hooks.veto("prouter_admit_job", request=request, principal=principal)
            if refused is not None:
                raise Forbidden(f"the job is not admitted: {refused[1].reason}")
        return request

    async def choose(self, request: CreateRequest, principal: Principal) -> AgentUid:
        """Raises InvalidRequest (no such selector), SchemaMismatch, AgentNotFound, NoAgent."""
        kind = request.locator.get("type")
        found = self._selectors.get(kind) if isinstance(kind, str) else None
        if found is None:
            raise InvalidRequest(
                f"Invalid request: no plugin that is loaded selects agents by type {kind!r}; "
                f"there are: {', '.join(sorted(self._selectors)) or 'none'}"
            )
        plugin, selector = found
        _validate(selector.schema, request.locator)
        candidates, refused = await self._filter(request, principal)
        try:
            async with asyncio.timeout(CHOOSE_SECONDS):
                return await selector.choose(request.locator, candidates)
        except NoAgent as error:
            raise _with_filtered(error, refused) from error
        except ProuterError:
            raise
        except (Exception, SystemExit) as error:
            log.error("plugin %s failed to choose", plugin, exc_info=error)
            raise PluginFailure(plugin, "choose", type(error).__name__) from error

    async def _filter(
        self, request: CreateRequest, principal: Principal
    ) -> tuple[Sequence[Candidate], Mapping[str, str]]:
        infos = [entry.info() for entry in self._directory if entry.link is not None]
        candidates = [
            Candidate(info.uid, info.name, info.properties, info.jobs, info.waiting, info.capacity) for info in infos
        ]
        if not self._hooks.implemented("prouter_filter_agent"):
            return candidates, {}
        kept: list[Candidate] = []
        refused: dict[str, str] = {}
        for candidate in candidates:
            answer: tuple[str, Refusal] | None = await self._hooks.veto(
                "prouter_filter_agent", candidate=candidate, request=request, principal=principal
            )
            if answer is None:
                kept.append(candidate)
            else:
                refused[candidate.uid] = answer[1].reason
        return kept, refused


def _validate(schema: Mapping[str, object], locator: Mapping[str, object]) -> None:
    validator = jsonschema.Draft202012Validator(schema)
    mistakes = [
        ("/agent" + "".join(f"/{part}" for part in error.absolute_path), mistake_text(error))
        for error in validator.iter_errors(locator)
    ]
    if mistakes:
        raise SchemaMismatch(mistakes)


def _with_filtered(error: NoAgent, refused: Mapping[str, str]) -> NoAgent:
    """The selector saw only what the filters left; the refusal names those as well."""
    if not refused:
        return error
    considered = {str(agent["agent"]): agent for agent in error.extra.get("considered", ())}
    considered |= {uid: {"agent": uid, "reason": reason} for uid, reason in refused.items()}
    listed = "; ".join(f"{uid}: {reason}" for uid, reason in refused.items())
    return NoAgent(f"{error.detail}; not taken: {listed}", extra={"considered": list(considered.values())})
