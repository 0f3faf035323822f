"""Programs that serve in different ways, as texts for `python -c`."""

TCP = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = ("%s %s" % (NAME, self.path)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
"""
PLAIN = (
    TCP
    + """
NAME = "plain"
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
)
FREE = (
    TCP
    + """
NAME = "free"
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print("listens on", server.server_port, flush=True)
server.serve_forever()
"""
)
MUTE_AND_FREE = (
    TCP
    + """
import socket
NAME = "free"
mute = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler).serve_forever()
"""
)
UNIX = (
    TCP
    + """
import socketserver
NAME = "unix"
class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    def get_request(self):
        request, _ = super().get_request()
        return request, ("local", 0)
Server(sys.argv[1], Handler).serve_forever()
"""
)
TWO = (
    TCP
    + """
import os, threading
NAME = "ui"
class Api(Handler):
    def do_GET(self):
        global NAME
        NAME = "api"
        super().do_GET()
        NAME = "ui"
api = http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT_API"])), Api)
threading.Thread(target=api.serve_forever, daemon=True).start()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
)
SIX = (
    TCP
    + """
import os, socket, urllib.request
NAME = ""
class Shown(Handler):
    def do_GET(self):
        global NAME
        NAME = self.headers["Host"]
        super().do_GET()
class Six(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
beside = socket.socket()
beside.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
beside.bind(("127.0.0.1", int(sys.argv[1])))
server = Six(("::1", beside.getsockname()[1]), Shown)
if "DA__PAGENT__JOB_ENDPOINT" in os.environ:
    query = "?job_id=%s&port=%d" % (os.environ["DA__PAGENT__JOB_ID"], server.server_port)
    urllib.request.urlopen(os.environ["DA__PAGENT__JOB_ENDPOINT"] + query).read()
server.serve_forever()
"""
)
"""Listens on ::1 only; says which Host it was sent. The same number on 127.0.0.1 it keeps free for a stranger: without
that a connection of anybody may have it."""
NOT_YET = (
    TCP
    + """
import os, socketserver, urllib.request
NAME = "at last"
class Slow(Handler):
    def do_GET(self):
        if self.path == "/ready" and not os.path.exists("go"):
            open("asked", "w").close()
            self.send_error(503)
        else:
            super().do_GET()
class OnSocket(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    def get_request(self):
        request, _ = super().get_request()
        return request, ("local", 0)
if sys.argv[1].isdecimal():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Slow)
else:
    server = OnSocket(sys.argv[1], Slow)
if "DA__PAGENT__JOB_ENDPOINT" in os.environ:
    query = "?job_id=%s&port=%d" % (os.environ["DA__PAGENT__JOB_ID"], server.server_port)
    urllib.request.urlopen(os.environ["DA__PAGENT__JOB_ENDPOINT"] + query).read()
server.serve_forever()
"""
)
"""Its /ready is 503 until the file `go` is there."""
WITH_SOCKETS = """
import asyncio, os
from websockets.asyncio.server import serve
async def named(name, socket):
    await socket.send(name + " " + socket.request.path)
async def main():
    async with serve(lambda s: named("ui", s), "127.0.0.1", int(os.environ["PORT_UI"])), \
               serve(lambda s: named("http", s), "127.0.0.1", int(os.environ["PORT_HTTP"])):
        await asyncio.Future()
asyncio.run(main())
"""
ON_ANOTHER_ADDRESS = """
import socket, sys, time
beside = socket.socket()
beside.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
beside.bind(("127.0.0.1", int(sys.argv[1])))
other = socket.create_server(("127.0.0.2", int(sys.argv[1])))
print("I am elsewhere", flush=True)
open("port", "w").write(sys.argv[1])
time.sleep(600)
"""
MANY = """
import socket, time
others = [socket.create_server(("127.0.0.1", 0)) for _ in range(30)]
time.sleep(600)
"""
ELSEWHERE = """
import socket, time
other = socket.create_server(("127.0.0.1", 0))
print("I am elsewhere", flush=True)
time.sleep(600)
"""
SILENT = """
import time
print("I do not serve", flush=True)
time.sleep(600)
"""
BRIEF = """
print("bad configuration", flush=True)
raise SystemExit(3)
"""
