"""Requests that are nearly right: a corpus of valid ones to every route, and ways to spoil them. Pure."""

import random
from collections.abc import Callable

from fastserve.router.oip import infer_body

BLANK = b"\r\n\r\n"
JUNK = (
    *(bytes((one,)) for one in b'\0\r\n\t :,;"\\/?#[]{}\xff\x7f'),
    *(b"//", b"/../", b"%2f", b"%2e%2e", b"%00", b"%c0%af", b"\r\n"),
    *(b"\xc3\x28", b"\xed\xa0\x80", b"\\ud800", b"\\u0000", b"a" * 300),
    *(b"0", b"-1", b"1e999", b"NaN", b"null", b"true", b"18446744073709551616", b"9" * 400),
)
LINES = (
    *(b"content-length: 5", b"content-length: 0", b"content-length: -1", b"content-length: 99999999999"),
    *(b"transfer-encoding: chunked", b"transfer-encoding: gzip, chunked"),
    *(b"expect: 100-continue", b"expect: b", b"host: b", b" folded", b"a : b", b": b", b"a"),
    *(b"connection: close", b"connection: keep-alive", b"connection: upgrade", b"upgrade: h2c"),
    *(b"x-fastserve-hop: 1", b"x-fastserve-deadline-millis: 0", b"x-fastserve-deadline-millis: 100"),
    *(b"x-fastserve-priority: batch", b"x-fastserve-priority: \xff", b"x-fastserve-tenant: a"),
    *(b"inference-header-content-length: 0", b"inference-header-content-length: 99", b"x-request-id: \xe9"),
)
VERSIONS = (b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/1.2", b"RTSP/1.0", b"http/1.1")
METHODS = (b"PUT", b"DELETE", b"TRACE", b"OPTIONS", b"CONNECT", b"PRI", b"get", b"PATCH")
Mutate = Callable[[random.Random, bytes], bytes]


def request(method: str, path: str, body: bytes = b"", lines: bytes = b"") -> bytes:
    """One request, with a length where it has a body."""
    length = b"content-length: %d\r\n" % len(body) if body else b""
    return b"%b %b HTTP/1.1\r\nhost: pool\r\n%b%b\r\n%b" % (
        method.encode(),
        path.encode(),
        lines,
        length,
        body,
    )


def corpus(member: str, text: str) -> list[bytes]:
    """Valid requests to every route of the data port."""
    predict = b'{"text": "%b", "topK": 2, "deadlineMillis": 4000}' % text.encode()
    batch = b'{"inputs": [{"name": "text", "datatype": "BYTES", "shape": [2, 1], "data": [["%b"], ["%b"]]}],'
    batch = batch % (text.encode(), text.encode()) + b'"outputs": [{"name": "scores"}], "id": "7"}'
    lines, binary = infer_body((text.encode(), member.encode()), (2,), ("scores", "labels"))
    paths = ("/v2", "/v2/health/live", "/v2/health/ready", f"/v2/models/{member}", "/v2/models/pool/ready")
    return [
        *(request("GET", path) for path in paths),
        request("POST", "/v1/predict", predict),
        request(
            "POST", "/v1/predict", b'{"text": "%b", "subModel": "%b"}' % (text.encode(), member.encode())
        ),
        request("POST", "/v1/route", predict),
        request("POST", "/v2/models/pool/infer", batch),
        request("POST", f"/v2/models/{member}/infer", batch),
        request("POST", "/v2/models/pool/infer", binary, lines),
        request("POST", f"/v2/models/{member}/infer", binary, lines + b"x-fastserve-hop: 1\r\n"),
    ]


def admin_corpus() -> list[bytes]:
    """Valid requests to the admin port."""
    paths = ("/livez", "/readyz", "/metrics", "/v1/state", "/v1/prototypes/" + "0" * 64)
    return [request("GET", path) for path in paths]


def spoil(draw: random.Random, data: bytes) -> bytes:
    """One to four mutations; now and then none, so that good requests stand between the others."""
    for _ in range(draw.choice((0, 1, 1, 1, 2, 2, 3, 4))):
        data = draw.choice(MUTATIONS)(draw, data)
    return data


def _flip(draw: random.Random, data: bytes) -> bytes:
    at = draw.randrange(len(data) + 1)
    return data[:at] + bytes((draw.randrange(256),)) + data[at + 1 :]


def _insert(draw: random.Random, data: bytes) -> bytes:
    at = draw.randrange(len(data) + 1)
    return data[:at] + draw.choice(JUNK) + data[at + draw.randrange(3) :]


def _cut(draw: random.Random, data: bytes) -> bytes:
    at = draw.randrange(len(data) + 1)
    return data[:at] + data[at + draw.randrange(1, 20) :]


def _repeat(draw: random.Random, data: bytes) -> bytes:
    at = draw.randrange(len(data) + 1)
    part = data[at : at + draw.randrange(1, 40)]
    return data[:at] + part * draw.choice((2, 3, 50, 2000)) + data[at:]


def _end(draw: random.Random, data: bytes) -> bytes:
    return data[: draw.randrange(len(data) + 1)]


def _line(draw: random.Random, data: bytes) -> bytes:
    first, end, rest = data.partition(b"\r\n")
    return first + end + (draw.choice(LINES) + b"\r\n") * draw.choice((1, 1, 2, 150)) + rest


def _first_line(draw: random.Random, data: bytes) -> bytes:
    method, _, rest = data.partition(b" ")
    if draw.random() < 0.5:
        return draw.choice(METHODS) + b" " + rest
    return method + b" " + rest.replace(b"HTTP/1.1", draw.choice(VERSIONS), 1)


def _path(draw: random.Random, data: bytes) -> bytes:
    method, _, rest = data.partition(b" ")
    path, _, rest = rest.partition(b" ")
    at = draw.randrange(len(path) + 1)
    tricks = (path[:at] + draw.choice(JUNK) + path[at:], b"http://a" + path, path + b"?" + b"a" * 9000, b"*")
    return b"%b %b %b" % (method, draw.choice(tricks), rest)


def _bare_feeds(_draw: random.Random, data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n")


def _chunk(draw: random.Random, data: bytes) -> bytes:
    head, _, body = data.partition(BLANK)
    size = draw.choice((1, 3, 1000))
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    chunks = b"".join(b"%x%b\r\n%b\r\n" % (len(one), draw.choice((b"", b";a=b")), one) for one in parts)
    kept = b"\r\n".join(x for x in head.split(b"\r\n") if not x.startswith(b"content-length"))
    end = draw.choice(
        (b"0\r\n\r\n", b"0\r\n\r\n", b"0\r\nx-fastserve-hop: 1\r\n\r\n", b"0\r\n", b"-1\r\n\r\n")
    )
    return kept + b"\r\ntransfer-encoding: chunked" + BLANK + chunks + end


def _nest(draw: random.Random, data: bytes) -> bytes:
    depth = draw.choice((70, 990, 1000, 20_000))
    at = draw.randrange(data.find(BLANK) + 1, len(data) + 1)
    return _lengthen(data[:at] + b"[" * depth + b"]" * depth + data[at:])


def _body(draw: random.Random, data: bytes) -> bytes:
    """The body alone is spoilt, and its frame put right: most of what a parser of JSON gets to see."""
    head, _, body = data.partition(BLANK)
    spoilt = draw.choice((_flip, _insert, _cut, _repeat, _end))(draw, body)
    return _lengthen(head + BLANK + spoilt)


def _lengthen(data: bytes) -> bytes:
    head, _, body = data.partition(BLANK)
    length = b"content-length: %d" % len(body)
    lines = [length if line.startswith(b"content-length") else line for line in head.split(b"\r\n")]
    return b"\r\n".join(lines) + BLANK + body


MUTATIONS: tuple[Mutate, ...] = (
    *(_flip, _insert, _cut, _repeat, _end),
    *(_line, _first_line, _path, _bare_feeds, _chunk),
    *(_nest, _body, _body, _body),
)
