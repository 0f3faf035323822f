"""All vectors of request smuggling as data: requests that other proxies read in two ways, and what may become of them.

Belongs here: bytes and verdicts. Does not: how they are sent and judged (test_smuggling.py, and for every split
test_exchange_machine.py).
"""

from __future__ import annotations

from smuggling_bodies import chunk_sizes, codings, lengths
from smuggling_forms import (
    CL,
    EMPTY_READ,
    HELLO_READ,
    HIDDEN,
    NO_CHUNKS,
    REFUSED,
    TE,
    Answered,
    Read,
    Refused,
    Vector,
    Verdict,
    line,
    request,
)


def lines() -> dict[str, tuple[bytes, Verdict]]:
    """Request lines and header lines that are none."""
    firsts = {
        "absolute form": b"GET http://<H><P>/x HTTP/1.1",
        "absolute form, elsewhere": b"GET http://elsewhere/ HTTP/1.1",
        "authority form": b"GET <H> HTTP/1.1",
        "CONNECT": b"CONNECT <H> HTTP/1.1",
        "CONNECT to a path": b"CONNECT <P>/x HTTP/1.1",
        "TRACE": b"TRACE <P>/x HTTP/1.1",
        "asterisk form of a GET": b"GET * HTTP/1.1",
        "a relative target": b"GET x HTTP/1.1",
        "small letters": b"get <P>/x HTTP/1.1",
        "one small letter": b"GEt <P>/x HTTP/1.1",
        "a verb that is no token": b"G(T <P>/x HTTP/1.1",
        "a verb of 8 bits": b"G\xc9T <P>/x HTTP/1.1",
        "no verb": b" <P>/x HTTP/1.1",
        "a space before": b" GET <P>/x HTTP/1.1",
        "two spaces": b"GET  <P>/x HTTP/1.1",
        "a tab for a space": b"GET\t<P>/x HTTP/1.1",
        "a tab behind the target": b"GET <P>/x\tHTTP/1.1",
        "a space in the target": b"GET <P>/x y HTTP/1.1",
        "a second version": b"GET <P>/x HTTP/1.1 HTTP/1.1",
        "a fragment": b"GET <P>/x#y HTTP/1.1",
        "8 bits in the target": b"GET <P>/\xe9 HTTP/1.1",
        "a NUL in the target": b"GET <P>/x\0 HTTP/1.1",
        "a bare CR in the target": b"GET <P>/x\rHTTP/1.1",
        "a bare LF in the target": b"GET <P>/x\ny HTTP/1.1",
        "DEL in the target": b"GET <P>/x\x7f HTTP/1.1",
        "no version": b"GET <P>/x",
        "HTTP/0.9": b"GET <P>/x HTTP/0.9",
        "HTTP/1.2": b"GET <P>/x HTTP/1.2",
        "HTTP/1.10": b"GET <P>/x HTTP/1.10",
        "HTTP/2.0": b"GET <P>/x HTTP/2.0",
        "HTTP/01.1": b"GET <P>/x HTTP/01.1",
        "http in small letters": b"GET <P>/x http/1.1",
        "a space behind the version": b"GET <P>/x HTTP/1.1 ",
        "a CR behind the version": b"GET <P>/x HTTP/1.1\r",
        "another protocol": b"GET <P>/x RTSP/1.1",
    }
    heads = {
        "no colon": b"X-Line",
        "an empty name": b": y",
        "a space in the name": b"X Y: z",
        "8 bits in the name of a line": b"X-\xe9: y",
        "a NUL in the value": b"X: y\0z",
        "a control character in the value": b"X: y\x01z",
        "DEL in the value": b"X: y\x7fz",
        "obs-fold": b"X: y\r\n z",
        "obs-fold with a tab": b"X: y\r\n\tz",
        "a line of one space": b"X: y\r\n \r\nY: z",
        "a bare CR before a line": b"X: y\r\rY: z",
        "a CR alone in place of a line's end": b"X: y\rGET <P>/hidden-<N> HTTP/1.1",
        "an empty line of LF": b"X: y\n\n" + HIDDEN,
        "LF CR for a line's end": b"X: y\n\rY: z",
        "a bracketed name": b"[X]: y",
    }
    found: dict[str, tuple[bytes, Verdict]] = {f"line: {name}": (line(text), REFUSED) for name, text in firsts.items()}
    found |= {f"header: {name}": (request(text, body=HIDDEN), REFUSED) for name, text in heads.items()}
    return found | {
        "LF for every CR LF": (b"GET <P>/x HTTP/1.1\nHost: <H>\n\n", REFUSED),
        "CR for every CR LF": (b"GET <P>/x HTTP/1.1\rHost: <H>\r\r", REFUSED),
        "LF before the request": (b"\n" + line(b"GET <P>/x HTTP/1.1"), REFUSED),
        "HTTP/2's preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", REFUSED),
        "PRI in HTTP/1.1": (line(b"PRI <P>/x HTTP/1.1"), REFUSED),
        "HTTP/0.9, nothing but a line": (b"GET <P>/x\r\n\r\n", REFUSED),
        "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", REFUSED),
        "empty lines before": (b"\r\n\r\n" + line(b"GET <P>/x HTTP/1.1"), Read((("GET /x", b""),))),
        "a verb nobody knows": (line(b"FROBNICATE <P>/x HTTP/1.1"), Read((("FROBNICATE /x", b""),))),
        "8 bits in a value": (request(b"X: \xe9\xff"), EMPTY_READ),
        "a line without a value": (request(b"X:", b"Y: \t "), EMPTY_READ),
        "asterisk form of OPTIONS": (line(b"OPTIONS * HTTP/1.1"), Answered()),
        "a target too long": (line(b"GET <P>/" + b"x" * 20_000 + b" HTTP/1.1"), Refused(414)),
        "a line too long": (request(b"X: " + b"y" * 70_000), Refused(431)),
        "as many lines as are taken": (request(*[b"X: y"] * 127), EMPTY_READ),
        "too many lines": (request(*[b"X: y"] * 200), Refused(431)),
    }


