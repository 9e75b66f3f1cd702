"""``python -m fastserve.fetching --request FILE``: fetch one model, telling progress in JSON lines on stdout.

The last line says "Fetched", or a reason and what to do; the exit code tells the reason as well. When its
parent goes, the next line has no reader, and the process ends.
"""

import argparse
import sys
import threading
import traceback
from pathlib import Path

import msgspec

from fastserve.errors import FastServeError, FetchError
from fastserve.fetching.credentials import Credentials, read_credentials
from fastserve.fetching.download import Patience
from fastserve.fetching.fetch import fetch
from fastserve.fetching.progress import Failed, Line
from fastserve.fetching.request import read_request

EXIT_UNEXPECTED = 1
EXIT_INVALID = 2


def main(arguments: list[str]) -> int:
    """Fetch; gives the exit code: 0, a FetchError's own, 2 for a bad request, 1 for what should not be."""
    parser = argparse.ArgumentParser(prog="fastserve.fetching")
    parser.add_argument("--request", type=Path, required=True, help="JSON document of FetchRequest")
    credentials = Credentials({})
    try:
        request = read_request(parser.parse_args(arguments).request)
        credentials = read_credentials(request.credentials)
        fetch(request, credentials, _print_line, Patience())
    except FastServeError as error:
        _print_line(Failed(error.reason, credentials.redacted(error.message)))
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
    sys.exit(main(sys.argv[1:]))
