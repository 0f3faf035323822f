"""Vectors of request smuggling: where a body ends."""

from __future__ import annotations

from smuggling_forms import (
    BROKEN,
    CHUNKED_READ,
    CL,
    HELLO_READ,
    HIDDEN,
    NO_CHUNKS,
    ONE_CHUNK,
    REFUSED,
    TE,
    Read,
    Verdict,
    chunks,
    request,
)


def codings() -> dict[str, tuple[bytes, Verdict]]:
    """Transfer-Encoding in all its spellings."""
    te = lambda value, *more: request(TE + value, *more, body=NO_CHUNKS + HIDDEN)  # noqa: E731
    odd = lambda *lines: request(*lines, CL + b"5", body=NO_CHUNKS + HIDDEN)  # noqa: E731
    return {
        "a length, then chunked": (request(CL + b"5", TE + b"chunked", body=NO_CHUNKS + HIDDEN), REFUSED),
        "chunked, then a length": (te(b"chunked", CL + b"5"), REFUSED),
        "chunked, and a length of 0": (te(b"chunked", CL + b"0"), REFUSED),
        "chunked in two lines": (te(b"chunked", TE + b"chunked"), REFUSED),
        "chunked and identity in two lines": (te(b"chunked", TE + b"identity"), REFUSED),
        "chunked twice": (te(b"chunked, chunked"), REFUSED),
        "gzip, chunked": (te(b"gzip, chunked"), REFUSED),
        "chunked, gzip": (te(b"chunked, gzip"), REFUSED),
        "chunked, identity": (te(b"chunked, identity"), REFUSED),
        "identity": (te(b"identity"), REFUSED),
        "identity beside a length": (te(b"identity", CL + b"5"), REFUSED),
        "a coding nobody knows": (te(b"xchunked"), REFUSED),
        "chunked in quotes": (te(b'"chunked"'), REFUSED),
        "chunked with a parameter": (te(b"chunked;q=1"), REFUSED),
        "chunked and a comma": (te(b"chunked,"), REFUSED),
        "a comma and chunked": (te(b",chunked"), REFUSED),
        "no coding beside a length": (te(b"", CL + b"5"), REFUSED),
        "a vertical tab before chunked": (te(b"\x0bchunked"), REFUSED),
        "a form feed behind chunked": (te(b"chunked\x0c"), REFUSED),
        "a NUL behind chunked": (te(b"chunked\0"), REFUSED),
        "a no-break space before chunked": (te(b"\xa0chunked"), REFUSED),
        "chunked with an accent": (te(b"chunk\xe9d"), REFUSED),
        "a space before the colon": (odd(b"Transfer-Encoding : chunked"), REFUSED),
        "a tab before the colon": (odd(b"Transfer-Encoding\t: chunked"), REFUSED),
        "a space before the name": (odd(b" Transfer-Encoding: chunked"), REFUSED),
        "folded": (odd(b"Transfer-Encoding:\r\n chunked"), REFUSED),
        "folded with a tab": (odd(b"Transfer-Encoding:\r\n\tchunked"), REFUSED),
        "folded with a bare LF": (odd(b"Transfer-Encoding:\n chunked"), REFUSED),
        "behind a bare LF": (odd(b"X: y\nTransfer-Encoding: chunked"), REFUSED),
        "behind a bare CR": (odd(b"X: y\rTransfer-Encoding: chunked"), REFUSED),
        "a NUL in the name": (odd(b"Transfer\0-Encoding: chunked"), REFUSED),
        "8 bits in the name": (odd(b"Transfer-Encoding\x80: chunked"), REFUSED),
        "a long s in the name": (odd("Tran\u017ffer-Encoding: chunked".encode()), REFUSED),
        "a colon before the name": (odd(b":Transfer-Encoding: chunked"), REFUSED),
        "chunked in HTTP/1.0": (
            request(TE + b"chunked", first=b"POST <P>/x HTTP/1.0", body=NO_CHUNKS + HIDDEN),
            REFUSED,
        ),
        "Chunked in capitals": (request(TE + b"CHUNKED", body=ONE_CHUNK), CHUNKED_READ),
        "chunked without a space": (request(b"transfer-encoding:chunked", body=ONE_CHUNK), CHUNKED_READ),
        "chunked between tabs": (request(b"Transfer-Encoding:\tchunked\t ", body=ONE_CHUNK), CHUNKED_READ),
        "chunked, named in Connection": (
            request(TE + b"chunked", b"Connection: transfer-encoding", body=ONE_CHUNK),
            CHUNKED_READ,
        ),
        "chunked with an underscore": (
            request(b"Transfer_Encoding: chunked", CL + b"5", body=b"hello"),
            Read((("POST /x", b"hello"),), never=b"transfer_encoding"),
        ),
    }


