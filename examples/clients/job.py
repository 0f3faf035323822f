"""The main job with Python's standard library alone. Usage: python3 job.py http://127.0.0.1:8080"""

from __future__ import annotations

import json
import sys
import urllib.request
from typing import Any

PROGRAM = b"""
import sys
numbers = [int(line) for line in open("numbers.txt")]
print("adding", len(numbers), "numbers")
open("sum.txt", "w").write(str(sum(numbers)))
"""


def call(url: str, verb: str = "GET", body: Any = None, raw: bytes | None = None) -> bytes:
    """One request; JSON or bytes up, bytes down. An error's explanation is in the answer's body."""
    data = raw if raw is not None else json.dumps(body).encode() if body is not None else None
    kind = "application/octet-stream" if raw is not None else "application/json"
    request = urllib.request.Request(url, data, {"Content-Type": kind}, method=verb)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{verb} {url}: {json.loads(error.read())['detail']}") from None


def main(router: str) -> None:
    agent = json.loads(call(f"{router}/agents"))["agents"][0]["uid"]
    job = json.loads(call(f"{router}/jobs/create", "POST", {"agent": {"type": "uid", "uid": agent}, "name": "sum"}))
    path = router + job["path"]
    call(f"{path}/file/program.py", "POST", raw=PROGRAM)
    call(f"{path}/file/numbers.txt", "POST", raw=b"\n".join(b"%d" % number for number in range(100)))
    call(f"{path}/start", "POST", {"args": ["python3", "program.py"], "port_expected_count": 0})
    ended = json.loads(call(f"{path}/wait", "POST"))
    print("it ended:", ended["reason"], ended["exit_code"])
    print("it said:", call(f"{path}/output").decode().strip())
    print("the sum:", call(f"{path}/file/sum.txt").decode())
    call(f"{path}/remove", "POST")


if __name__ == "__main__":
    main(sys.argv[1].rstrip("/"))
