"""How programs of the originals start a router and find its endpoints."""

from __future__ import annotations

import aiohttp

from prouter.testing import eventually

TOKENS = ("0" * 31 + "a", "0" * 31 + "b")


async def test_tokens_are_a_list_among_the_words_and_the_control_endpoint_is_the_one_with_info(fleet) -> None:
    words = f'server.accept_tokens=["{TOKENS[0]}","{TOKENS[1]}"]'
    router = fleet.daemon("--connection-debug", "--set", words, "--set", "client.polling_delay=0.1")
    ports = [router.address(endpoint)[1] for endpoint in ("server", "control")]
    async with aiohttp.ClientSession() as session:
        found = []
        for port in ports:
            async with session.get(f"http://127.0.0.1:{port}/info") as answer:
                if answer.status != 404:
                    found.append((port, (await answer.json())["auth"]["uid"]))
        assert found == [(ports[1], router.uid)]

        async def agents() -> list[str]:
            async with session.get(f"http://127.0.0.1:{ports[1]}/connections") as answer:
                return sorted(each["peer"]["auth"]["uid"] for each in (await answer.json())["connections"])

        assert await agents() == []
        for uid, token in zip(("first", "second"), TOKENS, strict=True):
            dialing = ("client.enabled=True", f'client.address="127.0.0.1:{ports[0]}"', "client.reconnect_delay=1")
            fleet.agent(None, f'identity.uid="{uid}"', *dialing, environ={"PAGENT_CLIENT__TOKEN": token})

        async def both() -> bool:
            return await agents() == ["first", "second"]

        await eventually(both)