def hosts() -> dict[str, tuple[bytes, Verdict]]:
    bad = {
        "two, equal": b"Host: <H>\r\nHost: <H>",
        "two, different": b"Host: <H>\r\nHost: elsewhere",
        "none": b"X: y",
        "empty": b"Host:",
        "a list": b"Host: <H>, elsewhere",
        "with a path": b"Host: <H>/x",
        "with a query": b"Host: <H>?x",
        "with a name of a user": b"Host: user@<H>",
        "with a scheme": b"Host: http://<H>",
        "with a space": b"Host: <H> x",
        "with a port beyond all": b"Host: localhost:99999",
        "with a port of letters": b"Host: localhost:http",
        "with two ports": b"Host: localhost:80:80",
        "with half a bracket": b"Host: [::1",
        "a space before its colon": b"Host : <H>",
        "folded": b"Host:\r\n <H>",
        "with 8 bits": b"Host: \xe9",
        "with a NUL": b"Host: <H>\0",
        "a second one behind a bare CR": b"Host: <H>\rHost: elsewhere",
    }
    first = b"GET <P>/x HTTP/1.1"
    found: dict[str, tuple[bytes, Verdict]] = {
        f"Host: {name}": (request(first=first, host=text), REFUSED) for name, text in bad.items()
    }
    return found | {"Host: one that is not ours": (request(first=first, host=b"Host: elsewhere"), Answered())}


def connections() -> dict[str, tuple[bytes, Verdict]]:
    """What a connection becomes."""
    upgrade = (b"Connection: Upgrade", b"Upgrade: torture")
    settings = b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"
    get = b"GET <P>/x HTTP/1.1"
    return {
        "Upgrade with a length": (request(*upgrade, CL + b"5", body=b"hello" + HIDDEN), REFUSED),
        "Upgrade with chunks": (request(*upgrade, TE + b"chunked", body=NO_CHUNKS + HIDDEN), REFUSED),
        "Upgrade to h2c": (request(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", settings), REFUSED),
        "Upgrade to h2c, not named": (request(b"Upgrade: h2c"), REFUSED),
        "Upgrade to H2C among others": (request(b"Connection: upgrade", b"Upgrade: torture, H2C"), REFUSED),
        "Upgrade to HTTP/2.0": (request(b"Connection: Upgrade", b"Upgrade: HTTP/2.0"), REFUSED),
        "HTTP2-Settings alone": (request(settings), REFUSED),
        "Upgrade to one of two": (request(b"Connection: upgrade", b"Upgrade: a, b"), REFUSED),
        "Upgrade in two lines": (request(*upgrade, b"Upgrade: other"), REFUSED),
        "Upgrade in HTTP/1.0": (request(*upgrade, first=b"GET <P>/x HTTP/1.0"), REFUSED),
        "Upgrade that the job ignores, with requests behind": (
            request(*upgrade, first=get, body=HIDDEN),
            Read((("GET /x", b""), ("GET /hidden-<N>", b""))),
        ),
        "Upgrade that is not named": (
            request(b"Upgrade: torture", first=get),
            Read((("GET /x", b""),), never=b"upgrade:"),
        ),
        "Connection: close, with requests behind": (
            request(b"Connection: close", first=get, body=HIDDEN),
            Read((("GET /x", b""),), stays=False),
        ),
        "Connection: close among others": (
            request(b"Connection: x, CLOSE", first=get, body=HIDDEN),
            Read((("GET /x", b""),), stays=False),
        ),
        "HTTP/1.0, with requests behind": (
            request(first=b"GET <P>/x HTTP/1.0", body=HIDDEN),
            Read((("GET /x", b""),), stays=False),
        ),
        "HTTP/1.0 that is kept": (
            request(b"Connection: keep-alive", first=b"GET <P>/x HTTP/1.0"),
            Read((("GET /x", b""),)),
        ),
        "Proxy-Connection": (request(b"Proxy-Connection: close", first=get), Read((("GET /x", b""),), never=b"proxy-")),
        "TE for trailers and more": (
            request(b"Connection: TE", b"TE: trailers, chunked;q=0.5", first=get),
            Read((("GET /x", b""),), never=b"q=0.5"),
        ),
        "Expect": (request(b"Expect: 100-continue", CL + b"5", body=b"hello"), HELLO_READ),
        "Expect, with a comma": (request(b"Expect: 100-continue, x", CL + b"5", body=b"hello"), HELLO_READ),
        "Expect, another": (request(b"Expect: 200-ok", CL + b"5", body=b"hello"), HELLO_READ),
        "Expect with no body": (request(b"Expect: 100-continue", first=get), Read((("GET /x", b""),))),
        "Expect in HTTP/1.0": (
            request(b"Expect: 100-continue", CL + b"5", first=b"POST <P>/x HTTP/1.0", body=b"hello"),
            Read((("POST /x", b"hello"),), stays=False),
        ),
    }


VECTORS = [
    Vector(number, name, data, allowed)
    for number, (name, (data, allowed)) in enumerate(
        (codings() | lengths() | chunk_sizes() | lines() | hosts() | connections()).items()
    )
]
