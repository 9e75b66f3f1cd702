"""Asks a pool at a steady rate, whatever becomes of the answers, and tells every second what did.

    python load.py URL QUESTIONS PER_SECOND

QUESTIONS is a JSON file: a list of {"text": …, "member": …, "label": …}. Prints JSON lines: one per failed
or wrong answer, and one with the totals each second. Standard library only; ends by SIGTERM.
"""

import http.client
import itertools
import json
import queue
import select
import signal
import sys
import threading
import time
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

WORKERS = 48
SECONDS = 20.0
Question = dict[str, str]


class Asker:
    """Takes moments and questions from a queue. Every other worker keeps its connection."""

    def __init__(self, host: str, work: "queue.Queue[tuple[float, Question]]", *, keeps: bool) -> None:
        self._host = host
        self._work = work
        self._keeps = keeps
        self._connection: http.client.HTTPConnection | None = None
        self.totals: Counter[str] = Counter()
        self.seconds: list[float] = []

    def run(self) -> None:
        while True:
            due, question = self._work.get()
            said, outcome = self._outcome(question)
            self.seconds.append(time.monotonic() - due)
            self.totals[outcome] += 1
            if outcome != "answered":
                self._complain(outcome, question, said)

    def _complain(self, outcome: str, question: Question, said: Any) -> None:
        kind = "kept" if self._keeps else "new"
        late = round(self.seconds[-1], 3)
        tell({"outcome": outcome, "connection": kind, "seconds": late, "asked": question, "said": said})

    def _outcome(self, question: Question) -> tuple[Any, str]:
        try:
            status, answer = self._ask(question["text"])
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._drop()
            return repr(error), f"failed {type(error).__name__}"
        if status != 200:
            return answer, f"failed {status}"
        right = (answer["members"][0]["name"], answer["label"]) == (question["member"], question["label"])
        return answer, "answered" if right else "wrong"

    def _ask(self, text: str) -> tuple[int, Any]:
        if self._connection is not None and self._connection.sock is not None and closed(self._connection):
            self._drop()
        connection = self._connection or http.client.HTTPConnection(self._host, timeout=SECONDS)
        self._connection = connection
        body = json.dumps({"text": text})
        connection.request("POST", "/v1/predict", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = json.loads(response.read())
        if not self._keeps:
            self._drop()
        return response.status, answer

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def closed(connection: http.client.HTTPConnection) -> bool:
    """Whether the other end closed an idle connection: every client that keeps some looks before it asks."""
    return bool(select.select([connection.sock], [], [], 0)[0])


def tell(what: dict[str, Any]) -> None:
    line = json.dumps({"at": time.strftime("%H:%M:%S"), **what}) + "\n"
    sys.stdout.write(line)  # in one: print writes the end of the line by itself, and other threads between
    sys.stdout.flush()


def report(askers: list[Asker]) -> None:
    totals: Counter[str] = sum((one.totals for one in askers), Counter())
    seconds = sorted(itertools.chain.from_iterable(list(one.seconds) for one in askers))
    if seconds:
        p50, p99 = (seconds[int(len(seconds) * part)] for part in (0.5, 0.99))
        figures = {"p50": round(p50, 4), "p99": round(p99, 4), "longest": round(seconds[-1], 4)}
        tell({"totals": dict(totals), "asked": len(seconds), **figures})


def main(url: str, questions: list[Question], per_second: float) -> None:
    work: queue.Queue[tuple[float, Question]] = queue.Queue()
    host = urlsplit(url).netloc
    askers = [Asker(host, work, keeps=number % 2 == 0) for number in range(WORKERS)]
    for asker in askers:
        threading.Thread(target=asker.run, daemon=True).start()
    start = last = time.monotonic()
    for number, question in enumerate(itertools.cycle(questions)):
        due = start + number / per_second
        time.sleep(max(0.0, due - time.monotonic()))
        work.put((due, question))
        if time.monotonic() - last >= 1:
            last = time.monotonic()
            report(askers)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with open(sys.argv[2], encoding="utf-8") as file:  # noqa: PTH123 - it is three lines of a script
        main(sys.argv[1], json.load(file), float(sys.argv[3]))
