"""Asks a pool at rates that change, whatever becomes of the answers, and tells every second what did.

    python surge.py URL TEXT RATE:SECONDS,RATE:SECONDS…

Open loop, a connection for each question. Who is told to come again (429 or 503 with Retry-After) does, and
so does who got no answer at all; a question is lost where another status comes, or none within
PATIENCE_SECONDS.
Prints JSON lines; the last one, when every question has its end, says that it is over. Standard library only.
"""

import asyncio
import json
import signal
import socket
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

PATIENCE_SECONDS = 90.0
ASKED_AGAIN = (429, 503)
AGAIN_SECONDS = 1.0
"""Without a Retry-After."""
GONE = 0
"""Stands for the status where no answer came."""


@dataclass
class Second:
    """What happened since the last line. `seconds` are those of questions that were answered now, from when
    they were due."""

    asked: int = 0
    answered: int = 0
    again: dict[str, int] = field(default_factory=dict)
    woken: int = 0
    seconds: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


class Surge:
    """One load, from its first question to the last answer."""

    def __init__(self, url: str, text: str) -> None:
        place = urlsplit(url)
        self._host = place.hostname or ""
        self._address = socket.gethostbyname(self._host), place.port or 80
        self._body = json.dumps({"text": text}).encode()
        self.second = Second()
        self.open = self.lost = 0

    async def run(self, phases: list[tuple[float, float]]) -> None:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        async with asyncio.TaskGroup() as group:
            telling = loop.create_task(self._tell())
            for rate, seconds in phases:
                for number in range(round(rate * seconds)):
                    due = begin + number / rate
                    await asyncio.sleep(max(0.0, due - loop.time()))
                    group.create_task(self._question(due))
                begin += seconds
                await asyncio.sleep(max(0.0, begin - loop.time()))
        telling.cancel()
        self._line()
        tell({"over": True, "lost": self.lost})

    async def _question(self, due: float) -> None:
        loop = asyncio.get_running_loop()
        self.second.asked += 1
        self.open += 1
        try:
            while True:
                answer = await self._ask(due + PATIENCE_SECONDS - loop.time())
                if answer.status not in (*ASKED_AGAIN, GONE) or loop.time() > due + PATIENCE_SECONDS:
                    break
                again, status = self.second.again, str(answer.status)
                again[status] = again.get(status, 0) + 1
                await asyncio.sleep(float(answer.headers.get("retry-after", AGAIN_SECONDS)))
        finally:
            self.open -= 1
        self._count(answer, loop.time() - due)

    def _count(self, answer: Answer, seconds: float) -> None:
        if answer.status == 200:
            self.second.answered += 1
            self.second.woken += "x-fastserve-woken" in answer.headers
            self.second.seconds.append(seconds)
            return
        self.lost += 1
        said = answer.body.decode(errors="replace")
        tell({"outcome": answer.status, "seconds": round(seconds, 3), "said": said})

    async def _ask(self, seconds: float) -> Answer:
        """The answer; GONE with the error where there was none."""
        try:
            async with asyncio.timeout(max(0.1, seconds)):
                return await self._exchange()
        except (OSError, EOFError, ValueError, IndexError) as error:
            return Answer(GONE, {}, repr(error).encode())

    async def _exchange(self) -> Answer:
        reader, writer = await asyncio.open_connection(*self._address)
        try:
            head = f"POST /v1/predict HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: application/json\r\n"
            writer.write(f"{head}Content-Length: {len(self._body)}\r\nConnection: close\r\n\r\n".encode())
            writer.write(self._body)
            top, _, body = (await reader.read()).partition(b"\r\n\r\n")
        finally:
            writer.close()
        first, *lines = top.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        return Answer(int(first.split()[1]), {name.lower(): value for name, value in headers.items()}, body)

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self._line()

    def _line(self) -> None:
        tell({**asdict(self.second), "open": self.open})
        self.second = Second()


def phases_of(text: str) -> list[tuple[float, float]]:
    """``1:20,8:60``: once a second for 20 seconds, then eight times for 60."""
    pairs = (one.split(":") for one in text.split(","))
    return [(float(rate), float(seconds)) for rate, seconds in pairs]


def tell(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"at": round(time.time(), 3), **what}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    asyncio.run(Surge(sys.argv[1], sys.argv[2]).run(phases_of(sys.argv[3])))
