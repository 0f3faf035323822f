"""The keeper's program as the agent carries it: read when the agent starts, and given to each keeper at its start.

A keeper that is started later, because the first one died, is so of the agent's own version, also when the files on
disk are another version's by then, or are gone in the middle of an upgrade.

Belongs here: what is carried, and the few lines by which a bare interpreter makes modules of it. Does not: when a
keeper is started (client.py), and what it does (held/).
"""

from __future__ import annotations

import marshal
from importlib.machinery import SourceFileLoader
from importlib.util import MAGIC_NUMBER
from pathlib import Path

PACKAGE = "held"
BOOT = """
import marshal, os, sys
from importlib.machinery import ModuleSpec
from importlib.util import MAGIC_NUMBER

class Carried:
    def __init__(self, magic, modules):
        self.compiled, self.modules = magic == MAGIC_NUMBER, modules
    def find_spec(self, name, path=None, target=None):
        if name in self.modules:
            return ModuleSpec(name, self, is_package=name == "held")
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        where, source, code = self.modules[module.__name__]
        ready = marshal.loads(code) if self.compiled else compile(source, where, "exec")
        exec(ready, vars(module))

with open(0, "rb", closefd=False) as given:
    try:
        sys.meta_path.insert(0, Carried(*marshal.loads(given.read())))
    except EOFError:  # the agent died meanwhile
        os._exit(1)
nothing = os.open(os.devnull, os.O_RDONLY)
os.dup2(nothing, 0)
os.close(nothing)
from held.keeper import main
main(int(sys.argv[1]))
"""
"""Of `python -c`: reads what `carried` made from stdin, then runs the keeper. Its argument is the control socket."""


def carried(home: Path) -> bytes:
    """The package `held` below `home`, for the stdin of BOOT. Raises OSError, SyntaxError. Blocks.

    The sources go with the compiled code, for an interpreter that was replaced by another version of it meanwhile.
    """
    modules = {}
    for file in sorted((home / PACKAGE).glob("*.py")):
        name = PACKAGE if file.stem == "__init__" else f"{PACKAGE}.{file.stem}"
        code = SourceFileLoader(name, str(file)).get_code(name)
        modules[name] = (str(file), file.read_bytes(), marshal.dumps(code))
    return marshal.dumps((MAGIC_NUMBER, modules))
