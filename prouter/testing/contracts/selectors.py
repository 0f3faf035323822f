"""What prouter expects of a selector."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import jsonschema

from prouter.errors import AgentNotFound, NoAgent, SchemaMismatch
from prouter.model.plugin import Candidate, Selector
from prouter.pluginkit.checking import check
from prouter.testing.contracts import samples
from prouter.testing.contracts.watching import CANCEL_SECONDS, Outcome, answer_of, broken, survives_cancellation

CANCELLED = 20
"""Calls are cancelled before the same question is asked again."""
AT_ONCE = 10


async def assert_selector(
    selector: Selector,
    *,
    locators: Sequence[Mapping[str, Any]] = (),
    wrong: Sequence[Mapping[str, Any]] = (),
    candidates: Sequence[Candidate] | None = None,
    dials: bool = False,
) -> None:
    """Raises ContractBroken.

    `locators` must find one of `candidates` (default: a dozen of many kinds); without any, `{"type": NAME}` must.
    `wrong` ones are refused by the schema. `dials`: it may choose an agent that it had connected, which then needs no
    candidate.
    """
    who = f"selector {_name(selector)!r}"
    taken = list(locators) or [{"type": selector.name}]
    await _schema(who, selector, taken, wrong)
    agents = samples.candidates(12) if candidates is None else list(candidates)
    for locator in taken:
        for some in (agents, list(reversed(agents)), *([agent] for agent in agents[:3]), []):
            await _chooses(who, selector, locator, some, must=len(some) == len(agents), dials=dials)
        await _keeps_nothing(who, selector, locator, agents, dials=dials)


def _name(selector: Selector) -> str:
    name = getattr(selector, "name", None)
    if not isinstance(name, str) or not name:
        broken(f"selector {type(selector).__name__}", f"its name is {name!r}; it is the `type` of its locators, a text")
    return name


async def _schema(
    who: str, selector: Selector, taken: Sequence[Mapping[str, Any]], wrong: Sequence[Mapping[str, Any]]
) -> None:
    try:
        jsonschema.Draft202012Validator.check_schema(selector.schema)
    except (jsonschema.SchemaError, TypeError, AttributeError) as error:
        message = getattr(error, "message", str(error))
        broken(who, f"its schema is no JSON schema (2020-12): {message}")
    for locator in taken:
        if locator.get("type") != selector.name:
            broken(who, f"its locators have the type {selector.name!r}, this one has not: {dict(locator)}")
        try:
            await check(locator, selector.schema)
        except SchemaMismatch as error:
            broken(who, f"its schema refuses the locator {dict(locator)}: {error.detail}")
    unknown = {**taken[0], "a member that nobody knows": 1}
    for locator in (unknown, *wrong):
        try:
            await check(locator, selector.schema)
        except SchemaMismatch:
            continue
        advice = '; "additionalProperties": False tells a client of its typing mistakes' if locator is unknown else ""
        broken(who, f"its schema takes the wrong locator {dict(locator)}{advice}")


async def _chooses(
    who: str, selector: Selector, locator: Mapping[str, Any], agents: list[Candidate], *, must: bool, dials: bool
) -> None:
    outcome = await _choose(who, selector, locator, agents, dials=dials)
    uids = {agent.uid for agent in agents}
    if outcome.error is not None:
        if not isinstance(outcome.error, NoAgent | AgentNotFound):
            kind = type(outcome.error).__name__
            why = f"it raised {kind}: {outcome.error}; NoAgent and AgentNotFound say that there is none"
            broken(who, f"asked for {dict(locator)} among {len(agents)} agents, {why}")
        if must:
            broken(
                who,
                f"asked for {dict(locator)}, it found none of {len(agents)}: {outcome.error}; name a locator that fits",
            )
    elif not isinstance(outcome.value, str):
        broken(who, f"it chose {outcome.value!r}, which is no uid; raise NoAgent where there is none")
    elif outcome.value not in uids and not dials:
        broken(who, f"it chose {outcome.value!r}, which is none of the {len(agents)} candidates")


async def _keeps_nothing(
    who: str, selector: Selector, locator: Mapping[str, Any], agents: list[Candidate], *, dials: bool
) -> None:
    """What was cancelled counts for nothing, and those that ask at once do not mix."""
    await survives_cancellation(who, lambda: selector.choose(locator, tuple(agents)), leaves_tasks=dials)
    for _ in range(CANCELLED):
        asking = asyncio.ensure_future(selector.choose(locator, tuple(agents)))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait((asking,), timeout=CANCEL_SECONDS)
    try:
        await _chooses(who, selector, locator, agents, must=True, dials=dials)
    except AssertionError as error:
        broken(who, f"after {CANCELLED} calls that were cancelled: {error}; undo what a cancelled call took")
    asked = [_choose(who, selector, locator, agents, dials=True) for _ in range(AT_ONCE)]
    uids = {agent.uid for agent in agents}
    for outcome in await asyncio.gather(*asked):
        if outcome.error is None and outcome.value not in uids and not dials:
            broken(who, f"asked {AT_ONCE} times at once, it chose {outcome.value!r}, which is none of the candidates")


async def _choose(
    who: str, selector: Selector, locator: Mapping[str, Any], agents: list[Candidate], *, dials: bool
) -> Outcome:
    return await answer_of(who, lambda: selector.choose(locator, tuple(agents)), leaves_tasks=dials)
