"""The harness of all tests that break something or press hard: what they measured, and that none is left out.

`figures` writes down what was measured, and how long each test took (figures.py); sampling.py looks at processes;
prouter.testing has the daemons (`fleet`) and the bad network (BrokenNetwork). A test is named by what it promises; the
promise's id is in its docstring and in what it records. Each has a short form for the gate, timers compressed by
configuration, and a long one for `make bench-reliability` (figures.LONG). Namespaces, disks and clocks, once something
needs them, are fixtures of their own beside these, each undoing what it did however the test ended.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from figures import LONG, Figures, took

for beside in ("proxy", "originals", "rpc"):  # raw clients, the torture application, imitations of the originals
    sys.path.append(str(Path(__file__).parent.parent / beside))

NONE_LEFT_OUT = "PROUTER_NO_SKIPS" in os.environ
"""Where the gate runs, a test of this directory that is skipped has failed: what was not tried is not known to hold."""
FIRST = "test_a_soak_leaves_nothing_behind"
"""It lasts longest, and none of the gate's workers begins with it last: the others would wait for it in the end."""
LONG_SECONDS = 5400.0
"""The longest forms go on for an hour, and then look at what is left."""


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    """`figures.record("R9", "router growth", value, goal=32, unit="MiB", holds=value <= 32)`; assert by yourself."""
    return Figures(request.config.rootpath / "out" / "reliability.json", request.node.nodeid)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    items.sort(key=lambda item: item.path.stem != FIRST)
    for item in items:
        if LONG and here in item.path.parents:
            asked = item.get_closest_marker("timeout")
            seconds = max([LONG_SECONDS, *(asked.args if asked is not None else ())])
            item.add_marker(pytest.mark.timeout(seconds), append=False)  # the first one counts


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    report = yield
    took(item.config.rootpath / "out" / "reliability.json", item.nodeid, report.duration)
    if NONE_LEFT_OUT and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped where none may be: {report.longrepr}"
    return report
