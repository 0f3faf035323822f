"""Single sign-on that a proxy in front has done: who it says is there is believed, and told to jobs."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from prouter import hookspecs, implements
from prouter.errors import ConfigError
from prouter.model.access import Guards, Peer, Principal, Refusal
from prouter.model.http import RequestHead, ResponseHead
from prouter.model.plugin import ConfigSection, JobTarget
from prouter.model.services import Router

NAME = "sso_header"
TEXT: dict[str, Any] = {"type": "string", "pattern": "^[A-Za-z0-9-]+$"}
SAFE = {"X-Content-Type-Options": "nosniff", "X-Frame-Options": "SAMEORIGIN", "Referrer-Policy": "same-origin"}
SETTINGS: dict[str, dict[str, Any]] = {
    "proxies": {
        "type": "array",
        "items": {"type": "string"},
        "default": [],
        "description": "Addresses and networks of proxies that are believed; without one nobody is asked.",
    },
    "user_header": TEXT | {"default": "X-Forwarded-User", "description": "In which the proxy says who it is."},
    "groups_header": TEXT | {"default": "X-Forwarded-Groups", "description": "The same for groups, with commas."},
    "job_header": TEXT | {"default": "X-Remote-User", "description": "In which a job finds who it is."},
    "response_headers": {
        "type": "object",
        "additionalProperties": {"type": "string"},
        "default": SAFE,
        "description": "Headers of jobs' answers, where a job sets none of that name.",
    },
}


class SsoHeader:
    """An authenticator for requests of known proxies, and what jobs and browsers get to know of it."""

    @implements(hookspecs.prouter_config_sections)
    def prouter_config_sections(self) -> Sequence[ConfigSection]:
        return [ConfigSection(NAME, SETTINGS)]

    @implements(hookspecs.prouter_startup)
    def prouter_startup(self, router: Router) -> None:
        self._settings = settings = router.config.section(NAME)
        try:
            self._proxies = [ipaddress.ip_network(text) for text in settings["proxies"]]
        except ValueError as error:
            raise ConfigError([f"{NAME}.proxies: {error}; allowed: addresses and networks (10.0.0.0/8)"]) from error
        self._user, self._groups = settings["user_header"].lower(), settings["groups_header"].lower()
        self._identity = frozenset({self._user, self._groups, settings["job_header"].lower()})

    @implements(hookspecs.prouter_guards)
    def prouter_guards(self) -> Guards:
        return Guards(requests=bool(self._proxies))

    @implements(hookspecs.prouter_authenticate_request)
    def prouter_authenticate_request(self, head: RequestHead, peer: Peer) -> Principal | Refusal | None:
        users, told = head.all(self._user), ",".join(head.all(self._groups))
        if not users or not self._is_proxy(peer):
            return None  # whatever somebody else writes into this header says nothing
        if len(users) > 1 or not users[0].strip():
            return Refusal(f"the proxy in front did not say in one {self._user} who it is")
        user, groups = users[0].strip(), [group.strip() for group in told.split(",") if group.strip()]
        findings = {"user": user, "groups": groups}
        return Principal(user, NAME, frozenset({self._user, self._groups}), findings=findings)

    @implements(hookspecs.prouter_proxy_request)
    def prouter_proxy_request(self, head: RequestHead, target: JobTarget) -> RequestHead:
        """Jobs believe the header, so nobody else sets it, nor X_Remote_User, which WSGI takes for the same."""
        kept = [(name, value) for name, value in head.headers if name.lower().replace("_", "-") not in self._identity]
        if target.principal.authenticator == NAME:
            kept.append((self._settings["job_header"], target.principal.findings["user"]))
        return replace(head, headers=tuple(kept))

    @implements(hookspecs.prouter_proxy_response)
    def prouter_proxy_response(self, answer: ResponseHead, target: JobTarget) -> ResponseHead:
        wanted = self._settings["response_headers"].items()
        added = [(name, value) for name, value in wanted if answer.get(name) is None]
        return replace(answer, headers=(*answer.headers, *added))

    def _is_proxy(self, peer: Peer) -> bool:
        """A peer without an address, at a unix socket, is none."""
        try:
            address = ipaddress.ip_address(peer.host)
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self._proxies)
