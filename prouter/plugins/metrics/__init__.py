"""GET /metrics: what the core counts (router.py) and what other plugins hand over (contributed.py), for Prometheus."""

from prouter.plugins.metrics.router import Metrics

__all__ = ["Metrics"]
