"""The methods that we offer to the peer of a link.

Belongs here: the registry. Does not: running a method (connection.py) and what methods do (agent/, plugins). Made by
the agent's wiring; a router offers none.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prouter.errors import InvalidRequest, LocalProtocolError
from prouter.rpc.messages import CallType

MethodFunction = Callable[..., Awaitable[Any]]
"""`async def method(context: CallContext, *args, **kwargs)`: what it returns is the call's result."""


@dataclass(frozen=True, slots=True)
class Method:
    name: str
    call_type: CallType
    function: MethodFunction
    signature: inspect.Signature

    def check_arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Raises `InvalidRequest` when the function does not take these. `None` stands for the context."""
        try:
            self.signature.bind(None, *args, **kwargs)
        except TypeError as error:
            raise InvalidRequest(f"wrong arguments for {self.name!r}: {error}") from error


class Methods:
    """Methods by name."""

    def __init__(self) -> None:
        self._methods: dict[str, Method] = {}

    def add(self, name: str, function: MethodFunction, call_type: CallType = CallType.UNARY) -> None:
        """Offer a method. Its call type must be the caller's. Raises `LocalProtocolError` for a name that is taken."""
        if name in self._methods:
            raise LocalProtocolError(f"two methods have the name {name!r}")
        self._methods[name] = Method(name, call_type, function, inspect.signature(function))

    def get(self, name: str, call_type: CallType) -> Method | None:
        """The method, if there is one of this name and call type."""
        method = self._methods.get(name)
        return method if method is not None and method.call_type is call_type else None

    def __iter__(self) -> Iterator[str]:
        return iter(self._methods)

    def __len__(self) -> int:
        return len(self._methods)
