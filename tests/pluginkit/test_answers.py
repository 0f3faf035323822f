"""What an implementation may answer: by the annotation of its hook's result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NewType, Protocol

import pytest

from prouter import agent_hookspecs, hookspecs
from prouter.model.access import Refusal
from prouter.model.api_version import added
from prouter.model.plugin import Driver
from prouter.pluginkit.answers import described, fits, result_of, words

Uid = NewType("Uid", str)


class Shape(Protocol):
    @property
    def name(self) -> str: ...

    def area(self) -> float: ...

    @added
    def colour(self) -> str: ...


class Square:
    name = "square"

    def area(self) -> float:
        return 1.0


class Line:
    name = "line"


CASES: list[tuple[Any, list[Any], list[Any]]] = [
    (int | None, [5, True], ["5", 5.0]),
    (Refusal | Uid | None, [Refusal("no"), "uid"], [5, b"uid"]),
    (Sequence[Shape], [[], [Square()], (Square(),)], [[Line()], [Square(), Line()], Square()]),
    (Mapping[str, str], [{}, {"a": "b"}], [{"a": 1}, {1: "a"}, []]),
    (Sequence[int] | None, [[1], ()], ["12", [1, "2"]]),
    (bytes, [b""], ["", bytearray()]),
    (Any, [1, "x", []], []),
    (type(None), [1, "x"], []),
]


@pytest.mark.parametrize(("hint", "good", "bad"), CASES, ids=lambda value: str(value)[:30])
def test_answers_that_fit_and_that_do_not(hint: Any, good: list[Any], bad: list[Any]) -> None:
    check = fits(hint)
    assert [value for value in good if not check(value)] == []
    assert [value for value in bad if check(value)] == []


def test_every_hook_has_a_result_that_can_be_checked() -> None:
    for specs in (hookspecs, agent_hookspecs):
        for name, spec in vars(specs).items():
            if name.startswith("prouter_"):
                assert result_of(spec) is not Any, name
                assert "Any" not in words(result_of(spec)), name


def test_a_driver_of_before_is_one() -> None:
    class Old:
        name = "old"

        async def start(self, request: object) -> None: ...

        async def recover(self, job: str, job_directory: str) -> None: ...

    assert fits(Driver)(Old())


def test_words_for_people() -> None:
    assert words(Refusal | Uid | None) == "Refusal or Uid"
    assert words(Sequence[int]) == "Sequence of int"
    assert described([1, "a", 2]) == "list of int and str"
    assert described(5) == "int"
