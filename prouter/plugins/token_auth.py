"""Tokens: `server.accept_tokens` for agents that dial in, `control.tokens` for clients. In the configuration or files.

A client sends `Authorization: Bearer TOKEN` or `X-Prouter-Token: TOKEN`; the header that authenticated is taken off
before a job sees the request, so that a job may have an Authorization of its own beside our X-Prouter-Token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prouter import hookimpl
from prouter.errors import ConfigError
from prouter.model.access import Guards, Peer, Principal, Refusal, Secret, any_matches, token_bits
from prouter.model.agents import Hello
from prouter.model.http import RequestHead
from prouter.model.plugin import ConfigSection
from prouter.model.reload import TakeOver
from prouter.model.services import Config, Router

NAME = "token_auth"
_TOKENS = {
    "type": "array",
    "items": {"type": "string", "minLength": 1},
    "default": [],
    "writeOnly": True,
}
_FILE = {"type": ["string", "null"], "default": None}


@dataclass(frozen=True, slots=True)
class _Tokens:
    """All of them, as one value that is swapped whole."""

    agents: tuple[Secret, ...] = ()
    clients: tuple[Secret, ...] = ()

    @classmethod
    def read(cls, config: Config) -> _Tokens:
        """Raises ConfigError."""
        return cls(
            agents=_tokens(config.section("server"), "accept_tokens", "server"),
            clients=_tokens(config.section("control"), "tokens", "control"),
        )

    def guards(self) -> Guards:
        return Guards(
            requests=bool(self.clients),
            agents=bool(self.agents),
            weakest_request_bits=_weakest(self.clients),
            weakest_agent_bits=_weakest(self.agents),
            lasting=True,
            reads=frozenset(("authorization", "x-prouter-token")),
        )


class TokenAuth:
    """Plugin `token_auth`."""

    def __init__(self) -> None:
        self._tokens = _Tokens()

    @hookimpl
    def prouter_config_sections(self) -> Sequence[ConfigSection]:
        return [
            ConfigSection(
                "server",
                {
                    "accept_tokens": _TOKENS | {"description": "List of valid client tokens."},
                    "accept_tokens_file": _FILE | {"description": "File with further tokens of agents, one a line."},
                },
            ),
            ConfigSection(
                "control",
                {
                    "tokens": _TOKENS | {"description": "Tokens of which a client must send one; none: no check."},
                    "tokens_file": _FILE | {"description": "File with further tokens of clients, one a line."},
                },
            ),
        ]

    @hookimpl
    def prouter_startup(self, router: Router) -> None:
        self._tokens = _Tokens.read(router.config)

    @hookimpl
    def prouter_reload(self, config: Config) -> TakeOver:
        fresh = _Tokens.read(config)

        def apply() -> None:
            self._tokens = fresh

        return TakeOver(("server.accept_tokens", "control.tokens"), apply, fresh.guards())

    @hookimpl
    def prouter_guards(self) -> Guards:
        return self._tokens.guards()

    @hookimpl
    def prouter_authenticate_agent(self, hello: Hello, peer: Peer) -> Principal | Refusal | None:
        if hello.token and any_matches(self._tokens.agents, hello.token):
            return Principal(hello.uid, NAME)
        return Refusal("the token is not one of server.accept_tokens")

    @hookimpl
    def prouter_authenticate_request(self, head: RequestHead, peer: Peer) -> Principal | Refusal | None:
        if not self._tokens.clients:
            return None
        own = head.all("x-prouter-token")
        if own:
            if len(own) == 1 and any_matches(self._tokens.clients, own[0].strip()):
                return Principal("client", NAME, frozenset(("x-prouter-token",)))
            return Refusal("the token in X-Prouter-Token is not valid")
        scheme, _, offered = (head.get("authorization") or "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        if len(head.all("authorization")) == 1 and any_matches(self._tokens.clients, offered.strip()):
            return Principal("client", NAME, frozenset(("authorization",)))
        return Refusal("the token in Authorization is not valid")


def _tokens(section: Mapping[str, Any], key: str, where: str) -> tuple[Secret, ...]:
    """Those in the configuration and those in the file. Raises ConfigError for blank tokens and unreadable files."""
    found = [str(token) for token in section[key]]
    if any(not token.strip() or token != token.strip() for token in found):
        raise ConfigError([f"{where}.{key}: a token may not be blank or begin or end with a space"])
    path = section[f"{key}_file"]
    if path:
        try:
            lines = Path(path).expanduser().read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise ConfigError([f"{where}.{key}_file: {path} can not be read: {why}"]) from None
        fresh = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
        if not fresh:
            raise ConfigError([f"{where}.{key}_file: {path} holds no token"])
        found += fresh
    return tuple(Secret(token) for token in found)


def _weakest(tokens: Sequence[Secret]) -> float:
    return min((token_bits(token.reveal()) for token in tokens), default=0.0)
