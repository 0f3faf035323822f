"""How many requests each job was asked is in its JobInfo, whichever way they went through the router."""

from __future__ import annotations

from prouter.model.ids import JobUid
from prouter.model.traffic import MOST_JOBS, Traffic
from prouter.testing import eventually
from prouter.testing.fleet import Fleet, serving_job

SERVER = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    do_POST = do_GET
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


async def test_requests_are_counted_for_each_job(fleet: Fleet) -> None:
    """Alike ones, which take the short way, ones with a body, which do not, and none of the API's."""
    router, agent = await fleet.pair()
    async with router.client() as client:
        alike, others, idle = [await serving_job(client, agent, SERVER, name) for name in ("alike", "others", "idle")]
        for number in range(20):
            async with client.session.get(alike.url(str(number))) as answer:
                assert await answer.read() == b"ok"
        for _ in range(3):
            async with client.session.post(others.url(), data=b"body") as answer:
                assert await answer.read() == b"ok"
        await idle.refresh()

        async def counted() -> bool:
            jobs = {job.info["name"]: job.info["activity"]["requests"] for job in await client.jobs()}
            assert jobs == {"alike": 20, "others": 3, "idle": 0}
            return True

        await eventually(counted)


def test_counts_of_jobs_do_not_grow_for_ever() -> None:
    traffic = Traffic()
    for number in range(MOST_JOBS + 10):
        traffic.finished("proxy", 200, 0.0, 0, 0, JobUid(str(number)))
    assert len(traffic.by_job) == MOST_JOBS
    assert JobUid("9") not in traffic.by_job
    assert traffic.by_job[JobUid("10")] == 1
