"""`prouter plugins ...`: what is installed, what is wrong with it. One module a subcommand, imported when it is called.

They work where a plugin is broken: that is when they are needed. A new one is a module beside these with a function
`run(words)`, and a line below.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

SUBCOMMANDS = {
    "list": ("listing", "the plugins that are there, and their state"),
    "show": ("showing", "all that is known of one plugin"),
    "check": ("checking", "what is wrong with plugins, without starting anything"),
    "new": ("new", "the project of a new plugin, with a passing test"),
}
"""The word, its module, what it does."""


def run(words: Sequence[str]) -> int:
    if words and words[0] in SUBCOMMANDS:
        module = importlib.import_module(f"{__name__}.{SUBCOMMANDS[words[0]][0]}")
        status: int = module.run(list(words[1:]))
        return status
    known = "\n".join(f"  {name:8} {about}" for name, (_, about) in SUBCOMMANDS.items())
    usage = f"usage: prouter plugins COMMAND ...\n\n{known}\n\nEach has --help."
    if words and words[0] in ("-h", "--help"):
        print(usage)
        return 0
    if words:
        print(
            f"prouter: there is no command 'plugins {words[0]}'; there are: {', '.join(SUBCOMMANDS)}", file=sys.stderr
        )
    else:
        print(usage, file=sys.stderr)
    return 2