def lengths() -> dict[str, tuple[bytes, Verdict]]:
    """Content-Length in all its spellings."""
    bad = {
        "two, equal": CL + b"5\r\n" + CL + b"5",
        "two, different": CL + b"5\r\n" + CL + b"40",
        "a list of equal ones": CL + b"5, 5",
        "a list of different ones": CL + b"5,40",
        "a plus": CL + b"+5",
        "a minus": CL + b"-5",
        "hexadecimal": CL + b"0x5",
        "two numbers": CL + b"5 5",
        "a fraction": CL + b"5.0",
        "an exponent": CL + b"5e0",
        "an underscore within": CL + b"0_5",
        "a semicolon": CL + b"5;",
        "quotes": CL + b'"5"',
        "nothing": CL,
        "a letter behind": CL + b"5a",
        "20 digits": CL + b"18446744073709551621",
        "19 digits": CL + b"9223372036854775808",
        "4000 zeros": CL + b"0" * 4000 + b"5",
        "digits of another alphabet": CL + "\uff15".encode(),
        "a superscript": CL + b"\xb25",
        "a NUL": CL + b"5\0",
        "a bare CR within": CL + b"5\r0",
        "a space before the colon of one": b"Content-Length : 5",
        "folded onto another line": CL + b"5\r\n 0",
        "a second one behind a bare LF": CL + b"5\nContent-Length: 40",
    }
    found: dict[str, tuple[bytes, Verdict]] = {
        f"length: {name}": (request(text, body=b"hello" + HIDDEN), REFUSED) for name, text in bad.items()
    }
    return found | {
        "length: leading zeros": (request(CL + b"0005", body=b"hello"), HELLO_READ),
        "length: tabs around": (request(b"Content-Length:\t5 \t", body=b"hello"), HELLO_READ),
        "length: named in Connection": (
            request(CL + b"5", b"Connection: content-length", body=b"hello"),
            HELLO_READ,
        ),
        "length: a request as the body of a GET": (
            request(CL + b"5", first=b"GET <P>/x HTTP/1.1", body=b"GET /"),
            Read((("GET /x", b"GET /"),)),
        ),
        "length: 0, and what follows is a request": (
            request(CL + b"0", body=HIDDEN),
            Read((("POST /x", b""), ("GET /hidden-<N>", b""))),
        ),
        "length: none, and what follows is a request": (
            request(body=HIDDEN),
            Read((("POST /x", b""), ("GET /hidden-<N>", b""))),
        ),
        "length: with an underscore": (
            request(b"Content_Length: 40"),
            Read((("POST /x", b""),), never=b"content_length"),
        ),
        "length: in HTTP/1.0": (
            request(CL + b"5", first=b"POST <P>/x HTTP/1.0", body=b"hello"),
            Read((("POST /x", b"hello"),), stays=False),
        ),
    }


