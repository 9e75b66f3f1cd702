"""One rank: ``python -m fastserve.engine.rank ORDER`` (JSON of `orders.RankOrder`).

The lifeline and the channel are held before the engine's environment is imported, which takes seconds, so
that a rank without a supervisor never outlives that, and a broken environment is told, not guessed.
"""

import importlib
import os
import sys
import threading
from multiprocessing.connection import Connection

from fastserve.engine.messages import send
from fastserve.engine.orders import RankOrder
from fastserve.errors import EngineError


def main() -> int:
    """Serve until the supervisor closes the channel. 0 for that end, 1 for any other."""
    order = RankOrder.from_json(sys.argv[1])
    hold_lifeline(order.lifeline)
    channel = Connection(order.channel)
    try:
        serving = importlib.import_module("fastserve.engine.serving")
    except ImportError as error:
        message = f"the engine's environment is incomplete: {error}"
        send(channel, {"kind": "failed", "reason": EngineError.reason, "message": message})
        return 1
    return int(serving.serve(order, channel))


def hold_lifeline(descriptor: int) -> None:
    """End this process when nobody holds the other end any more, whatever it is waiting for: a collective
    that lost its peer would wait for minutes."""

    def await_end() -> None:
        os.read(descriptor, 1)
        os._exit(1)

    threading.Thread(target=await_end, name="lifeline", daemon=True).start()


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    # Nothing is left to be saved, and taking torch apart in good order takes a second.
    os._exit(status)
