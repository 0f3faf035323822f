"""What an error of the client says: the status, and the router's words once."""

from __future__ import annotations

import pytest

from prouter.client.client import RequestFailed


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        ({"title": "Not allowed", "detail": "guests may only look"}, "403 Not allowed: guests may only look"),
        ({"title": "Invalid request", "detail": "Invalid request: /agent: no"}, "403 Invalid request: /agent: no"),
        ({"title": "Not allowed"}, "403 Not allowed: "),
        ({"detail": "no title"}, "403 : no title"),
        ({}, "403 : "),
    ],
)
def test_a_title_is_said_once(problem: dict[str, str], said: str) -> None:
    assert str(RequestFailed(403, problem)) == said
