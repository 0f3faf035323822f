"""Clients show a JSON Web Token of an identity provider; its scopes say what they may do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import jwt

from prouter import hookspecs, implements
from prouter.errors import ConfigError
from prouter.model.access import Guards, Peer, Principal, Refusal, Resource
from prouter.model.http import RequestHead
from prouter.model.plugin import ConfigSection
from prouter.model.services import Router
from prouter_jwt_auth.keys import KeyFile

NAME = "jwt_auth"
LEEWAY_SECONDS = 5
TEXT: dict[str, Any] = {"type": ["string", "null"], "default": None}
# With public keys only: with a shared secret in the file everybody who checks tokens could make them, too.
ALGORITHMS: dict[str, Any] = {
    "type": "array",
    "items": {"enum": ["RS256", "PS256", "ES256", "ES384", "EdDSA"]},
    "minItems": 1,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "keys_file": TEXT | {"description": "JWKS file with the provider's public keys; without it nobody is asked."},
    "issuer": TEXT | {"description": "What `iss` must be."},
    "audience": TEXT | {"description": "What must be among `aud`."},
    "algorithms": ALGORITHMS | {"default": ["RS256", "ES256"], "description": "Signatures that are accepted."},
    "look_every": {"type": "number", "minimum": 0.1, "default": 5, "description": "Seconds between looks at the file."},
    "claims": {"type": "array", "default": [], "description": "Claims that other plugins find beside sub and scopes."},
}
WHY = {
    jwt.ExpiredSignatureError: "it has expired",
    jwt.InvalidAudienceError: "it is for another audience",
    jwt.InvalidIssuerError: "it is of another issuer",
    jwt.InvalidKeyError: "it is signed with a key that is not known here",
}
"""In words of our own: PyJWT's may quote what was sent."""


class JwtAuth:
    """An authenticator for JWTs, Bearer or X-Prouter-Token, and a veto on what their scopes do not name."""

    prouter_api_version = 1
    _keys: KeyFile | None = None

    @implements(hookspecs.prouter_config_sections)
    def prouter_config_sections(self) -> Sequence[ConfigSection]:
        return [ConfigSection(NAME, SETTINGS)]

    @implements(hookspecs.prouter_startup)
    async def prouter_startup(self, router: Router) -> None:
        self._settings = settings = router.config.section(NAME)
        if settings["keys_file"] is None:
            return  # installed and not configured: it guards nothing and knows nobody
        if missing := [key for key in ("issuer", "audience") if not settings[key]]:
            raise ConfigError([f"{NAME}.{key}: it is needed beside keys_file" for key in missing])
        file, algorithms, look_every = (settings[key] for key in ("keys_file", "algorithms", "look_every"))
        self._keys = KeyFile(file, algorithms, look_every, lambda why: router.failed(NAME, why))
        try:
            await asyncio.to_thread(self._keys.read)
        except ValueError as error:
            raise ConfigError([f"{NAME}.keys_file: {error}"]) from error

    @implements(hookspecs.prouter_guards)
    def prouter_guards(self) -> Guards:
        return Guards(requests=self._keys is not None)

    @implements(hookspecs.prouter_authenticate_request)
    async def prouter_authenticate_request(self, head: RequestHead, peer: Peer) -> Principal | Refusal | None:
        header = "x-prouter-token" if head.get("x-prouter-token") else "authorization"
        words = (head.get(header) or "").split()
        if header == "authorization" and words[:1] and words.pop(0).lower() != "bearer":
            return None
        if self._keys is None or len(words) != 1 or words[0].count(".") != 2:
            return None  # no JWT: the next authenticator may know it
        if len(head.all(header)) > 1:
            return Refusal(f"there is more than one {header}")
        try:
            claims = await self._verified(self._keys, words[0])
        except jwt.MissingRequiredClaimError as error:
            return Refusal(f"the token is not valid: it has no {error.claim}")
        except jwt.PyJWTError as error:
            return Refusal(f"the token is not valid: {WHY.get(type(error), 'its form or signature is wrong')}")
        findings = {name: claims[name] for name in self._settings["claims"] if name in claims}
        findings |= {"sub": claims["sub"], "scopes": _scopes(claims)}
        return Principal(claims["sub"], NAME, used_headers=frozenset({header}), findings=findings)

    @implements(hookspecs.prouter_authorize)
    def prouter_authorize(self, principal: Principal, action: str, resource: Resource) -> Refusal | None:
        if principal.authenticator != NAME:
            return None
        proxied = action in ("job.proxy", "job.bridge")
        wanted = "prouter:" + ("proxy" if proxied else "read" if action.endswith(".read") else "write")
        return None if wanted in principal.findings["scopes"] else Refusal(f"the token lacks the scope {wanted!r}")

    async def _verified(self, keys: KeyFile, token: str) -> dict[str, Any]:
        """The claims. Raises jwt.PyJWTError. The token itself decides no more than which of our keys is tried."""
        key = await keys.key(str(jwt.get_unverified_header(token).get("kid")))
        if key is None:
            raise jwt.InvalidKeyError
        return jwt.decode(
            token,
            key,
            algorithms=[key.algorithm_name],
            audience=self._settings["audience"],
            issuer=self._settings["issuer"],
            leeway=LEEWAY_SECONDS,
            options={"require": ["exp", "iss", "aud", "sub"]},
        )


def _scopes(claims: dict[str, Any]) -> frozenset[str]:
    """`scope` as a text (RFC 8693 4.2), or `scp` as a list, as some providers have it."""
    found = claims.get("scope", claims.get("scp", ()))
    return frozenset(found.split() if isinstance(found, str) else map(str, found if isinstance(found, list) else ()))
