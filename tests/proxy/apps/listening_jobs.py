"""Where an app listens: on what it is told in words (ports, paths of unix sockets), on the port of its environment, or
on a free one, which the agent is told of.
"""

from __future__ import annotations

import os
import socket
import sys
import urllib.request


def listening() -> socket.socket:
    given = os.environ.get("PORT")
    made = told(given or "0")
    if given is None:
        query = f"?job_id={os.environ['DA__PAGENT__JOB_ID']}&port={made.getsockname()[1]}"
        urllib.request.urlopen(os.environ["DA__PAGENT__JOB_ENDPOINT"] + query).close()
    return made


def listening_everywhere() -> list[socket.socket]:
    return [told(word) for word in sys.argv[1:]] or [listening()]


def told(word: str) -> socket.socket:
    if word.isdecimal():
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # else asyncio leaves Nagle on
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("127.0.0.1", int(word)))
    else:
        made = socket.socket(socket.AF_UNIX)
        made.bind(word)
    made.listen(128)
    return made
