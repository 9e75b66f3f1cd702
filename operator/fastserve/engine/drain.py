"""``python -m fastserve.engine.drain SOCKET [SECONDS]``: let the router beside this Triton drain, and wait.

It runs before Triton is told to end, inside Triton's container: standard library only. It prints one line
and exits 0 whatever happens: a Triton that must end must not be kept by its router.
"""

import socket
import sys
import time

MOST_SECONDS = 45.0
"""The router answers within its own, shorter bound; and the pod's whole time to end is not much longer."""
REQUEST = b"POST /drain HTTP/1.1\r\nhost: router\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


def drain(path: str, seconds: float) -> str:
    """One line: the router's answer, or why there is none, after `seconds` at the latest."""
    end = time.monotonic() + seconds
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as router:
            router.settimeout(seconds)
            router.connect(path)
            router.sendall(REQUEST)
            answer = b""
            while part := _next_part(router, end):
                answer += part
    except (OSError, ValueError) as error:
        return f"not drained: {error}"
    head, _, body = answer.partition(b"\r\n\r\n")
    shown = body if b" 200 " in head.split(b"\r\n")[0] else answer or b"the router ended"
    return " ".join(shown.decode("utf-8", "replace").split())


def _next_part(router: socket.socket, end: float) -> bytes:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError("the router did not answer in time")
    router.settimeout(left)
    return router.recv(4096)


def main(arguments: list[str]) -> int:
    if not 1 <= len(arguments) <= 2:
        print("not drained: usage: python -m fastserve.engine.drain SOCKET [SECONDS]")
        return 0
    try:
        seconds = float(arguments[1]) if len(arguments) == 2 else MOST_SECONDS
    except ValueError:
        seconds = MOST_SECONDS
    print(drain(arguments[0], max(0.1, seconds)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
