"""`prouter explain JOB`, `prouter explain LOCATOR`: why a job is where it is, or where a new one would go."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from prouter.cli import asking
from prouter.errors import ConfigError, ProuterError

if TYPE_CHECKING:
    from prouter.client import Client

ABOUT = "Tell which plugin decided what about a job and why, or would about a new one, of which nothing is made."
WHAT = "a job's path or uid; or a locator, {...} as in POST /jobs/create, or - to read it from standard input"


def run(words: Sequence[str]) -> int:
    parser = asking.make_parser("explain", ABOUT)
    parser.add_argument("what", metavar="JOB|LOCATOR", help=WHAT)
    parser.add_argument("--name", default="", help="of the new job")
    for flag, metavar, about in (
        ("--label", "KEY=VALUE", "of the new job, may appear multiple times"),
        ("--resource", "NAME=COUNT", "that the new job takes, likewise"),
    ):
        parser.add_argument(flag, metavar=metavar, help=about, action="append", default=[], type=_pair)
    parser.add_argument("--json", action="store_true", help="print the answer as it comes")
    given = parser.parse_args(words)
    try:
        locator = _locator(sys.stdin.read() if given.what == "-" else given.what)
        resources = {name: _count(name, count) for name, count in given.resource}
    except ConfigError as error:
        print(f"prouter: {error.detail}", file=sys.stderr)
        return 2

    async def question(client: Client) -> str:
        if locator is None:
            path = given.what if given.what.startswith("/") else f"/jobs/{given.what}"
            answer = await client.request("GET", f"{path.rstrip('/')}/explain")
        else:
            answer = await client.explain(locator, given.name, labels=dict(given.label), resources=resources)
        if given.json:
            return json.dumps(answer, indent=2)
        try:
            lines = list(_of_job(answer) if locator is None else _of_creation(answer, answer["driver"]))
        except (KeyError, TypeError, AttributeError):
            raise ProuterError("the explanation is of another version of prouter; --json prints it as it is") from None
        return "\n".join("".join(c if c.isprintable() else "?" for c in line) for line in lines)

    return asking.ask(given, question)


def _pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not key or not sign:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form KEY=VALUE")
    return key, value


def _count(name: str, text: str) -> int:
    if not text.isdecimal():
        raise ConfigError([f"--resource: {name}={text} is no number"])
    return int(text)


def _locator(text: str) -> dict[str, Any] | None:
    """None: it names a job. Raises ConfigError."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        return dict(json.loads(text))
    except ValueError as error:
        raise ConfigError([f"the locator is no JSON: {error}"]) from None


def _of_job(answer: Mapping[str, Any]) -> Iterator[str]:
    queued = answer.get("queue")
    if queued is not None:
        yield from _of_queue(queued)
    if answer["creation"] is not None:
        yield from _of_creation(answer["creation"], answer["driver"])
    elif queued is None:
        yield "its agent keeps nothing of why the job was made there"
    proxied = answer["proxying"]
    if proxied is not None:
        yield "a request to it would meet"
        yield from _of_decisions(proxied["decisions"])
        if proxied["answer_chain"]:
            yield f"  and its answer {', '.join(proxied['answer_chain'])}"
        if proxied["refused"] is not None:
            yield f"  refused, {proxied['refused']['status']}: {proxied['refused']['detail']}"


def _of_queue(queued: Mapping[str, Any]) -> Iterator[str]:
    if queued["position"] is None:
        yield f"it was never made: {queued['detail']}"
        return
    yield f"position {queued['position']} of the queue, priority {queued['priority']}, until {queued['until']}"
    yield f"waits for agent {queued['agent']}" if queued["agent"] is not None else "no agent could have it yet"
    yield f"as it was last found out: {queued['detail']}"


def _of_creation(creation: Mapping[str, Any], driver: Mapping[str, str] | None) -> Iterator[str]:
    selector, refused = creation.get("selector"), creation.get("refused")
    if refused is not None:
        yield f"refused, {refused['status']}: {refused['detail']}"
    elif selector is not None and selector["would_dial"] is not None:
        yield f"the agent at {selector['would_dial']} would be dialed first"
    else:
        yield f"agent {creation.get('chosen')}"
    if selector is not None:
        yield f"selector {selector['type']} of {selector['plugin']}, {selector['milliseconds']} ms"
    if creation.get("would_provision"):
        yield f"would provision: {', '.join(creation['would_provision'])}"
    if driver is not None:
        yield f"driver {driver['name']} of {driver['plugin']}"
    for agent in creation.get("agents", ()):
        place = agent["rank"] or ("=" if agent["taken"] else "-")
        by = f"{agent['refused_by']}: " if agent["refused_by"] else ""
        yield f"  {place:>3} {agent['agent']}  {by}{agent['reason']}"
        if agent.get("scores"):
            yield f"        score {agent['score']:g}: {', '.join(_score(part) for part in agent['scores'])}"
    yield "decisions"
    yield from _of_decisions(creation.get("decisions", ()))
    left = creation.get("left_out") or {}
    if any(left.values()):
        yield f"  left out: {left.get('decisions', 0)} decisions, {left.get('agents', 0)} agents"


def _score(part: Mapping[str, Any]) -> str:
    points = "no points" if part["points"] is None else f"{part['points']:+g}"
    return f"{points} by {part['plugin']}" + (f" ({part['reason']})" if part["reason"] else "")


def _of_decisions(decisions: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for decision in decisions:
        what = f" about {decision['about']}" if decision["about"] else ""
        why = f": {' '.join(decision['reason'].split())}" if decision["reason"] else ""
        changed = ", ".join(change["field"] for change in decision["changes"])
        fields = f" ({changed})" if changed else ""
        head = f"  {decision['hook'].removeprefix('prouter_')}{what} by {decision['plugin']}"
        yield f"{head}: {decision['outcome']}{why}{fields}, {decision['milliseconds']} ms"
