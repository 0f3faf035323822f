"""Sources of the configuration joined to one tree, checked by the sections of several owners."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from prouter.errors import ConfigError
from prouter.model.plugin import ConfigSection
from prouter.pluginkit.config import Settings, Sources, literal
from prouter.pluginkit.limits import MUTED_AFTER, CallLimits
from prouter.pluginkit.schema import Schema


def text(default: str = "default") -> dict[str, object]:
    return {"type": "string", "default": default}


SECTION = ConfigSection(
    "box",
    {
        "label": text(),
        "other": text(),
        "count": {"type": "integer", "default": 1},
        "names": {"type": "array", "items": {"type": "string"}, "default": ["one"]},
        "map": {"type": "object", "additionalProperties": True, "default": {"kept": 1}},
        "maybe": {"type": ["string", "null"], "default": "something"},
    },
)


def loaded(file: Path | None = None, environ: dict[str, str] | None = None, *overrides: str) -> Settings:
    schema = Schema()
    schema.add("tests", [SECTION])
    return Sources(file, environ or {}, "BOX", overrides).load(schema)


def test_each_source_wins_over_the_one_before_and_leaves_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "box.yaml"
    file.write_text("box:\n  label: file\n  count: 2\n  names: [two]\n  map: {file: 2, deep: {a: 1, b: 1}}\n")
    environ = {"BOX_BOX__LABEL": "environment", "BOX_BOX__COUNT": "3", "BOX_BOX__MAP__DEEP__A": "2"}
    box = loaded(file, environ, "box.count=4", "box.map.set=3").section("box")
    assert box["label"] == "environment"
    assert box["count"] == 4
    assert box["other"] == "default"
    assert box["names"] == ["two"]
    assert box["map"] == {"kept": 1, "file": 2, "deep": {"a": 2, "b": 1}, "set": 3}


def test_a_later_set_wins() -> None:
    assert loaded(None, {}, "box.count=2", "box.count=3").section("box")["count"] == 3


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("'quoted'", "quoted"),
        ("bare words", "bare words"),
        ("a=b", "a=b"),
        ("", ""),
        ("007", "007"),
        ("None", "None"),
        ("[1]", "[1]"),
    ],
)
def test_a_text_stays_a_text(said: str, value: str) -> None:
    assert loaded(None, {}, f"box.label={said}").section("box")["label"] == value


def test_a_text_that_may_be_missing_can_be_none() -> None:
    assert loaded(None, {}, "box.maybe=None").section("box")["maybe"] is None


@pytest.mark.parametrize("said", ["['a', 'b']", '["a", "b"]', "('a', 'b')", " ['a','b'] "])
def test_lists_as_python_literals_and_as_json(said: str) -> None:
    assert loaded(None, {}, f"box.names={said}").section("box")["names"] == ["a", "b"]


@pytest.mark.parametrize(
    ("said", "value"),
    [("true", True), ("False", False), ("null", None), ("None", None), ("1.5", 1.5), ('{"a":1}', {"a": 1})],
)
def test_literals(said: str, value: object) -> None:
    assert literal(said) == value


def test_variables_of_others_are_left_alone_and_ours_must_be_known() -> None:
    loaded(None, {"BOX_NO_UVLOOP": "1", "BOXES_BOX__LABEL": "x", "PATH": "/"})
    with pytest.raises(ConfigError, match=r"box\.labl"):
        loaded(None, {"BOX_BOX__LABL": "x"})


def test_a_default_is_never_changed_by_what_is_said() -> None:
    loaded(None, {}, "box.map.more=1")
    assert loaded().section("box")["map"] == {"kept": 1}


def test_two_owners_of_one_key_are_an_error_naming_both() -> None:
    schema = Schema()
    schema.add("prouter", [ConfigSection("box", {"label": text()})])
    with pytest.raises(ConfigError, match=r"(?s)(?=.*prouter)(?=.*the plugin mine)") as error:
        schema.add("the plugin mine", [ConfigSection("box", {"fresh": text(), "label": text()})])
    assert "box.label" in error.value.mistakes[0]
    assert schema.get("box.fresh") is None


@pytest.mark.parametrize("wrong", [{"type": "nonsense"}, {"type": "integer", "default": "text"}])
def test_a_section_whose_schema_is_none_adds_nothing(wrong: dict[str, object]) -> None:
    schema = Schema()
    with pytest.raises(ValueError, match=r"box\.bad"):
        schema.add("mine", [ConfigSection("box", {"good": text(), "bad": wrong})])
    assert list(schema) == []


MISTAKES = {
    "deadlines={'prouter_authorize': 0}": "plugins.deadlines.prouter_authorize: 0 is not allowed",
    "load='one.py'": "plugins.load: 'one.py' is not allowed",
    "strict='perhaps'": "plugins.strict: 'perhaps' is not allowed",
    "news_kept=0": "plugins.news_kept: 0 is not allowed",
}


@pytest.mark.parametrize(("setting", "said"), MISTAKES.items())
def test_the_section_of_plugins_is_checked_before_there_are_any(setting: str, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        Sources(None, {}, "PROUTER", [f"plugins.{setting}"]).plugins()


def test_what_is_said_of_plugins_comes_from_all_sources(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("plugins: {load: [a], strict: true, news_kept: 5}\n")
    environ = {"PROUTER_PLUGINS__STRICT": "false", "PROUTER_PLUGINS__DEADLINES__PROUTER_HEALTH": "0.5"}
    found = Sources(tmp_path / "config.yaml", environ, "PROUTER", ["plugins.news_kept=7"]).plugins()
    assert (found["load"], found["strict"], found["news_kept"]) == (["a"], False, 7)
    limits = CallLimits.read(found)
    assert (limits.deadlines, limits.muted_after) == ({"prouter_health": 0.5}, MUTED_AFTER)
