"""The ready file: where a daemon listens, written atomically once it does, so that scripts need not parse a log."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prouter.errors import StartupError


def url_of(host: str, port: int) -> str:
    """http://HOST:PORT, an IPv6 address in brackets."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def ready_document(uid: str, endpoints: Mapping[str, tuple[str, int]]) -> dict[str, Any]:
    """{"pid", "uid", ENDPOINT: {"host", "port", "url"}, ...}."""
    shown = {name: {"host": host, "port": port, "url": url_of(host, port)} for name, (host, port) in endpoints.items()}
    return {"pid": os.getpid(), "uid": uid, **shown}


def write_ready_file(path: Path, document: Mapping[str, Any]) -> None:
    """Raises StartupError when it can not be written."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        fresh.write_text(json.dumps(document) + "\n", "utf-8")
        fresh.replace(path)
    except OSError as error:
        raise StartupError(f"the ready file {path} can not be written: {error.strerror}") from None
