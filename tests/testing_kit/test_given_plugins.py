"""What a daemon of a test is told to load for the plugins that the test has."""

from __future__ import annotations

from pathlib import Path

from prouter.plugins.health import Health
from prouter.testing.loading import settings_for_process


def test_a_class_that_is_installed_under_that_name_is_found_and_not_loaded_twice(tmp_path: Path) -> None:
    installed = settings_for_process({"health": Health}, "prouter.plugins", tmp_path)
    assert installed == ["plugins.load=[]", "plugins.required=['health']"]
    for other in ({"another": Health}, {"health": Other}):
        load, required = settings_for_process(other, "prouter.plugins", tmp_path)
        (name,) = other
        assert load == f"plugins.load=['{tmp_path}/given_0.py:{name}']"
        assert required == f"plugins.required=['{name}']"


class Other:
    """Of the same name, from elsewhere."""
