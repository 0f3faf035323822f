"""`prouter agent-tokens`: asks the router."""

import argparse
import json
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from prouter.errors import ProuterError
from prouter.model.contributions import CliContext

ASKS = {"list": ("GET", ""), "enrol": ("POST", ""), "redeem": ("POST", "/redeem")}
ASKS |= {"rotate": ("POST", "/{}/rotate"), "revoke": ("DELETE", "/{}")}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=ASKS)
    parser.add_argument("name", nargs="?", default="", help="of the agent; for redeem the code")


def run(options: argparse.Namespace, context: CliContext) -> int:
    verb, path = ASKS[options.what]
    headers = {"Content-Type": "application/json", "X-Prouter-Token": context.token or ""}
    body = {"enrol": {"agent": options.name}, "redeem": {"code": options.name}}.get(options.what)
    url = f"{context.url}/agent-tokens{path.format(options.name)}"
    request = Request(url, json.dumps(body).encode() if body else None, headers, method=verb)
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=60) as answer:
            found = json.load(answer)
    except OSError as error:
        no_answer = f"no router answers at {context.url}"
        raise ProuterError(json.load(error)["detail"] if isinstance(error, HTTPError) else no_answer) from error
    print(found.get("token") or found.get("code") or json.dumps(found))
    return 0
