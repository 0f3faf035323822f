"""The one gate: who makes a request, and may they. Serves the API, proxied requests and Websockets alike."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from prouter.core.settings import Endpoint, RouterSettings
from prouter.errors import ConfigError, Forbidden, PluginFailure, Unauthorized
from prouter.model.access import ANONYMOUS, MIN_TOKEN_BITS, Guards, Peer, Principal, Refusal, Resource
from prouter.model.agents import Hello
from prouter.model.http import RequestHead
from prouter.model.proxying import Bridge
from prouter.model.trail import current
from prouter.pluginkit.calling import Hooks

log = logging.getLogger(__name__)


class Access:
    """Asks the authenticators named in the configuration, and every plugin that may veto."""

    def __init__(self, hooks: Hooks, settings: RouterSettings, *, insecure: bool) -> None:
        self._hooks = hooks
        self._settings = settings
        """With which the router started: the doors that really listen, and who checks at them."""
        self._authenticators = settings.authenticators
        self._insecure = insecure
        self.guards = Guards()
        """What is guarded: another value whenever that was read again."""

    def read_guards(self) -> None:
        """At the start: learn what the authenticators guard. Raises ConfigError where a door would be open."""
        self.take_guards(self.judged(self._settings, {}))

    def judged(self, settings: RouterSettings, changed: Mapping[str, Guards]) -> Guards:
        """What the authenticators will guard once `changed`, by plugin, is in force. Nothing changes by asking.

        Raises ConfigError where nobody would guard a door that others can reach: one that listens, whatever was
        written of its interface since, and one that a start with `settings` would open.
        """
        told = {name: guards for name, guards in self._hooks.collect("prouter_guards") if isinstance(guards, Guards)}
        told.update(changed)
        guards = self._together(told, self._authenticators)
        mistakes = self._open_doors(self._settings, guards)
        if settings is not self._settings:
            mistakes += self._open_doors(settings, self._together(told, settings.authenticators))
        if mistakes:
            raise ConfigError(list(dict.fromkeys(mistakes)))
        return guards

    def take_guards(self, guards: Guards) -> None:
        """From now on these are in force."""
        self.guards = guards
        if self._settings.server is not None and not self._asked("prouter_authenticate_agent"):
            log.warning("no agent can come in: none of access.authenticators knows agents (token_auth does)")
        if self._insecure and not is_loopback(self._settings.control) and not guards.requests:
            log.warning("the control endpoint is open to everybody who can reach it (--insecure)")

    def _open_doors(self, settings: RouterSettings, guards: Guards) -> list[str]:
        mistakes = []
        if not self._insecure and not is_loopback(settings.control):
            if not guards.requests:
                mistakes.append(
                    f"control.interface: {settings.control.interface} can be reached by others, and nobody checks who "
                    "asks; configure an authenticator (control.tokens) or start with --insecure"
                )
            elif guards.weakest_request_bits < MIN_TOKEN_BITS:
                mistakes.append(f"control.tokens: a token beyond loopback needs at least {MIN_TOKEN_BITS} bits")
        if (
            settings.server is not None
            and not is_loopback(settings.server)
            and guards.weakest_agent_bits < MIN_TOKEN_BITS
        ):
            mistakes.append(
                f"server.accept_tokens: beyond loopback agents need tokens of at least {MIN_TOKEN_BITS} bits "
                '(python3 -c "import secrets; print(secrets.token_urlsafe(32))" makes one)'
            )
        return mistakes

    def _together(self, told: Mapping[str, Guards], authenticators: Sequence[str]) -> Guards:
        """What those guard that are named."""
        found = [guards for name, guards in told.items() if name in authenticators]
        asked = self._asked("prouter_authenticate_request", authenticators)
        return Guards(
            requests=any(g.requests for g in found),
            agents=any(g.agents for g in found),
            weakest_request_bits=min((g.weakest_request_bits for g in found if g.requests), default=0.0),
            weakest_agent_bits=min((g.weakest_agent_bits for g in found if g.agents), default=0.0),
            lasting=all(name in told and told[name].lasting for name in asked),
            reads=_all_of([told[name].reads if name in told else None for name in asked]),
        )

    def _asked(self, hook: str, authenticators: Sequence[str] | None = None) -> list[str]:
        """Which of the authenticators are asked that."""
        named = self._authenticators if authenticators is None else authenticators
        return [name for name in self._hooks.plugins(hook) if name in named]

    def lasting(self) -> Guards | None:
        """Not None: what was found about a request and allowed to it holds for those like it, for as long as this is
        the same value. Whether it may is asked of each (`judge`)."""
        undecided = self._hooks.implemented("prouter_principal")
        return self.guards if self.guards.lasting and not undecided else None

    def judge(self, principal: Principal, action: str, resource: Resource) -> Callable[[], Awaitable[None]] | None:
        """`authorize` with these; None where nobody wants to be asked."""
        asked = self._hooks.implemented("prouter_authorize")
        return partial(self.authorize, principal, action, resource) if asked else None

    async def check(self, head: RequestHead, peer: Peer) -> Principal:
        """Who makes this request, and what plugins know of him. Raises Unauthorized; a plugin that fails closes the
        door (PluginFailure)."""
        principal = ANONYMOUS
        if self._authenticators:
            asked = "prouter_authenticate_request"
            answer = await self._hooks.first(asked, only=self._authenticators, head=head, peer=peer)
            if answer is not None:
                principal = _principal(answer, asked)
            elif self.guards.requests:
                raise Unauthorized(_needed(self._authenticators))
        if not self._hooks.implemented("prouter_principal"):
            return principal
        known: Principal = await self._hooks.chain("prouter_principal", principal=principal, head=head)
        return replace(
            known,
            authenticator=principal.authenticator,
            used_headers=principal.used_headers,
            used_cookies=principal.used_cookies,
        )

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

    async def may_bridge(self, bridge: Bridge, principal: Principal) -> None:
        """Raises Forbidden with the reason of the plugin that refused."""
        if not self._hooks.implemented("prouter_bridge_open"):
            return
        refused = await self._hooks.veto("prouter_bridge_open", bridge=bridge, principal=principal)
        if refused is not None:
            raise Forbidden(f"this bridge is not allowed: {refused[1].reason}")


def _needed(authenticators: Sequence[str]) -> str:
    needed = "credentials are needed: send Authorization: Bearer TOKEN or X-Prouter-Token"
    others = any(name != "token_auth" for name in authenticators)
    return f"{needed}, or what this router's other authenticators take" if others else needed


def _principal(answer: tuple[str, object], hook: str) -> Principal:
    plugin, value = answer
    if isinstance(value, Refusal):
        raise Unauthorized(value.reason)
    if isinstance(value, Principal):
        return value if value.authenticator == plugin else replace(value, authenticator=plugin)
    raise PluginFailure(plugin, hook, f"it answered {type(value).__name__} instead of a Principal")


def _all_of(reads: Sequence[frozenset[str] | None]) -> frozenset[str] | None:
    """None as soon as one may read anything."""
    named = [names for names in reads if names is not None]
    return frozenset().union(*named) if len(named) == len(reads) else None


def is_loopback(endpoint: Endpoint) -> bool:
    """Whether only this machine can reach an endpoint. A name other than localhost counts as reachable by others."""
    try:
        return ipaddress.ip_address(endpoint.interface).is_loopback
    except ValueError:
        return endpoint.interface == "localhost"
