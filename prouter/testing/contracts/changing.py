"""What prouter expects of the hooks that change a job: its request, its environment, what is seen of its output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prouter.errors import InvalidRequest, ProuterError
from prouter.model import resources
from prouter.model.jobs import CreateRequest, check_labels
from prouter.testing.contracts import samples
from prouter.testing.contracts.deciding import NOTHING, Question
from prouter.testing.contracts.hooks import Answers, Hosted
from prouter.testing.contracts.watching import broken

CHAINED = {"prouter_job_spec": "request", "prouter_job_environment": "env", "prouter_job_output": "data"}


async def assert_job_hook(plugin: Any, *, given: Question = NOTHING) -> None:
    """Raises ContractBroken. All of these hooks that it implements are looked at; `given` as for a veto."""
    hosted = Hosted(plugin)
    hooks = [hook for hook in CHAINED if hook in hosted.implemented()]
    if not hooks:
        broken(hosted.name, f"it implements none of {', '.join(CHAINED)}")
    for hook in hooks:
        answers = Answers(hosted.who(hook))
        for question in samples.questions(getattr(hosted.specs, hook)):
            answer = await hosted.answer_or_error(hook, **{**question, **given})
            answers.note(answer)
            if answer is not None and not isinstance(answer, ProuterError):
                _CHECKS[hook](hosted.who(hook), {**question, **given}[CHAINED[hook]], answer)
        answers.check()
        await hosted.survives_cancellation(hook, **{**samples.arguments(getattr(hosted.specs, hook), 0), **given})


def _request(who: str, before: Any, answer: Any) -> None:
    if not isinstance(answer, CreateRequest):
        broken(who, f"it answered {answer!r}; a CreateRequest goes on, None leaves the request as it is")
    locator: Any = answer.locator
    if not isinstance(locator, Mapping) or not isinstance(locator.get("type"), str):
        broken(who, f"its request has the locator {locator!r}, which has no type")
    try:
        check_labels(answer.labels)
        resources.parse(answer.resources)
    except (InvalidRequest, ValueError, AttributeError) as error:
        broken(who, f"its request has labels or resources that no job can have: {error}")


def _environment(who: str, before: Any, answer: Any) -> None:
    if not isinstance(answer, Mapping):
        broken(who, f"it answered {type(answer).__name__}; the environment is a mapping of texts, None leaves it")
    for name, value in answer.items():
        if not isinstance(name, str) or not isinstance(value, str) or "\0" in name + value or not name or "=" in name:
            broken(who, f"{str(name)[:100]!r} and its value are no variable of an environment")


def _output(who: str, before: Any, answer: Any) -> None:
    if not isinstance(answer, bytes):
        broken(who, f"it answered {type(answer).__name__}; output is bytes, None leaves it")
    if len(answer) != len(before):
        broken(who, f"it made {len(answer)} bytes of {len(before)}; clients go on by offset, so there are as many")


_CHECKS: Mapping[str, Any] = {
    "prouter_job_spec": _request,
    "prouter_job_environment": _environment,
    "prouter_job_output": _output,
}
