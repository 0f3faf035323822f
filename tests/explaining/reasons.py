"""Plugins of other people that decide about jobs, each with a name of its own, and what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prouter.testing import Fleet, RouterDaemon

PLUGINS = {
    "renamer": """
    @hookimpl
    def prouter_job_spec(self, request):
        labels = {**request.labels, "team": "blue"}
        return replace(request, name=request.name + "!", labels=labels)
""",
    "quota": """
    @hookimpl
    async def prouter_admit_job(self, request):
        if request.labels.get("size") == "huge":
            return Refusal("nobody may have\\nhuge jobs")
""",
    "gate": """
    @hookimpl
    def prouter_filter_agent(self, candidate, request):
        if request.labels.get("zone", candidate.name) != candidate.name:
            return Refusal(f"it is not in zone {request.labels['zone']}")
""",
    "keeper": """
    @hookimpl
    def prouter_authorize(self, principal, action):
        if action in self.forbidden():
            return Refusal("the keeper says no")

    def forbidden(self):
        import pathlib
        path = pathlib.Path(__file__).with_name("forbidden")
        return path.read_text().split() if path.exists() else ()
""",
    "broken": """
    @hookimpl
    def prouter_admit_job(self, request):
        raise RuntimeError("hidden-words-of-a-bug")
""",
    "farm": """
    name = "farm"
    schema = {"type": "object"}

    @hookimpl
    def prouter_startup(self, router):
        self.router = router

    @hookimpl
    def prouter_selectors(self):
        return [self]

    async def choose(self, locator, candidates):
        from prouter.model.trail import is_dry_run, tell_ranking
        order = sorted(candidate.uid for candidate in candidates)
        tell_ranking(order, {uid: f"dry run: {is_dry_run()}" for uid in order})
        if "address" in locator:
            return await self.router.agents.dial(locator["address"], locator["token"])
        return order[0]
""",
    "headers": """
    @hookimpl
    def prouter_proxy_request(self, head, target):
        return replace(head, headers=(*head.headers, ("X-Mine", "hidden-value-of-a-header")))

    @hookimpl
    def prouter_proxy_response(self, answer):
        return None
""",
}


def written(place: Path, *names: str) -> str:
    """The setting that loads these plugins."""
    paths = []
    for name in names:
        path = place / f"{name}.py"
        path.write_text(
            "from dataclasses import replace\nfrom prouter import hookimpl\nfrom prouter.model.access import Refusal\n"
            f"class Plugin:{PLUGINS[name]}"
        )
        paths.append(str(path))
    return f"plugins.load={paths!r}"


def router_with(fleet: Fleet, place: Path, *names: str, **more: Any) -> RouterDaemon:
    return fleet.router(written(place, *names), **more)


def said(decisions: list[dict[str, Any]], hook: str) -> list[tuple[str, str, str]]:
    """Plugin, outcome, reason of each that a hook asked."""
    return [(d["plugin"], d["outcome"], d["reason"]) for d in decisions if d["hook"] == f"prouter_{hook}"]