def chunk_sizes() -> dict[str, tuple[bytes, Verdict]]:
    """Chunks that are none, and odd ones that are."""
    rest = b"\r\nhello\r\n" + NO_CHUNKS + HIDDEN
    bad = {
        "a plus": b"+5" + rest,
        "a minus": b"-5" + rest,
        "0x": b"0x5" + rest,
        "a space before": b" 5" + rest,
        "a tab before": b"\t5" + rest,
        "a word behind": b"5 x" + rest,
        "a space behind": b"5 " + rest,
        "a space before an extension": b"5 ;a" + rest,
        "a tab in an extension": b"5;a\t=b" + rest,
        "an underscore": b"0_5" + rest,
        "a letter beyond f": b"g" + rest,
        "nothing": rest,
        "17 digits": b"0" * 16 + b"5" + rest,
        "17 digits that overflow": b"1" + b"0" * 15 + b"5" + rest,
        "a fraction": b"5.0" + rest,
        "a comma": b"5,5" + rest,
        "a NUL": b"5\0" + rest,
        "a digit of another alphabet": "\uff15".encode() + rest,
        "an extension with a bare LF": b"5;a=b\nc" + rest,
        "an extension with a bare CR": b"5;a=b\rc" + rest,
        "an extension with an open quote": b'5;a="b' + rest,
        "a newline in an extension's quotes": b'5;a="\r\nhello\r\n0\r\n\r\n' + HIDDEN + b'"' + rest,
        "an extension of no name": b"5;" + rest,
        "an extension of two words": b"5;a b" + rest,
        "an extension too long": b"5;" + b"a" * 5000 + rest,
        "an extension with a NUL": b"5;a=\0" + rest,
        "LF behind the size": b"5\nhello\r\n" + NO_CHUNKS + HIDDEN,
        "CR behind the size": b"5\rhello\r\n" + NO_CHUNKS + HIDDEN,
        "CR CR LF behind the size": b"5\r\r\nhello\r\n" + NO_CHUNKS + HIDDEN,
        "LF behind the chunk": b"5\r\nhello\n" + NO_CHUNKS + HIDDEN,
        "CR behind the chunk": b"5\r\nhello\r" + NO_CHUNKS + HIDDEN,
        "nothing behind the chunk": b"5\r\nhello" + NO_CHUNKS + HIDDEN,
        "a byte behind the chunk": b"5\r\nhello!\r\n" + NO_CHUNKS + HIDDEN,
        "two bytes behind the chunk": b"5\r\nhello!!" + NO_CHUNKS + HIDDEN,
        "LF behind the last chunk": b"5\r\nhello\r\n0\n\r\n" + HIDDEN,
        "LF for the last line": b"5\r\nhello\r\n0\r\n\n" + HIDDEN,
        "CR for the last line": b"5\r\nhello\r\n0\r\n\r" + HIDDEN,
        "a length among the trailers": b"0\r\nContent-Length: 40\r\n\r\n" + HIDDEN,
        "a coding among the trailers": b"0\r\nTransfer-Encoding: chunked\r\n\r\n" + HIDDEN,
        "a Host among the trailers": b"0\r\nX: y\r\nhost: x\r\n\r\n" + HIDDEN,
        "Connection among the trailers": b"0\r\nConnection: close\r\n\r\n" + HIDDEN,
        "Upgrade among the trailers": b"0\r\nUpgrade: h2c\r\n\r\n" + HIDDEN,
        "a trailer with a space before its colon": b"0\r\nX : y\r\n\r\n" + HIDDEN,
        "a folded trailer": b"0\r\nX: y\r\n z\r\n\r\n" + HIDDEN,
        "a trailer with a bare LF": b"0\r\nX: y\nContent-Length: 40\r\n\r\n" + HIDDEN,
        "a trailer with a bare CR": b"0\r\nX: y\rz\r\n\r\n" + HIDDEN,
        "a request in place of a trailer": b"0\r\n" + HIDDEN,
    }
    good = {
        "leading zeros": b"00000005\r\nhello\r\n0\r\n\r\n",
        "many zeros for the last one": b"5\r\nhello\r\n00000\r\n\r\n",
        "extensions": b'5;a;b=c;d="e;\\"f"\r\nhello\r\n0;last\r\n\r\n',
        "many trailers": b"5\r\nhello\r\n0\r\n" + b"X: y\r\n" * 500 + b"\r\n",
        "trailers": b"5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-Two: 2\r\n\r\n",
        "a request within": b"18\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"[:4]
        + b"GET / HTTP/1.1\r\nA: b\r\n\r\n\r\n0\r\n\r\n",
    }
    found: dict[str, tuple[bytes, Verdict]] = {f"chunk: {name}": (chunks(body), BROKEN) for name, body in bad.items()}
    return found | {f"chunk: {name}": (chunks(body), Read((("POST /x", body),))) for name, body in good.items()}
