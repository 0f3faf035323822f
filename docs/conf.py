"""How Sphinx makes the site: `make docs`. Warnings are errors there."""

from __future__ import annotations

import re
from typing import Any

from prouter import __version__

project = "prouter"
author = "The prouter authors"
project_copyright = "the prouter authors"
version = release = __version__
extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "prouter"
html_static_path: list[str] = []
html_copy_source = False
nitpicky = True

OUTSIDE = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+(?:[A-Z]+(?:\.md)?|examples|prouter|tests|benchmarks)[^)]*)\)")


def name_what_is_outside(app: Any, name: str, source: list[str]) -> None:
    """Links to files of the repository that are no page of the site become their names."""
    source[0] = OUTSIDE.sub(lambda found: f"{found[1]} (`{found[2].replace('../', '')}`)", source[0])


def setup(app: Any) -> None:
    app.connect("source-read", name_what_is_outside)
