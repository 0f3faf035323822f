"""Tokens of a small identity provider of our own, against a live router, its agent and a job there."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from prouter.client import Client, RequestFailed
from prouter.errors import ConfigError
from prouter.testing import AnyAgent, AnyRouter, InProcess, RouterHere, Setup, assert_contract, eventually
from prouter.testing.contracts import samples

ISSUER, AUDIENCE = "https://id.example.org", "prouter"
SHOWS_HEADERS = """
import http.server, json, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(list(self.headers.items())).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


class Provider:
    """Signs tokens; its public keys are in a JWKS file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.keys: dict[str, Any] = {}

    def new_key(self, kid: str, *, published: bool = True) -> None:
        self.keys[kid] = ec.generate_private_key(ec.SECP256R1())
        if published:
            self.publish()

    def publish(self, *, without: str = "") -> None:
        self.keys.pop(without, None)
        public = [
            ECAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": kid, "use": "sig"}
            for kid, key in self.keys.items()
        ]
        self.file.write_text(json.dumps({"keys": public}))

    def token(self, scope: str = "", kid: str = "one", **claims: Any) -> str:
        now = int(time.time())
        told = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "iat": now, "exp": now + 60, "scope": scope} | claims
        told = {name: value for name, value in told.items() if value is not None}
        return jwt.encode(told, self.keys[kid], "ES256", headers={"kid": kid})


@pytest.fixture
def provider(tmp_path: Path) -> Provider:
    made = Provider(tmp_path / "keys.json")
    made.new_key("one")
    return made


def settings(provider: Provider) -> list[str]:
    return [
        "access.authenticators=['jwt_auth', 'token_auth']",
        f"jwt_auth.keys_file={str(provider.file)!r}",
        f"jwt_auth.issuer={ISSUER!r}",
        f"jwt_auth.audience={AUDIENCE!r}",
        "jwt_auth.look_every=0.1",
        "jwt_auth.claims=['team']",
    ]


@pytest.fixture
def prouter_setup(provider: Provider) -> Setup:
    return Setup(settings=settings(provider))


async def status(router: AnyRouter, token: str, verb: str = "GET", path: str = "/jobs", **more: Any) -> tuple[int, str]:
    """And what the router says of it."""
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession() as session,
        session.request(verb, router.url() + path, headers=headers, **more) as answer,
    ):
        return answer.status, str((await answer.json()).get("detail", ""))


async def test_a_token_of_the_provider_opens_the_door(router: AnyRouter, provider: Provider) -> None:
    assert (await status(router, provider.token("openid prouter:read")))[0] == 200
    assert (await status(router, provider.token(None, scp=["prouter:read"])))[0] == 200
    assert (await status(router, ""))[0] == 401


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"exp": 1}, "it has expired"),
    ({"exp": None}, "it has no exp"),
    ({"iss": "https://else.example.org"}, "it is of another issuer"),
    ({"iss": None}, "it has no iss"),
    ({"aud": "mail"}, "it is for another audience"),
    ({"aud": None}, "it has no aud"),
    ({"sub": None}, "it has no sub"),
    ({"nbf": int(time.time()) + 3600}, "its form or signature is wrong"),
]


async def test_wrong_claims_are_refused(router: AnyRouter, provider: Provider) -> None:
    for claims, why in WRONG:
        assert await status(router, provider.token("prouter:read", **claims)) == (401, f"the token is not valid: {why}")


async def test_forged_tokens_are_refused(router: AnyRouter, provider: Provider) -> None:
    good = provider.token("prouter:read")
    head, body, _ = good.split(".")
    claims = jwt.decode(good, options={"verify_signature": False})
    public = json.loads(provider.file.read_text())["keys"][0]["x"]
    strange = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    forged = {
        "by the public key as a shared secret": jwt.encode(claims, public * 2, "HS256", headers={"kid": "one"}),
        "not signed": jwt.encode(claims, None, "none", headers={"kid": "one"}),
        "by somebody else": jwt.encode(claims, strange, "RS256", headers={"kid": "one"}),
        "without a kid": jwt.encode(claims, provider.keys["one"], "ES256"),
        "cut": f"{head}.{body}.",
        "nonsense": "a.b.c",
    }
    for what, token in forged.items():
        assert (await status(router, token))[0] == 401, what


async def test_scopes_say_what_it_may_do(router: AnyRouter, agent: AnyAgent, provider: Provider) -> None:
    token = provider.token("prouter:read prouter:write prouter:proxy")
    async with Client(router.url(), token) as client:
        job = await client.create({"type": "uid", "uid": agent.uid}, "job")
        await job.start([sys.executable, "-c", SHOWS_HEADERS], port={"mode": "assign"})
    mkdir = {"json": {"mkdir": "d"}}
    for scope, allowed in (("read", [200, 403, 403]), ("write", [403, 200, 403]), ("proxy", [403, 403, 200])):
        token = provider.token(f"prouter:{scope}")
        read = await status(router, token, "GET", f"{job.path}/info")
        wrote = await status(router, token, "POST", f"{job.path}/files", **mkdir)
        reached = await proxied(job.url(), token)
        found = [read, wrote, reached]
        assert [status for status, _ in found] == allowed, scope
        assert all("lacks the scope" in told for status, told in found if status == 403)


async def proxied(url: str, token: str, **headers: str) -> tuple[int, str]:
    headers |= {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        return answer.status, await answer.text()


async def test_the_job_does_not_see_the_token(router: AnyRouter, agent: AnyAgent, provider: Provider) -> None:
    token = provider.token("prouter:write prouter:proxy")
    async with Client(router.url(), token) as client:
        job = await client.create({"type": "uid", "uid": agent.uid}, "job")
        await job.start([sys.executable, "-c", SHOWS_HEADERS], port={"mode": "assign"})
        seen = await proxied(job.url(), token, **{"X-Mine": "1"})
    assert seen[0] == 200
    names = [name.lower() for name, _ in json.loads(seen[1])]
    assert "x-mine" in names
    assert "authorization" not in names


async def test_keys_are_rotated_while_the_router_runs(router: AnyRouter, provider: Provider) -> None:
    old = provider.token("prouter:read")
    provider.new_key("two", published=False)
    new = provider.token("prouter:read", kid="two")
    assert (await status(router, new))[1] == "the token is not valid: it is signed with a key that is not known here"
    provider.publish()

    async def answers(token: str, wanted: int) -> bool:
        return (await status(router, token))[0] == wanted

    await eventually(lambda: answers(new, 200))
    assert await answers(old, 200)
    provider.publish(without="one")
    await eventually(lambda: answers(old, 401))
    assert await answers(new, 200)


async def test_a_broken_file_leaves_the_keys_as_they_were(router: AnyRouter, provider: Provider) -> None:
    whole = provider.file.read_text()
    provider.file.write_text(whole[: len(whole) // 2])

    async def noticed() -> bool:
        assert (await status(router, provider.token("prouter:read")))[0] == 200
        return "the keys stay as they were" in router.log

    await eventually(noticed)
    provider.file.unlink()
    assert (await status(router, provider.token("prouter:read")))[0] == 200


async def test_other_plugins_find_the_claims(in_process: InProcess, provider: Provider) -> None:
    from prouter import hookspecs, implements
    from prouter.model.access import Principal, Refusal, Resource

    seen: list[dict[str, Any]] = []

    class Watcher:
        @implements(hookspecs.prouter_authorize)
        def prouter_authorize(self, principal: Principal, action: str, resource: Resource) -> Refusal | None:
            seen.append(dict(principal.findings))
            return None

    router = await in_process.router(*settings(provider), plugins=[Watcher])
    assert (await status(router, provider.token("prouter:read", team="red", email="ada@example.org")))[0] == 200
    assert seen == [{"sub": "ada", "team": "red", "scopes": frozenset({"prouter:read"})}]


RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
USELESS = {
    None: "can not be read as a set of keys (FileNotFoundError)",
    "{": "can not be read as a set of keys (JSONDecodeError)",
    '{"keys": []}': "can not be read as a set of keys (PyJWKSetError)",
    json.dumps({"keys": [RSAAlgorithm.to_jwk(RSA, as_dict=True) | {"kid": "one"}]}): "no key with a kid for ES256",
}


async def test_a_file_without_keys_is_a_wrong_configuration(in_process: InProcess, provider: Provider) -> None:
    for content, why in USELESS.items():
        provider.file.unlink(missing_ok=True)
        if content is not None:
            provider.file.write_text(content)
        with pytest.raises(ConfigError, match="jwt_auth") as told:
            await in_process.router(*settings(provider), "jwt_auth.algorithms=['ES256']")
        assert why in str(told.value)


async def test_other_tokens_are_left_to_others(in_process: InProcess, provider: Provider) -> None:
    router = await in_process.router(*settings(provider), "control.tokens=['of-the-house']")
    async with router.client("of-the-house") as client:
        await client.request("GET", "/jobs")
        with pytest.raises(RequestFailed):
            await client.create({"type": "uid", "uid": "nobody"}, "job")


async def test_it_keeps_the_contract_of_authenticators(router: RouterHere, provider: Provider) -> None:
    good, old = provider.token("prouter:read"), provider.token("prouter:read", exp=1)
    await assert_contract(
        router.plugin("jwt_auth"),
        "authenticator",
        right=[samples.a_head(authorization=f"Bearer {good}"), samples.a_head(x_prouter_token=good)],
        wrong=[samples.a_head(authorization=f"Bearer {old}"), samples.a_head(x_prouter_token="a.b.c")],
        foreign=[samples.a_head(authorization="Bearer plain"), samples.a_head(authorization="Basic YTpi")],
    )
