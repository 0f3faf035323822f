"""How tests run other tests: with the plugins of pytest that `prouter[testing]` brings and none of the others here.

Those are for our own suite, and to import schemathesis and hypothesis takes longer than most of what is run.
"""

from __future__ import annotations

OTHERS = ("schemathesis", "hypothesispytest", "anyio", "xdist", "xdist.looponfail", "timeout", "cacheprovider")
OPTIONS = ("-q", *(word for name in OTHERS for word in ("-p", f"no:{name}")))
PYTEST = ("-m", "pytest", *OPTIONS)
"""For a Python to run; more options may follow."""
