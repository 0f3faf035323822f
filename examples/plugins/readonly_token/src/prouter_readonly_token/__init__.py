"""Tokens that may only look."""

from __future__ import annotations

from collections.abc import Sequence

from prouter import hookspecs, implements
from prouter.model.access import Guards, Peer, Principal, Refusal, Resource, Secret, any_matches, token_bits
from prouter.model.http import RequestHead
from prouter.model.plugin import ConfigSection
from prouter.model.services import Router

NAME = "readonly_token"
HEADER = "x-prouter-token"


class ReadonlyToken:
    """An authenticator for `X-Prouter-Token`, and a veto on every action that does not read."""

    prouter_api_version = 1

    def __init__(self) -> None:
        self._tokens: tuple[Secret, ...] = ()

    @implements(hookspecs.prouter_config_sections)
    def prouter_config_sections(self) -> Sequence[ConfigSection]:
        tokens = {
            "type": "array",
            "items": {"type": "string", "minLength": 1},
            "default": [],
            "writeOnly": True,
            "description": "Tokens that may read and nothing else.",
        }
        return [ConfigSection(NAME, {"tokens": tokens})]

    @implements(hookspecs.prouter_startup)
    def prouter_startup(self, router: Router) -> None:
        self._tokens = tuple(Secret(token) for token in router.config.section(NAME)["tokens"])

    @implements(hookspecs.prouter_guards)
    def prouter_guards(self) -> Guards:
        bits = min((token_bits(token.reveal()) for token in self._tokens), default=0.0)
        return Guards(requests=bool(self._tokens), weakest_request_bits=bits)

    @implements(hookspecs.prouter_authenticate_request)
    def prouter_authenticate_request(self, head: RequestHead, peer: Peer) -> Principal | None:
        if any_matches(self._tokens, head.get(HEADER) or ""):
            return Principal("reader", NAME, frozenset((HEADER,)))
        return None

    @implements(hookspecs.prouter_authorize)
    def prouter_authorize(self, principal: Principal, action: str, resource: Resource) -> Refusal | None:
        if principal.authenticator == NAME and not action.endswith(".read"):
            return Refusal("this token may only read")
        return None
