"""``python -m fastserve.controller``: one replica of the operator.

Exit codes: 0 after SIGTERM or SIGINT, 1 where only a new process helps, 2 for an environment that cannot be
used, 3 for a port that is taken.
"""

import asyncio
import logging
import os
import sys

from fastserve.controller.app import serve
from fastserve.controller.jsonlog import log_to_stderr
from fastserve.controller.settings import settings_from
from fastserve.controller.watches import WatchesHang
from fastserve.errors import FastServeError

EXIT_AGAIN, EXIT_UNUSABLE, EXIT_PORT_TAKEN = 1, 2, 3
LOG = logging.getLogger("fastserve.controller")


def main() -> int:
    """Run until told to stop; the exit code."""
    try:
        settings = settings_from(os.environ)
        log_to_stderr(settings.pod_name, settings.log_level)
        asyncio.run(serve(settings, os.environ))
    except WatchesHang as error:
        LOG.critical("%s; starting anew is the way out", error, extra={"reason": "WatchesHang"})
        logging.shutdown()
        os._exit(EXIT_AGAIN)  # a thread that does not end would keep the process
    except OSError as error:
        print(f"PortTaken: {error}", file=sys.stderr)
        return EXIT_PORT_TAKEN
    except FastServeError as error:
        print(f"{error.reason}: {error}", file=sys.stderr)
        return EXIT_UNUSABLE
    return 0


if __name__ == "__main__":
    sys.exit(main())
