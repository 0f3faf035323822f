"""Secrets do not show, and how many bits a token can hold."""

from __future__ import annotations

import secrets

import pytest

from prouter.model.access import MIN_TOKEN_BITS, Secret, any_matches, token_bits


def test_a_secret_shows_as_stars_only() -> None:
    secret = Secret("hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {[secret]}"
    assert secret.reveal() == "hunter2"


def test_any_of_several_secrets_matches() -> None:
    kept = (Secret("one"), Secret("two"))
    assert any_matches(kept, "two")
    assert not any_matches(kept, "three")
    assert not any_matches((), "")


@pytest.mark.parametrize("make", [lambda: secrets.token_hex(16), lambda: secrets.token_urlsafe(32)])
def test_a_token_of_128_random_bits_is_strong_enough(make: object) -> None:
    for _ in range(200):
        assert token_bits(make()) >= MIN_TOKEN_BITS  # type: ignore[operator]


@pytest.mark.parametrize("token", ["", "default", "secret", "1234567890", "a" * 64, "abab" * 20, "password123456"])
def test_a_weak_token_is_told(token: str) -> None:
    assert token_bits(token) < MIN_TOKEN_BITS
