"""``python -m fastserve.fetching < REQUEST``: fetch one model, telling progress in JSON lines on stdout.

The request comes on stdin and lies in no file: next to the router works a Triton under the same uid, with
code that may be anybody's, and whoever changed the URI would be sent the credentials. The last line says
"Fetched", or a reason and what to do; the exit code tells the reason as well. When its parent goes, the next
line has no reader, and the process ends.
"""

import sys
import threading
import traceback

import msgspec

from fastserve.errors import FastServeError, FetchError
from fastserve.fetching.credentials import Credentials, read_credentials
from fastserve.fetching.download import Patience
from fastserve.fetching.fetch import fetch
from fastserve.fetching.progress import Failed, Line
from fastserve.fetching.request import read_request

EXIT_UNEXPECTED = 1
EXIT_INVALID = 2
MAX_MESSAGE = 4096
"""Characters: some errors quote what a stranger wrote, however long it is."""


def main(document: bytes) -> int:
    """Fetch; gives the exit code: 0, a FetchError's own, 2 for a bad request, 1 for what should not be."""
    credentials = Credentials({})
    try:
        request = read_request(document)
        credentials = read_credentials(request.credentials).beside(request.secret)
        fetch(request, credentials, _print_line, Patience())
    except FastServeError as error:
        _print_line(Failed(error.reason, credentials.redacted(error.message)[:MAX_MESSAGE]))
        return error.exit_code if isinstance(error, FetchError) else EXIT_INVALID
    except Exception as error:
        sys.stderr.write(credentials.redacted(traceback.format_exc()))
        _print_line(Failed(FetchError.reason, f"{type(error).__name__}; the log has more"))
        return EXIT_UNEXPECTED
    return 0


_PRINTING = threading.Lock()


def _print_line(line: Line) -> None:
    with _PRINTING:
        sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.stdin.buffer.read()))
