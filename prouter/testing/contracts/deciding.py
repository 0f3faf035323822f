"""What prouter expects of vetoes and scores: an answer of the right kind to every question."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from prouter import agent_hookspecs, hookspecs
from prouter.errors import ProuterError
from prouter.model.access import Refusal
from prouter.model.plugin import Kind, Score
from prouter.testing.contracts import samples
from prouter.testing.contracts.hooks import Answers, Hosted
from prouter.testing.contracts.watching import broken

Question = Mapping[str, Any]
"""A hook's arguments by name."""
NOTHING: Question = {}


def _vetoes_of(specs: ModuleType) -> tuple[str, ...]:
    return tuple(name for name, hook in vars(specs).items() if getattr(hook, "prouter_kind", None) is Kind.VETO)


VETOES = (*_vetoes_of(hookspecs), *_vetoes_of(agent_hookspecs))


async def assert_veto(
    plugin: Any,
    *,
    hook: str = "",
    allowed: Sequence[Question] = (),
    refused: Sequence[Question] = (),
    given: Question = NOTHING,
) -> None:
    """Raises ContractBroken. `hook` is the one that is meant, for a plugin with several; without it all are.

    To questions of the kit it may answer as it likes, to those in `allowed` and `refused` (arguments of the hook by
    name; what is missing is the kit's) as they say. `given` are arguments that all questions have: a job that is there.
    """
    hosted = Hosted(plugin)
    hooks = [hook] if hook else [name for name in VETOES if name in hosted.implemented()]
    if not hooks:
        broken(hosted.name, f"it implements no veto: {', '.join(VETOES)}")
    if (allowed or refused) and len(hooks) > 1:
        broken(hosted.name, f"say which hook is meant: hook={hooks[0]!r} or another of {', '.join(hooks)}")
    for name in hooks:
        await _vetoes(hosted, name, allowed, refused, given)


async def assert_score(plugin: Any, *, given: Question = NOTHING) -> None:
    """Raises ContractBroken unless all answers of prouter_score_agent are a Score of a finite number, or None."""
    hosted = Hosted(plugin)
    hook = "prouter_score_agent"
    hosted.need(hook)
    for question in samples.questions(getattr(hosted.specs, hook)):
        answer = await hosted.answer(hook, **{**question, **given})
        if not isinstance(answer, Score | None):
            broken(hosted.who(hook), f"it answered {answer!r}, which is no Score and not None")
        points: Any = answer.points if answer is not None else 0
        if not isinstance(points, int | float) or not math.isfinite(points):
            broken(hosted.who(hook), f"its points are {points!r}; they are added up: a finite number")
    await hosted.survives_cancellation(hook, **{**samples.arguments(getattr(hosted.specs, hook), 0), **given})


async def _vetoes(
    hosted: Hosted, hook: str, allowed: Sequence[Question], refused: Sequence[Question], given: Question
) -> None:
    hosted.need(hook)
    spec = getattr(hosted.specs, hook)
    usual = {**samples.arguments(spec, 0), **given}
    answers = Answers(hosted.who(hook))
    for question in samples.questions(spec):
        answers.note(await _answer(hosted, hook, {**question, **given}))
    answers.check()
    await hosted.survives_cancellation(hook, **usual)
    for asked, wanted in ((allowed, False), (refused, True)):
        for changes in asked:
            answer = await _answer(hosted, hook, {**usual, **changes})
            if (answer is not None) != wanted:
                said = f"it refused: {answer}" if answer is not None else "it had no objection"
                broken(hosted.who(hook), f"{said}, which is wrong for {dict(changes)}")


async def _answer(hosted: Hosted, hook: str, question: Question) -> Refusal | ProuterError | None:
    answer = await hosted.answer_or_error(hook, **question)
    if not isinstance(answer, Refusal | ProuterError | None):
        broken(hosted.who(hook), f"it answered {answer!r}; an objection is a Refusal with its reason, none is None")
    if isinstance(answer, Refusal) and not str(answer.reason or "").strip():
        broken(hosted.who(hook), "its refusal has no reason, and the reason is all that a client is told")
    return answer
