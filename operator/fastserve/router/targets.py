"""From the target of a request line to the path that everything routes on. Pure.

A path is normalised once, here, and never decoded again. Names in our paths are labels of DNS, so nothing
that is needed has to be escaped: an escape stands for a character that needs none (RFC 3986 §6.2.2.2), or
the path is refused. What two servers could read in two ways is refused as well: empty segments, segments of
dots, parameters, backslashes.
"""

import string
from functools import lru_cache

from fastserve.router.answers import Refusal

_UNRESERVED = (string.ascii_letters + string.digits + "-._~").encode()
_PLAIN = _UNRESERVED + b"/:@!$&'()*+,="
"""Bytes of a path that stand for themselves: all that RFC 3986 allows but for ``;``."""
_HEX = string.hexdigits.encode()
_SCHEMES = (b"http://", b"https://")
_DOTS = (b".", b"..")
_SHOWN = 120


@lru_cache(maxsize=256)
def path_of(target: bytes) -> str:
    """The path of a target in origin form or in absolute form, without its query. Raises Refusal BadPath.

    The authority of an absolute form is left aside, as Host is: one port serves one pool.
    """
    path = target.partition(b"?")[0]
    if path[:1] != b"/":
        path = _behind_authority(target, path)
    if path.translate(None, _PLAIN):
        path = _unescaped(target, path)
    if b"//" in path:
        raise _bad(target, "it has an empty segment")
    if b"/." in path and any(segment in _DOTS for segment in path.split(b"/")):
        raise _bad(target, "it has a segment of dots")
    return path.decode("ascii")


def _behind_authority(target: bytes, path: bytes) -> bytes:
    scheme = next((one for one in _SCHEMES if path[: len(one)].lower() == one), None)
    if scheme is None:
        raise _bad(target, "it starts neither with / nor with http://")
    authority, slash, rest = path[len(scheme) :].partition(b"/")
    if not authority or b"@" in authority:
        raise _bad(target, "its authority is empty or holds a user")
    return slash + rest or b"/"


def _unescaped(target: bytes, path: bytes) -> bytes:
    """`path` with the escapes of unreserved characters decoded; there must be no others."""
    first, *parts = path.split(b"%")
    found = [first]
    for part in parts:
        digits = part[:2]
        if len(digits) < 2 or digits.translate(None, _HEX):
            raise _bad(target, "a % is not followed by two hexadecimal digits")
        byte = bytes((int(digits, 16),))
        if byte not in _UNRESERVED:
            raise _bad(target, f"%{digits.decode()} is an escape that no path here needs")
        found += (byte, part[2:])
    plain = b"".join(found)
    left = plain.translate(None, _PLAIN)
    if left:
        raise _bad(target, f"{chr(left[0])!r} is a character that no path here has")
    return plain


def _bad(target: bytes, why: str) -> Refusal:
    shown = target[:_SHOWN].decode("latin-1")
    return Refusal("BadPath", f"the path of {shown!r} is refused: {why}")
