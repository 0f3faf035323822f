"""A schema is one exactly where draft 2020-12 says so, however fast it is asked."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prouter.cli.agent import KIND as AGENT
from prouter.cli.router import KIND as ROUTER
from prouter.pluginkit import metaschema

DRAFT = jsonschema.Draft202012Validator
KEYWORDS = sorted({name for document in metaschema.documents() for name in document.get("properties", {})})
BELOW: Any = st.deferred(lambda: VALUES)
VALUES: Any = (
    st.sampled_from(
        [None, True, False, -1, 0, 1.5, "", "string", "array", "#/x", "#meta", "a b", "[", "2020-12", "x://y"]
    )
    | st.lists(BELOW, max_size=2)
    | st.dictionaries(st.sampled_from([*KEYWORDS, "other", "["]), BELOW, max_size=3)
)
SCHEMAS: Any = st.dictionaries(st.sampled_from(KEYWORDS), VALUES, max_size=4)


def of_the_draft(schema: object) -> str:
    try:
        DRAFT.check_schema(schema)  # type: ignore[arg-type]
    except jsonschema.SchemaError as error:
        return error.message
    return ""


def of_ours(schema: object) -> str:
    try:
        metaschema.check(schema)
    except jsonschema.SchemaError as error:
        return error.message
    return ""


@settings(max_examples=300, deadline=None)
@given(SCHEMAS | VALUES)
def test_the_joined_document_says_what_the_draft_says(schema: object) -> None:
    assert of_ours(schema) == of_the_draft(schema)


@pytest.mark.parametrize("keyword", KEYWORDS)
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_what_no_keyword_may_have_is_found_as_deep_as_it_lies(keyword: str, depth: int) -> None:
    for value in (None, 7, -1, "a b", "[", [], [1], {}, {"x": 7}, {"x": {"type": 7}}, [{"type": 7}]):
        schema: Any = {keyword: value}
        for _ in range(depth):
            schema = {"properties": {"below": schema}}
        assert of_ours(schema) == of_the_draft(schema), value


def test_no_two_documents_speak_of_one_keyword() -> None:
    """Both would have to hold, and only the last one would be asked."""
    for place in ("properties", "$defs"):
        names = [name for document in metaschema.documents() for name in document.get(place, {})]
        assert len(names) == len(set(names))


@pytest.mark.parametrize("kind", [ROUTER, AGENT], ids=["router", "agent"])
def test_our_own_sections_are_schemas(kind: Any) -> None:
    found = [schema for section in kind.sections for schema in section.properties.values()]
    assert len(found) > 10
    assert [of_the_draft(schema) for schema in found] == [""] * len(found)
