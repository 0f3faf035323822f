"""The one gate: who makes a request, and may they. Serves the API, proxied requests and Websockets alike."""

from __future__ import annotations

import ipaddress
import logging
from dataclasses import replace

from prouter.core.settings import Endpoint, RouterSettings
from prouter.errors import ConfigError, Forbidden, PluginFailure, Unauthorized
from prouter.model.access import ANONYMOUS, MIN_TOKEN_BITS, Guards, Peer, Principal, Refusal, Resource
from prouter.model.agents import Hello
from prouter.model.http import RequestHead
from prouter.model.trail import current
from prouter.pluginkit.calling import Hooks

log = logging.getLogger(__name__)


class Access:
    """Asks the authenticators named in the configuration, and every plugin that may veto."""

    def __init__(self, hooks: Hooks, settings: RouterSettings) -> None:
        self._hooks = hooks
        self._authenticators = settings.authenticators
        self._guards = Guards()
        self._guards_at_start: Guards | None = None

    def read_guards(self, settings: RouterSettings, *, insecure: bool) -> None:
        """Learn what the authenticators guard, and refuse to start where nobody guards a door that others can reach.

        Raises ConfigError.
        """
        found = [
            guards
            for name, guards in self._hooks.collect("prouter_guards")
            if name in self._authenticators and isinstance(guards, Guards)
        ]
        self._guards = Guards(
            requests=any(g.requests for g in found),
            agents=any(g.agents for g in found),
            weakest_request_bits=min((g.weakest_request_bits for g in found if g.requests), default=0.0),
            weakest_agent_bits=min((g.weakest_agent_bits for g in found if g.agents), default=0.0),
        )
        mistakes = []
        if not insecure and not is_loopback(settings.control):
            if not self._guards.requests:
                mistakes.append(
                    f"control.interface: {settings.control.interface} can be reached by others, and nobody checks who "
                    "asks; configure an authenticator (control.tokens) or start with --insecure"
                )
            elif self._guards.weakest_request_bits < MIN_TOKEN_BITS:
                mistakes.append(f"control.tokens: a token beyond loopback needs at least {MIN_TOKEN_BITS} bits")
        if (
            settings.server is not None
            and not is_loopback(settings.server)
            and self._guards.weakest_agent_bits < MIN_TOKEN_BITS
        ):
            mistakes.append(
                f"server.accept_tokens: beyond loopback agents need tokens of at least {MIN_TOKEN_BITS} bits "
                '(python3 -c "import secrets; print(secrets.token_urlsafe(32))" makes one)'
            )
        if self._guards_at_start is None:
            self._guards_at_start = self._guards
        elif mistakes:
            # a door that was locked stays locked: now nobody has a key until the configuration is mended
            self._guards = replace(self._guards, requests=self._guards_at_start.requests)
        if mistakes:
            raise ConfigError(mistakes)
        if insecure and not is_loopback(settings.control) and not self._guards.requests:
            log.warning("the control endpoint is open to everybody who can reach it (--insecure)")

    async def check(self, head: RequestHead, peer: Peer) -> Principal:
        """Who makes this request. Raises Unauthorized; a plugin that fails closes the door (PluginFailure)."""
        if not self._authenticators:
            return ANONYMOUS
        answer = await self._hooks.first(
            "prouter_authenticate_request", only=self._authenticators, head=head, peer=peer
        )
        if answer is None:
            if self._guards.requests:
                raise Unauthorized("credentials are needed: send Authorization: Bearer TOKEN or X-Prouter-Token")
            return ANONYMOUS
        return _principal(answer, "prouter_authenticate_request")

    async def check_agent(self, hello: Hello, peer: Peer) -> Principal:
        """Whether an agent that dialed in may. Raises Unauthorized."""
        answer = await self._hooks.first(
            "prouter_authenticate_agent", only=self._authenticators, hello=hello, peer=peer
        )
        if answer is None:
            raise Unauthorized("no authenticator knows this agent's credentials")
        return _principal(answer, "prouter_authenticate_agent")

    async def authorize(self, principal: Principal, action: str, resource: Resource) -> None:
        """Raises Forbidden with the reason of the plugin that refused."""
        if not self._hooks.implemented("prouter_authorize"):
            return
        refused = await self._hooks.veto("prouter_authorize", principal=principal, action=action, resource=resource)
        if refused is not None:
            trail = current.get()
            if trail is not None:
                log.info("%s is refused: %s", action, trail.objections())
            raise Forbidden(f"{action} is not allowed: {refused[1].reason}")


def _principal(answer: tuple[str, object], hook: str) -> Principal:
    plugin, value = answer
    if isinstance(value, Refusal):
        raise Unauthorized(value.reason)
    if isinstance(value, Principal):
        return value
    raise PluginFailure(plugin, hook, f"it answered {type(value).__name__} instead of a Principal")


def is_loopback(endpoint: Endpoint) -> bool:
    """Whether only this machine can reach an endpoint. A name other than localhost counts as reachable by others."""
    try:
        return ipaddress.ip_address(endpoint.interface).is_loopback
    except ValueError:
        return endpoint.interface == "localhost"
