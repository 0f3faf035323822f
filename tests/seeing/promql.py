"""Which metrics, labels and values a PromQL expression names. By regular expressions: enough for what ships here."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
SELECTOR = re.compile(rf"({NAME})\s*\{{([^}}]*)\}}")
MATCHER = re.compile(rf"({NAME})\s*(=~|!~|!=|=)\s*\"([^\"]*)\"")
GROUPING = re.compile(r"\b(by|without|on|ignoring)\s*\(([^)]*)\)")
FUNCTIONS = {"changes", "histogram_quantile", "increase", "label_values", "max", "rate", "sum", "topk"}
WORDS = {"and", "bool", "offset", "or", "unless"}


@dataclass
class Named:
    metrics: set[str] = field(default_factory=set)
    matchers: set[tuple[str, str, str, str]] = field(default_factory=set)
    """Metric, label, operator, value."""
    by: set[str] | None = None
    """Labels that are left over; None: all."""
    labels: set[str] = field(default_factory=set)
    """That are grouped by, however."""


def named(expression: str) -> Named:
    found = Named()
    for metric, matchers in SELECTOR.findall(expression):
        found.metrics.add(metric)
        assert not MATCHER.sub("", matchers).strip(" ,"), f"these are no matchers: {matchers}"
        found.matchers |= {(metric, *matcher) for matcher in MATCHER.findall(matchers)}
    rest = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", expression)
    for how, texts in GROUPING.findall(rest):
        labels = set(re.findall(NAME, texts))
        found.labels |= labels
        if how == "by":
            found.by = labels
    rest = GROUPING.sub("", rest)
    for name, call in re.findall(rf"\b({NAME})\b(\s*\()?", rest):
        if call:
            assert name in FUNCTIONS, f"{name} is no function that is known here"
        elif name not in WORDS:
            found.metrics.add(name)
    return found
