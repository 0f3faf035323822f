"""One request with exactly these lines, as no library would send it, and the status and body that come back."""

from __future__ import annotations

import json
import socket
from typing import Any


def ask(address: tuple[str, int], verb: str, path: str, *lines: str, body: str = "", host: str = "localhost") -> Answer:
    head = [f"{verb} {path} HTTP/1.1", f"Host: {host}", "Connection: close", *lines]
    if body:
        head.append(f"Content-Length: {len(body)}")
    with socket.create_connection(address, 20) as connection:
        connection.sendall(("\r\n".join(head) + "\r\n\r\n" + body).encode("latin-1"))
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    top, _, rest = received.partition(b"\r\n\r\n")
    return Answer(top.decode("latin-1"), rest)


class Answer:
    """Head and body as they came."""

    def __init__(self, head: str, body: bytes) -> None:
        self.head = head
        self.body = body
        self.status = int(head.split()[1])

    @property
    def problem(self) -> dict[str, Any]:
        assert "application/problem+json" in self.head
        found: dict[str, Any] = json.loads(self.body)
        return found

    def header(self, name: str) -> str:
        for line in self.head.split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name.lower():
                return value.strip()
        return ""
