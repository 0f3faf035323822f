"""The long forms of tests/faults: run, judged, shown. What is promised of them stands beside the tests themselves."""

import sys

from benchmarks.pages import ROOT

sys.path.append(str(ROOT / "tests" / "faults"))  # figures.py, promised.py

import promised  # noqa: F401 -- to be had from here
