"""What other plugins hand over as metrics, made fit to be shown: under their name, well-formed, bounded.

Belongs here: which of it is left out, and why. Does not: asking for it (the router does), the counts of the core.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from prouter.model.contributions import Metric, MetricKind

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric as Family

log = logging.getLogger(__name__)

NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,99}")
"""Of a metric or a label; the colon is for recording rules (Prometheus, "Data model")."""
MAX_LABELS = 16
MAX_TEXT = 256
"""Characters of a label's value."""
MAX_HELP = 300
MAX_SAID = 100
"""Lines of the log about what is left out, until the router ends."""

Sample = tuple[Mapping[str, str], float]


class Contributed:
    """Of all plugins. Each thing that is left out is told once."""

    def __init__(self, max_samples: int) -> None:
        self._max_samples = max_samples
        """Of one plugin, in one scrape; a metric without samples counts as one."""
        self._said: set[tuple[str, str, str]] = set()

    def families(self, told: Sequence[tuple[str, Metric]], taken: Collection[str]) -> Iterator[Family]:
        """`taken` are the names of metrics and samples that somebody else has."""
        names, room = set(taken), dict.fromkeys((plugin for plugin, _ in told), self._max_samples)
        for plugin, metric in told:
            try:
                family = self._family(plugin, metric, names, room)
            except Exception as error:  # noqa: BLE001 -- what it handed over is foreign code, too
                self._leave_out(plugin, metric, f"{type(error).__name__} while it was read")
                continue
            if family is not None:
                yield family

    def _family(self, plugin: str, metric: Metric, names: set[str], room: dict[str, int]) -> Family | None:
        name = f"prouter_{re.sub('[^a-zA-Z0-9_]', '_', plugin)}_{metric.name}"
        counter = metric.kind == MetricKind.COUNTER
        family = name.removesuffix("_total") if counter else name
        sample = f"{family}_total" if counter else name
        if not NAME.fullmatch(name):
            self._leave_out(plugin, metric, "its name is none")
        elif metric.kind not in tuple(MetricKind):
            self._leave_out(plugin, metric, "it is neither a counter nor a gauge")
        elif names & {family, sample}:
            self._leave_out(plugin, metric, f"there is a metric {family} already")
        else:
            names |= {family, sample}
            samples = list(self._samples(plugin, metric, room))
            return _made(family, sample, str(metric.help), samples, counter=counter)
        return None

    def _samples(self, plugin: str, metric: Metric, room: dict[str, int]) -> Iterator[Sample]:
        seen = set()
        room[plugin] -= 1 if not metric.samples else 0
        for sample in metric.samples:
            if room[plugin] <= 0:
                self._leave_out(plugin, metric, f"the plugin has more than {self._max_samples} samples")
                return
            room[plugin] -= 1
            labels, value, wrong = _checked(sample, counter=metric.kind == MetricKind.COUNTER)
            key = tuple(sorted(labels.items()))
            if wrong or key in seen:
                self._leave_out(plugin, metric, wrong or "two samples have the same labels")
                continue
            seen.add(key)
            yield labels, value

    def _leave_out(self, plugin: str, metric: Metric, why: str) -> None:
        name = str(metric.name)[:100]
        if (plugin, name, why) not in self._said and len(self._said) < MAX_SAID:
            self._said.add((plugin, name, why))
            log.warning("of the plugin %s's metric %r something is left out: %s", plugin, name, why)


def _checked(sample: Any, *, counter: bool) -> tuple[Mapping[str, str], float, str]:
    """Labels, value, and what is wrong with them."""
    try:
        given, number = sample
        labels = dict(given)
        value = float(number)
    except (TypeError, ValueError, OverflowError):
        return {}, 0.0, "a sample is no pair of labels and a number"
    if len(labels) > MAX_LABELS or not all(map(_is_label, labels.items())):
        return {}, 0.0, f"labels are up to {MAX_LABELS} names with texts of up to {MAX_TEXT} characters"
    if counter and not 0 <= value < math.inf:
        return {}, 0.0, "a counter is a number that is not negative"
    return labels, value, ""


def _is_label(pair: tuple[Any, Any]) -> bool:
    name, text = pair
    if not isinstance(name, str) or not NAME.fullmatch(name) or name.startswith("__"):
        return False
    return isinstance(text, str) and len(text) <= MAX_TEXT and not any("\ud800" <= c <= "\udfff" for c in text)


def _made(name: str, sample: str, about: str, samples: Sequence[Sample], *, counter: bool) -> Family:
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

    text = about[:MAX_HELP].encode("utf-8", "replace").decode()
    family: Family = CounterMetricFamily(name, text) if counter else GaugeMetricFamily(name, text)
    for labels, value in samples:
        family.add_sample(sample, dict(labels), value)
    return family
