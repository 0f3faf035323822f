"""Where an app listens: on the port that it was given; without one on a free port, which the agent is told of."""

from __future__ import annotations

import os
import socket
import urllib.request


def listening() -> socket.socket:
    given = os.environ.get("PORT")
    made = socket.create_server(("127.0.0.1", int(given or 0)))
    if given is None:
        query = f"?job_id={os.environ['DA__PAGENT__JOB_ID']}&port={made.getsockname()[1]}"
        urllib.request.urlopen(os.environ["DA__PAGENT__JOB_ENDPOINT"] + query).close()
    return made
