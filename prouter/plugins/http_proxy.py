"""Proxying to jobs: which paths stand for a job's port, and what a request and its answer look like on their way.

`PATH/http/REST` is the default port, `PATH/port/NAME/REST` a port by name. Pure policy: bytes are moved by the relay.

Host and Origin, mode `local`: both become the job's own 127.0.0.1:PORT when the request is same-origin at the router;
a foreign Origin passes unchanged, so that the application's own check still works (JupyterLab and MLflow refuse a
foreign Host, Streamlit and Bokeh an Origin that differs from Host).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import unquote

from prouter import hookimpl
from prouter.model.forwarded import address_of, elements
from prouter.model.http import AnswerPolicy, ForwardPlan, Headers, Reply, RequestHead, quoted_pairs
from prouter.model.ids import AgentUid, JobUid
from prouter.model.paths import split_job_path
from prouter.model.plugin import ConfigSection, JobTarget, Resolved
from prouter.model.services import Router

ACTIONS = frozenset(("http", "port"))
FORWARDED = frozenset(
    (
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "x-forwarded-server",
        "x-forwarded-user",
        "x-real-ip",
        "x-request-id",
    )
)
"""What we say of the client; what it sent of these itself is dropped. `_` for `-` is dropped by the relay."""


DROPPED = FORWARDED | frozenset(("host", "origin"))
NO_HEADERS: frozenset[str] = frozenset()


class HttpProxy:
    """Plugin `http_proxy`."""

    def __init__(self) -> None:
        self._mode = "local"
        self._fixed_host = ""
        self._last: tuple[tuple[object, ...], AnswerPolicy] | None = None
        self._trusted: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()

    @hookimpl
    def prouter_config_sections(self) -> Sequence[ConfigSection]:
        return [
            ConfigSection(
                "proxy",
                {
                    "host": {
                        "enum": ["local", "preserve", "fixed"],
                        "default": "local",
                        "description": "Host that a job sees: its own loopback address (Origin likewise, where it is "
                        "the router's), the client's, or proxy.fixed_host.",
                    },
                    "fixed_host": {
                        "type": "string",
                        "default": "localhost",
                        "description": "Host that jobs see with proxy.host: fixed.",
                    },
                },
            )
        ]

    @hookimpl
    def prouter_startup(self, router: Router) -> None:
        section = router.config.section("proxy")
        self._mode, self._fixed_host = section["host"], section["fixed_host"]
        control = router.config.section("control")
        self._trusted = tuple(ipaddress.ip_network(text, strict=False) for text in control["trusted_proxies"])

    @hookimpl
    def prouter_resolve_route(self, head: RequestHead) -> Resolved | None:
        path, mark, query = head.target.partition("?")
        found = split_job_path(path, ACTIONS)
        if found is None:
            return None
        agent, job, action, rest = found
        port = None
        if action == "port":
            raw, slash, below = rest.removeprefix("/").partition("/")
            port, rest = unquote(raw, errors="surrogateescape"), slash + below
            if not port:
                return None
        prefix = path[: len(path) - len(rest)]
        uid = AgentUid(agent) if agent is not None else None
        return Resolved(uid, JobUid(job), port, prefix, rest + mark + query, lasting=True, reads=NO_HEADERS)

    @hookimpl
    def prouter_plan(self, head: RequestHead, target: JobTarget) -> ForwardPlan | Reply | None:
        if not target.rest.startswith("/") and head.method in ("GET", "HEAD") and not head.upgrade:
            last = target.prefix.rpartition("/")[2]
            return Reply(308, (("Location", f"{last}/{target.rest}"),))
        local = target.port.authority
        return ForwardPlan(
            target=_seen_path(head, target),
            host=self._host(head, local),
            drop=DROPPED,
            set_headers=self._said_of_client(head, target) + self._origin(head, target, local),
            answer=self._answer_policy(target, local),
            lasting=True,
            reads=DROPPED,
        )

    def _host(self, head: RequestHead, local: str) -> str:
        if self._mode == "local":
            return local
        return self._fixed_host if self._mode == "fixed" else head.get("host") or local

    def _answer_policy(self, target: JobTarget, local: str) -> AnswerPolicy:
        """The same for all requests to a port under one prefix: the last one is mostly the one that is wanted."""
        key = (target.public_prefix, target.prefix, target.port, target.public_origin)
        if self._last is None or self._last[0] != key:
            own = self._own_origins(target, local)
            self._last = key, AnswerPolicy(prefix=target.public_prefix + target.prefix, own_origins=own)
        return self._last[1]

    def _origin(self, head: RequestHead, target: JobTarget, local: str) -> Headers:
        if head.get("origin") is None:
            return ()
        origins = head.all("origin")
        if self._mode == "local" and len(origins) == 1 and origins[0].lower() == target.public_origin.lower():
            return (("Origin", f"http://{local}"),)
        return tuple(("Origin", origin) for origin in origins)

    def _said_of_client(self, head: RequestHead, target: JobTarget) -> Headers:
        said = _said_of_peer(target.peer.host, target.public_origin)
        if self._trusted and self._trusts(target.peer.host):
            said = self._said_by_others(head, said)
        if target.port.keep_prefix:
            return (*said, ("X-Request-Id", target.request_id))
        prefix = target.public_prefix + target.prefix
        return (*said, ("X-Request-Id", target.request_id), ("X-Forwarded-Prefix", prefix))

    def _said_by_others(self, head: RequestHead, said: Headers) -> Headers:
        """Behind what proxies in front of us said, which are trusted."""
        (_, client), proto, host, (_, hop) = said
        nodes = [address_of(element["for"]) for element in elements(head) if "for" in element]
        before = ", ".join(head.all("x-forwarded-for") or nodes)
        forwarded = ", ".join(head.all("forwarded"))
        return (
            ("X-Forwarded-For", f"{before}, {client}" if before else client),
            proto,
            host,
            ("Forwarded", f"{forwarded}, {hop}" if forwarded else hop),
        )

    def _own_origins(self, target: JobTarget, local: str) -> frozenset[str]:
        """What the job may take for its own origin, so that its redirects there stay inside of its path."""
        own = {f"http://{local}"}
        if target.port.number is not None:
            own.add(f"http://localhost:{target.port.number}")
        if self._mode == "preserve":
            own.add(target.public_origin.lower())
        elif self._mode == "fixed":
            own.add(f"http://{self._fixed_host}".lower())
        return frozenset(own)

    def _trusts(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in self._trusted)


def _seen_path(head: RequestHead, target: JobTarget) -> str:
    """What the job is asked for. With its prefix kept, the path is the one that the client has, as `{base_path}` is:
    what a proxy in front of us took off is put back.
    """
    if target.port.keep_prefix:
        return target.public_prefix + head.target
    return target.rest if target.rest.startswith("/") else "/" + target.rest


@lru_cache(256)
def _said_of_peer(peer: str, public_origin: str) -> Headers:
    """Of a client that came from there. Most requests are some clients' next ones."""
    scheme, _, host = public_origin.partition("://")
    node = f"[{peer}]" if ":" in peer else peer
    return (
        ("X-Forwarded-For", peer),
        ("X-Forwarded-Proto", scheme),
        ("X-Forwarded-Host", host),
        ("Forwarded", quoted_pairs((("for", node), ("host", host), ("proto", scheme)))),
    )
